#include "mean_field.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "memory.hpp"
#include "parallel.hpp"
#include "simd.hpp"
#include "tiles.hpp"

namespace crf {
namespace {

constexpr int64_t kPixels = 128;  // a block of pixels: its rows stay in the first-level cache

using Buffer = Array<float>;

// A label that no pixel gives more than e gets messages of at most w e (w: the kernels' weights together), so that leaving
// them out changes its marginals, themselves about e, by w e^2. With e as below that is 7e-8, half a unit in the last place
// of a marginal near 1: the answer is the same, and most pictures need the lattice for half of the labels or fewer.
float negligible(const std::vector<Term>& terms) {
    float weights = 0;
    for (const Term& term : terms) weights += term.weight;
    return std::sqrt(7e-8f / std::max(weights, 1.0f));
}

struct Trace {
    double energy = 0, entropy = 0;
};

class MeanField {
  public:
    MeanField(const float* scores, int num_classes, int64_t height, int64_t width, const std::vector<Term>& terms,
              const MeanFieldOptions& options, float* out)
        : scores_(scores),
          K_(num_classes),
          full_((num_classes + 7) / 8 * 8),
          W_(width),
          N_(height * width),
          terms_(terms),
          options_(options),
          // With a compatibility matrix a small marginal's message reaches labels that are large.
          may_skip_(!options.compatibility && !options.trace),
          negligible_(negligible(terms)),
          unary_(out),
          lanes_(full_),
          Q_(N_ * full_),
          norm_(2 * N_),
          label_of_(num_classes),
          blocks_((N_ + kPixels - 1) / kPixels),
          tiles_(height, width, grids(terms)) {
        std::iota(label_of_.begin(), label_of_.end(), 0);
    }

    MeanFieldResult run() {
        MeanFieldResult result;
        result.finite = load_unary();
        if (!result.finite) return result;
        start();
        bool converged = false;
        for (int i = 0;; ++i) {
            const bool update = i < options_.iterations && !converged;
            if (!update && !options_.trace) break;
            if (may_skip_ && options_.iterations - i > 1) choose_lanes();
            send_messages();
            Trace trace;
            const float change = update_pixels(update, trace);
            if (options_.trace) {
                result.energies.push_back(trace.energy);
                result.divergences.push_back(trace.energy - trace.entropy);
            }
            if (!update) break;
            ++result.steps;
            converged = options_.tolerance > 0 && change <= options_.tolerance;
        }
        finish();
        return result;
    }

  private:
    static std::vector<const Grid*> grids(const std::vector<Term>& terms) {
        std::vector<const Grid*> result;
        for (const Term& term : terms)
            if (term.grid) result.push_back(term.grid.get());
        return result;
    }

    int64_t count(int64_t block) const { return std::min(kPixels, N_ - block * kPixels); }
    bool in_turns() const { return lanes_ > kMaxLanes; }

    template <class Body>
    void each_block(const Body& body) const {
        parallel_for(blocks_, options_.num_threads, [&](int64_t b) { body(b * kPixels, count(b)); });
    }

    bool load_unary() {
        std::atomic<bool> finite{true};
        each_block([&](int64_t p, int64_t n) {
            if (!simd().unary(scores_ + p, N_, unary_ + p * K_, K_, n, options_.logits)) finite = false;
        });
        return finite;
    }

    void start() {
        std::vector<float> top(blocks_ * full_, 0.0f);
        each_block([&](int64_t p, int64_t n) {
            float* to = Q_.data() + p * full_;
            float* highest = top.data() + p / kPixels * full_;
            simd().load(unary_ + p * K_, K_, to, full_, n);
            simd().softmax(to, full_, K_, n, norm_.data() + 2 * p, highest);
            if (!options_.initial) return;
            std::fill(highest, highest + full_, 1.0f);
            for (int64_t i = 0; i < n; ++i)
                for (int k = 0; k < K_; ++k) to[i * full_ + k] = options_.initial[k * N_ + p + i];
        });
        merge_tops(top);
    }

    void merge_tops(const std::vector<float>& top) {
        top_.assign(full_, 0.0f);
        for (size_t i = 0; i < top.size(); ++i) top_[i % full_] = std::max(top_[i % full_], top[i]);
    }

    // Decides which labels the next messages are sent for: the first lanes_ / 8 blocks of eight.
    void choose_lanes() {
        int active = 0;
        bool risen = false;
        for (int k = 0; k < K_; ++k) {
            active += top_[k] > negligible_;
            risen |= k >= lanes_ && top_[k] > 1.5f * negligible_;
        }
        const int wanted = std::max(8, (active + 7) / 8 * 8);
        if (wanted < lanes_ || risen) repack(wanted);
    }

    // Puts the labels in the order of their highest marginal and keeps the marginals of the first `lanes` of them.
    void repack(int lanes) {
        std::vector<int> from(K_);
        std::iota(from.begin(), from.end(), 0);
        std::stable_sort(from.begin(), from.end(), [&](int a, int b) { return top_[a] > top_[b]; });
        Buffer packed(N_ * lanes);
        each_block([&](int64_t p, int64_t n) {
            std::vector<float> q(n * K_), energy(K_);
            simd().finish(unary_ + p * K_, K_, Q_.data() + p * lanes_, lanes_, norm_.data() + 2 * p, q.data(), n);
            for (int64_t i = 0; i < n; ++i) {
                float* unary = unary_ + (p + i) * K_;
                float* to = packed.data() + (p + i) * lanes;
                std::copy(unary, unary + K_, energy.begin());
                for (int k = 0; k < K_; ++k) unary[k] = energy[from[k]];
                for (int k = 0; k < lanes; ++k) to[k] = k < K_ ? q[i * K_ + from[k]] : 0;
            }
        });
        std::vector<int> label_of(K_);
        for (int k = 0; k < K_; ++k) label_of[k] = label_of_[from[k]];
        label_of_.swap(label_of);
        Q_ = std::move(packed);
        lanes_ = lanes;
    }

    void send_messages() {
        const int turn = std::min(lanes_, kMaxLanes);
        rows_.resize(terms_.size());
        for (size_t t = 0; t < terms_.size(); ++t) {
            const int64_t size = terms_[t].lattice ? int64_t(terms_[t].lattice->num_vertices) * turn : 0;
            if (rows_[t].size() != size) rows_[t] = Buffer(size);
        }
        if (!in_turns()) {
            for (size_t t = 0; t < terms_.size(); ++t)
                if (terms_[t].lattice) filter(*terms_[t].lattice, Q_.data(), lanes_, rows_[t].data());
            tiles_.save(Q_.data(), lanes_, options_.num_threads);
            return;
        }
        // More labels than fit are filtered in turns, and the messages kept.
        messages_ = Buffer(N_ * lanes_);
        std::memset(messages_.data(), 0, N_ * lanes_ * sizeof(float));
        for (int label = 0; label < lanes_; label += kMaxLanes) {
            const int lanes = std::min(kMaxLanes, lanes_ - label);
            for (size_t t = 0; t < terms_.size(); ++t) {
                if (terms_[t].lattice) filter(*terms_[t].lattice, Q_.data() + label, lanes, rows_[t].data());
                parallel_for(tiles_.count(), options_.num_threads,
                             [&](int64_t i) { keep_messages(t, tiles_.tile(i), label, lanes); });
            }
        }
    }

    // Adds one kernel's messages for some labels to those kept for a tile.
    void keep_messages(size_t t, const Tile& tile, int label, int lanes) {
        const Term& term = terms_[t];
        std::unique_ptr<GridStream> stream;
        if (term.grid) stream = std::make_unique<GridStream>(*term.grid, lanes, tile, ring_memory(0));
        const Tile around = term.grid ? reach(*term.grid, tile) : tile;
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t p = y * W_ + tile.x0;
            float* out = messages_.data() + p * lanes_ + label;
            if (!stream) {
                slice(t, lanes, p, tile.x1 - tile.x0, out, lanes_);
                continue;
            }
            const auto source = [&](int64_t row) {
                const float* Q = Q_.data() + row * W_ * lanes_ + label;
                return RowSource{Q + around.x0 * lanes_, Q + tile.x0 * lanes_, Q + tile.x1 * lanes_};
            };
            stream->slice_row(y, lanes_, term.weight, source, out, lanes_);
        }
    }

    // Room that a thread keeps from tile to tile.
    static Buffer& ring_memory(size_t term) {
        thread_local std::vector<Buffer> memory;
        while (memory.size() <= term) memory.emplace_back();
        return memory[term];
    }

    void slice(size_t t, int lanes, int64_t p, int64_t n, float* out, int64_t out_stride) const {
        const Lattice& lattice = *terms_[t].lattice;
        simd().slice(lanes, lattice.taps(), rows_[t].data(), lattice.slice.data(), lattice.scale.data(), terms_[t].weight, out,
                     out_stride, p, p + n);
    }

    // Splats Q into the lattice and blurs it.
    void filter(const Lattice& lattice, const float* Q, int lanes, float* rows) const {
        const auto blur = [&](const Pass& pass, size_t axis, int64_t b) {
            simd().blur(lanes, rows, pass.order[axis].data(), pass.order_cut[axis][b], pass.order_cut[axis][b + 1], axis == 0);
        };
        const auto blur_all = [&](const Pass& pass, int64_t b) {
            for (size_t axis = 0; axis < pass.order.size(); ++axis) blur(pass, axis, b);
        };
        parallel_for(int64_t(lattice.row_cut.size()) - 1, options_.num_threads, [&](int64_t b) {
            simd().splat(lanes, Q, lanes_, lattice.splat_start.data(), lattice.splat.data(), lattice.joined.data(), rows,
                         lattice.row_cut[b], lattice.row_cut[b + 1]);
            if (lattice.halves[0].fused) blur_all(lattice.halves[0], b);
        });
        for (int half = 0; half < 2; ++half) {
            const Pass& pass = lattice.halves[half];
            if (!pass.fused) {
                for (size_t axis = 0; axis < pass.order.size(); ++axis)
                    parallel_for(int64_t(pass.order_cut[axis].size()) - 1, options_.num_threads,
                                 [&](int64_t b) { blur(pass, axis, b); });
            } else if (half == 1) {
                parallel_for(int64_t(pass.order_cut[0].size()) - 1, options_.num_threads, [&](int64_t b) { blur_all(pass, b); });
            }
        }
    }

    // Adds the messages to the unary and normalises; returns the largest change of a marginal.
    float update_pixels(bool update, Trace& trace) {
        const int64_t tiles = tiles_.count();
        std::vector<float> change(tiles, 0.0f), top(tiles * full_, 0.0f);
        std::vector<Trace> part(tiles);
        parallel_for(tiles, options_.num_threads, [&](int64_t i) {
            change[i] = update_tile(i, update, top.data() + i * full_, options_.trace ? &part[i] : nullptr);
        });
        for (const Trace& t : part) trace.energy += t.energy, trace.entropy += t.entropy;
        merge_tops(top);
        return *std::max_element(change.begin(), change.end());
    }

    float update_tile(int64_t i, bool update, float* top, Trace* trace) {
        const Tile tile = tiles_.tile(i);
        const int64_t n = tile.x1 - tile.x0;
        const bool plain = !options_.compatibility && !trace;
        std::vector<std::unique_ptr<GridStream>> streams(terms_.size());
        for (size_t t = 0; t < terms_.size(); ++t)
            if (terms_[t].grid && !in_turns())
                streams[t] = std::make_unique<GridStream>(*terms_[t].grid, lanes_, tile, ring_memory(t));
        Buffer rows(n * full_);
        float change = 0;
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t p = y * W_ + tile.x0;
            if (plain) simd().load(unary_ + p * K_, K_, rows.data(), full_, n);
            else std::fill(rows.data(), rows.data() + n * full_, 0.0f);
            for (size_t t = 0; t < terms_.size() && !in_turns(); ++t) {
                if (!streams[t]) {
                    slice(t, lanes_, p, n, rows.data(), full_);
                    continue;
                }
                const auto source = [&](int64_t row) { return tiles_.source(i, streams[t]->around(), Q_.data(), row); };
                streams[t]->slice_row(y, lanes_, terms_[t].weight, source, rows.data(), full_);
            }
            if (in_turns()) add_kept(p, n, rows.data());
            if (!plain) combine(rows.data(), p, n, trace);
            if (!update) continue;
            simd().softmax(rows.data(), full_, K_, n, norm_.data() + 2 * p, top);
            change = std::max(change, simd().store(rows.data(), full_, Q_.data() + p * lanes_, lanes_, n, options_.tolerance > 0));
        }
        return change;
    }

    void add_kept(int64_t p, int64_t n, float* rows) const {
        for (int64_t i = 0; i < n; ++i) {
            const float* from = messages_.data() + (p + i) * lanes_;
            for (int k = 0; k < lanes_; ++k) rows[i * full_ + k] += from[k];
        }
    }

    // Messages to scores: the compatibility transform, minus the energy; and the energy and entropy of the marginals so far.
    void combine(float* rows, int64_t p, int64_t n, Trace* trace) const {
        std::vector<float> sent(K_);
        for (int64_t i = 0; i < n; ++i) {
            float* row = rows + i * full_;
            const float* q = Q_.data() + (p + i) * lanes_;
            const float* minus_energy = unary_ + (p + i) * K_;
            if (options_.compatibility) {
                std::fill(sent.begin(), sent.end(), 0.0f);
                for (int k = 0; k < K_; ++k) {
                    const float* penalties = options_.compatibility + int64_t(k) * K_;
                    for (int l = 0; l < K_; ++l) sent[l] -= penalties[l] * row[k];
                }
                std::copy(sent.begin(), sent.end(), row);
            }
            for (int k = 0; k < K_; ++k) {
                if (trace) {
                    trace->energy -= double(q[k]) * (minus_energy[k] + 0.5 * row[k]);
                    trace->entropy -= double(q[k]) * std::log(std::max(q[k], 1e-20f));
                }
                row[k] += minus_energy[k];
            }
        }
    }

    // Writes planes of marginals where the packed rows of the unary were.
    void finish() {
        rows_.clear();
        messages_ = Buffer();
        Buffer packed(N_ * K_);
        each_block([&](int64_t p, int64_t n) {
            simd().finish(unary_ + p * K_, K_, Q_.data() + p * lanes_, lanes_, norm_.data() + 2 * p, packed.data() + p * K_, n);
        });
        each_block([&](int64_t p, int64_t n) {
            for (int k = 0; k < K_; ++k) {
                float* to = unary_ + label_of_[k] * N_ + p;
                for (int64_t i = 0; i < n; ++i) to[i] = packed[(p + i) * K_ + k];
            }
        });
    }

    const float* scores_;
    const int K_;
    const int full_;  // lanes of all labels
    const int64_t W_, N_;
    const std::vector<Term>& terms_;
    const MeanFieldOptions& options_;
    const bool may_skip_;
    const float negligible_;
    float* unary_;  // packed rows of -energy in lane order, in the memory that takes the result at the end
    int lanes_;     // of the labels that messages are sent for
    Buffer Q_;      // their marginals
    Buffer norm_;   // of each pixel, the highest score and the normaliser: the other marginals follow from the unary
    std::vector<int> label_of_;  // of each lane
    std::vector<float> top_;     // the highest marginal of each lane
    const int64_t blocks_;
    Tiles tiles_;
    Buffer messages_;
    std::vector<Buffer> rows_;
};

}  // namespace

MeanFieldResult mean_field(const float* scores, int num_classes, int64_t height, int64_t width, const std::vector<Term>& terms,
                           const MeanFieldOptions& options, float* out) {
    return MeanField(scores, num_classes, height, width, terms, options, out).run();
}

}  // namespace crf
