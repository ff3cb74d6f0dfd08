#include "mean_field.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "memory.hpp"
#include "parallel.hpp"
#include "simd.hpp"
#include "tiles.hpp"

namespace crf {
namespace {

constexpr int64_t kPixels = 128;  // a block of pixels: its rows stay in the first-level cache

using Buffer = Array<float>;

class MeanField {
  public:
    MeanField(const float* scores, int num_classes, int64_t height, int64_t width, const std::vector<Term>& terms,
              const MeanFieldOptions& options, float* out)
        : scores_(scores),
          K_(num_classes),
          W_(width),
          N_(height * width),
          stride_((num_classes + 7) / 8 * 8),
          terms_(terms),
          options_(options),
          unary_(out),
          in_turns_(stride_ > kMaxLanes),
          Q_(N_ * stride_),
          blocks_((N_ + kPixels - 1) / kPixels),
          tiles_(height, width, grids(terms)) {}

    MeanFieldResult run() {
        MeanFieldResult result;
        result.finite = load_unary();
        if (!result.finite) return result;
        start();
        allocate();
        const int passes = options_.iterations + (options_.trace ? 1 : 0);
        for (int i = 0; i < passes; ++i) {
            const bool update = i < options_.iterations;
            send_messages();
            double divergence = 0;
            const float change = update_pixels(update, divergence);
            if (options_.trace) result.trace.push_back(divergence);
            if (!update) break;
            ++result.steps;
            if (options_.tolerance > 0 && change <= options_.tolerance) break;
        }
        write_planes();
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

    bool load_unary() {
        std::atomic<bool> finite{true};
        parallel_for(blocks_, options_.num_threads, [&](int64_t b) {
            const int64_t p = b * kPixels;
            if (!simd().unary(scores_ + p, N_, unary_ + p * K_, K_, count(b), options_.logits)) finite = false;
        });
        return finite;
    }

    void start() {
        parallel_for(blocks_, options_.num_threads, [&](int64_t b) {
            const int64_t p = b * kPixels, n = count(b);
            float* to = Q_.data() + p * stride_;
            if (options_.initial) {
                for (int64_t i = 0; i < n; ++i)
                    for (int k = 0; k < stride_; ++k) to[i * stride_ + k] = k < K_ ? options_.initial[k * N_ + p + i] : 0;
            } else {
                Buffer scores(kPixels * stride_);
                load_rows(scores.data(), p, n);
                simd().softmax(scores.data(), to, stride_, K_, n, false);
            }
        });
    }

    void allocate() {
        const int lanes = std::min(stride_, kMaxLanes);
        int64_t most = 0;
        for (const Term& term : terms_) {
            const int64_t size = term.lattice ? int64_t(term.lattice->num_vertices) * lanes : 0;
            most = std::max(most, size);
            if (stride_ <= kMaxLanes) rows_.emplace_back(size);
        }
        if (stride_ <= kMaxLanes) return;
        // More labels than lanes are filtered in turns, the kernels one after another, and the messages summed up.
        rows_.emplace_back(most);
        messages_ = Buffer(N_ * stride_);
    }

    // Rows of scores from the packed rows of -energy, `stride_` apart; what lies beyond K_ is anything.
    void load_rows(float* rows, int64_t p, int64_t n) const {
        simd().load(unary_ + p * K_, K_, rows, stride_, n);
    }

    void send_messages() {
        if (!in_turns_) {
            for (size_t t = 0; t < terms_.size(); ++t)
                if (terms_[t].lattice) filter(*terms_[t].lattice, Q_.data(), stride_, rows_[t].data());
            tiles_.save(Q_.data(), stride_, options_.num_threads);
            return;
        }
        std::memset(messages_.data(), 0, N_ * stride_ * sizeof(float));
        for (int label = 0; label < stride_; label += kMaxLanes) {
            const int lanes = std::min(kMaxLanes, stride_ - label);
            for (const Term& term : terms_) {
                if (term.lattice) filter(*term.lattice, Q_.data() + label, lanes, rows_[0].data());
                parallel_for(tiles_.count(), options_.num_threads, [&](int64_t i) { add_messages_of(term, tiles_.tile(i), label, lanes); });
            }
        }
    }

    // Adds one kernel's messages for some labels to those of a tile.
    void add_messages_of(const Term& term, const Tile& tile, int label, int lanes) {
        std::unique_ptr<GridStream> stream;
        if (term.grid) stream = std::make_unique<GridStream>(*term.grid, lanes, tile, ring_memory(0));
        const Tile around = term.grid ? reach(*term.grid, tile) : tile;
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            float* out = messages_.data() + (y * W_ + tile.x0) * stride_ + label;
            if (!stream) {
                slice(*term.lattice, rows_[0].data(), term.weight, lanes, y * W_ + tile.x0, tile.x1 - tile.x0, out);
                continue;
            }
            const auto source = [&](int64_t row) {
                const float* Q = Q_.data() + row * W_ * stride_ + label;
                return RowSource{Q + around.x0 * stride_, Q + tile.x0 * stride_, Q + tile.x1 * stride_};
            };
            stream->slice_row(y, stride_, term.weight, source, out, stride_);
        }
    }

    // Room that a thread keeps from tile to tile.
    static Buffer& ring_memory(size_t term) {
        thread_local std::vector<Buffer> memory;
        while (memory.size() <= term) memory.emplace_back();
        return memory[term];
    }

    void slice(const Lattice& lattice, const float* rows, float weight, int lanes, int64_t p, int64_t n, float* out) const {
        simd().slice(lanes, lattice.taps(), rows, lattice.slice.data(), lattice.scale.data(), weight, out, stride_, p, p + n);
    }

    // Splats Q into the lattice and blurs it.
    void filter(const Lattice& lattice, const float* Q, int lanes, float* rows) const {
        const auto blur = [&](const Pass& pass, size_t axis, int64_t b) {
            simd().blur(lanes, rows, pass.order[axis].data(), pass.order_cut[axis][b], pass.order_cut[axis][b + 1]);
        };
        const auto blur_rest = [&](const Pass& pass, int64_t b) {
            for (size_t axis = 0; axis < pass.order.size(); ++axis) blur(pass, axis, b);
        };
        parallel_for(int64_t(lattice.row_cut.size()) - 1, options_.num_threads, [&](int64_t b) {
            simd().splat(lanes, Q, stride_, lattice.splat_start.data(), lattice.splat.data(), lattice.joined.data(), rows,
                         lattice.row_cut[b], lattice.row_cut[b + 1]);
            if (lattice.halves[0].fused) blur_rest(lattice.halves[0], b);
        });
        for (int half = 0; half < 2; ++half) {
            const Pass& pass = lattice.halves[half];
            if (!pass.fused) {
                for (size_t axis = 0; axis < pass.order.size(); ++axis)
                    parallel_for(int64_t(pass.order_cut[axis].size()) - 1, options_.num_threads,
                                 [&](int64_t b) { blur(pass, axis, b); });
            } else if (half == 1) {
                parallel_for(int64_t(pass.order_cut[0].size()) - 1, options_.num_threads, [&](int64_t b) { blur_rest(pass, b); });
            }
        }
    }

    // Adds the messages to the unary and normalises; returns the largest change of a marginal.
    float update_pixels(bool update, double& divergence) {
        std::vector<float> change(tiles_.count(), 0.0f);
        std::vector<double> part(tiles_.count(), 0.0);
        parallel_for(tiles_.count(), options_.num_threads,
                     [&](int64_t i) { change[i] = update_tile(i, update, options_.trace ? &part[i] : nullptr); });
        for (double d : part) divergence += d;
        return *std::max_element(change.begin(), change.end());
    }

    float update_tile(int64_t i, bool update, double* divergence) {
        const Tile tile = tiles_.tile(i);
        const int64_t n = tile.x1 - tile.x0;
        const bool plain = !options_.compatibility && !options_.trace && !in_turns_;
        std::vector<std::unique_ptr<GridStream>> streams(terms_.size());
        for (size_t t = 0; t < terms_.size(); ++t)
            if (terms_[t].grid && !in_turns_) streams[t] = std::make_unique<GridStream>(*terms_[t].grid, stride_, tile, ring_memory(t));
        Buffer rows(n * stride_);
        float change = 0;
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t p = y * W_ + tile.x0;
            if (plain) load_rows(rows.data(), p, n);
            else std::fill(rows.data(), rows.data() + n * stride_, 0.0f);
            for (size_t t = 0; t < terms_.size() && !in_turns_; ++t) {
                if (!streams[t]) {
                    slice(*terms_[t].lattice, rows_[t].data(), terms_[t].weight, stride_, p, n, rows.data());
                    continue;
                }
                const auto source = [&](int64_t row) { return tiles_.source(i, streams[t]->around(), Q_.data(), row); };
                streams[t]->slice_row(y, stride_, terms_[t].weight, source, rows.data(), stride_);
            }
            if (in_turns_) std::memcpy(rows.data(), messages_.data() + p * stride_, n * stride_ * sizeof(float));
            if (!plain) combine(rows.data(), p, n, divergence);
            if (!update) continue;
            change = std::max(change, simd().softmax(rows.data(), Q_.data() + p * stride_, stride_, K_, n, options_.tolerance > 0));
        }
        return change;
    }

    // Messages to scores: the compatibility transform, minus the energy; and the divergence of the marginals so far.
    void combine(float* rows, int64_t p, int64_t n, double* divergence) const {
        std::vector<float> sent(K_);
        for (int64_t i = 0; i < n; ++i) {
            float* row = rows + i * stride_;
            const float* q = Q_.data() + (p + i) * stride_;
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
                if (divergence)
                    *divergence += double(q[k]) * (std::log(std::max(q[k], 1e-20f)) - minus_energy[k] - 0.5 * row[k]);
                row[k] += minus_energy[k];
            }
        }
    }

    void write_planes() {
        parallel_for(blocks_, options_.num_threads, [&](int64_t b) {
            const int64_t p = b * kPixels, n = count(b);
            const float* from = Q_.data() + p * stride_;
            for (int k = 0; k < K_; ++k)
                for (int64_t i = 0; i < n; ++i) unary_[k * N_ + p + i] = from[i * stride_ + k];
        });
    }

    const float* scores_;
    const int K_;
    const int64_t W_, N_;
    const int stride_;
    const std::vector<Term>& terms_;
    const MeanFieldOptions& options_;
    float* unary_;  // packed rows of -energy, in the memory that takes the result at the end
    const bool in_turns_;  // more labels than lanes
    Buffer Q_;
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
