#include "mean_field.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "filter.hpp"
#include "marginals.hpp"
#include "memory.hpp"
#include "parallel.hpp"
#include "simd.hpp"
#include "tiles.hpp"

namespace crf {
namespace {

using Buffer = Array<float>;

float negligible_scale = 1;

Negligible negligible(const std::vector<Term>& terms, const MeanFieldOptions& options) {
    float weights = 0;
    for (const Term& term : terms) weights += term.weight;
    const float change = std::max(negligible_scale * 1e-5f, options.idle_below);
    return {change / std::max(weights, 1.0f), options.idle_below};
}

// The first term's slice reads the unary where it is kept, if the term is a lattice. Messages are added in this order, so that
// the caller's has no part in their rounding but among lattices and among grids.
std::vector<Term> lattices_first(std::vector<Term> terms) {
    std::stable_partition(terms.begin(), terms.end(), [](const Term& term) { return bool(term.lattice); });
    return terms;
}

struct Trace {
    double energy = 0, entropy = 0;
};

class MeanField {
  public:
    MeanField(const float* scores, const std::vector<int>& labels, int64_t height, int64_t width, const std::vector<Term>& terms,
              const MeanFieldOptions& options)
        : K_(int(labels.size())),
          W_(width),
          N_(height * width),
          terms_(lattices_first(terms)),
          options_(options),
          // With a compatibility matrix a small marginal's message reaches labels that are large.
          may_idle_(!options.compatibility && !options.trace),
          negligible_(negligible(terms, options)),
          marginals_(planes_of(scores, labels, N_), N_, options.logits, options.num_threads),
          tiles_(height, width, grids(terms)) {}

    void run(const std::vector<const float*>& initial, MeanFieldResult& result) {
        if (!iterate(initial, may_idle_, result)) iterate(initial, false, result);
        rows_.clear();
        messages_ = Buffer();
    }

    void write(const std::vector<float*>& out) const { marginals_.write(out); }

  private:
    // With `choose`, labels become idle and active on the way; returns false as soon as one was idle that should not have been.
    bool iterate(const std::vector<const float*>& initial, bool choose, MeanFieldResult& result) {
        result = MeanFieldResult();
        result.finite = marginals_.start(initial, negligible_, may_idle_ && options_.iterations > 0);
        if (!result.finite) return true;
        bool converged = false;
        for (int i = 0;; ++i) {
            const bool update = i < options_.iterations && !converged;
            if (!update && !options_.trace) break;
            const bool chosen = choose && i > 0;
            if (chosen) marginals_.choose(negligible_, top_, options_.iterations - i > 1);
            send_messages();
            Trace trace;
            const float change = update_pixels(update, trace);
            if (chosen && marginals_.exceeded(negligible_, top_)) return false;
            if (options_.trace) {
                result.energies.push_back(trace.energy);
                result.divergences.push_back(trace.energy - trace.entropy);
            }
            if (!update) break;
            ++result.steps;
            converged = options_.tolerance > 0 && change <= options_.tolerance;
        }
        return true;
    }

    static std::vector<const Grid*> grids(const std::vector<Term>& terms) {
        std::vector<const Grid*> result;
        for (const Term& term : terms)
            if (term.grid) result.push_back(term.grid.get());
        return result;
    }

    bool in_turns() const { return marginals_.kernel_lanes() > kMaxLanes; }

    void send_messages() {
        const int all = marginals_.kernel_lanes(), turn = std::min(all, kMaxLanes);
        rows_.resize(terms_.size());
        for (size_t t = 0; t < terms_.size(); ++t) {
            const int64_t size = terms_[t].lattice ? int64_t(terms_[t].lattice->num_vertices) * turn : 0;
            if (rows_[t].size() != size) {
                rows_[t] = Buffer();
                rows_[t] = Buffer(size);
            }
        }
        if (!in_turns()) {
            for (size_t t = 0; t < terms_.size(); ++t) send(t, 0, all);
            tiles_.save(marginals_.rows(0), marginals_.stride(), options_.num_threads);
            return;
        }
        // More labels than fit are filtered in turns, and the messages kept.
        const int64_t size = N_ * marginals_.lanes();
        if (messages_.size() < size) messages_ = Buffer(size);
        std::memset(messages_.data(), 0, size * sizeof(float));
        for (int label = 0; label < all; label += kMaxLanes) {
            const int lanes = std::min(kMaxLanes, all - label);
            for (size_t t = 0; t < terms_.size(); ++t) {
                send(t, label, lanes);
                parallel_for(tiles_.count(), options_.num_threads,
                             [&](int64_t i) { keep_messages(t, tiles_.tile(i), label, lanes); });
            }
        }
    }

    void send(size_t t, int label, int lanes) {
        if (!terms_[t].lattice) return;
        filter(*terms_[t].lattice, marginals_.rows(0) + label, marginals_.stride(), lanes, rows_[t].data(), options_.num_threads);
    }

    // Adds one kernel's messages for some labels to those kept for a tile.
    void keep_messages(size_t t, const Tile& tile, int label, int lanes) {
        const Term& term = terms_[t];
        std::unique_ptr<GridStream> stream;
        if (term.grid) stream = std::make_unique<GridStream>(*term.grid, lanes, tile, ring_memory(0));
        const Tile around = term.grid ? reach(*term.grid, tile) : tile;
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t p = y * W_ + tile.x0;
            float* out = messages_.data() + p * marginals_.lanes() + label;
            if (!stream) {
                slice(t, lanes, p, tile.x1 - tile.x0, out, out, marginals_.lanes());
                continue;
            }
            const auto source = [&](int64_t row) {
                const auto at = [&](int64_t x) { return marginals_.rows(row * W_ + x) + label; };
                return RowSource{at(around.x0), at(tile.x0), at(tile.x1)};
            };
            stream->slice_row(y, marginals_.stride(), term.weight, source, out, marginals_.lanes());
        }
    }

    // Room that a thread keeps from tile to tile.
    static Buffer& ring_memory(size_t term) {
        thread_local std::vector<Buffer> memory;
        while (memory.size() <= term) memory.emplace_back();
        return memory[term];
    }

    // out = base + the messages of pixels [p, p + n); base may be out.
    void slice(size_t t, int lanes, int64_t p, int64_t n, const float* base, float* out, int64_t stride) const {
        const Lattice& lattice = *terms_[t].lattice;
        simd().slice(lanes, lattice.taps(), rows_[t].data(), lattice.slice.data(), lattice.scale.data(), terms_[t].weight, base,
                     out, stride, p, p + n);
    }

    // Adds the messages to the unary and normalises; returns the largest change of a marginal.
    float update_pixels(bool update, Trace& trace) {
        const int64_t tiles = tiles_.count(), size = marginals_.top_size();
        std::vector<float> change(tiles, 0.0f), top(tiles * size, 0.0f);
        std::vector<Trace> part(tiles);
        parallel_for(tiles, options_.num_threads, [&](int64_t i) {
            change[i] = update_tile(i, update, top.data() + i * size, options_.trace ? &part[i] : nullptr);
        });
        for (const Trace& t : part) trace.energy += t.energy, trace.entropy += t.entropy;
        top_.assign(size, 0.0f);
        for (size_t i = 0; i < top.size(); ++i) top_[i % size] = std::max(top_[i % size], top[i]);
        return *std::max_element(change.begin(), change.end());
    }

    float update_tile(int64_t i, bool update, float* top, Trace* trace) {
        const Tile tile = tiles_.tile(i);
        const int64_t n = tile.x1 - tile.x0;
        const int lanes = marginals_.lanes(), kernel_lanes = marginals_.kernel_lanes();
        const bool plain = !options_.compatibility && !trace;
        std::vector<std::unique_ptr<GridStream>> streams(terms_.size());
        for (size_t t = 0; t < terms_.size(); ++t)
            if (terms_[t].grid && !in_turns())
                streams[t] = std::make_unique<GridStream>(*terms_[t].grid, kernel_lanes, tile, ring_memory(t));
        const bool first_slices = plain && !terms_.empty() && terms_[0].lattice && !in_turns();
        Buffer rows(n * lanes);
        float change = 0;
        for (int64_t y = tile.y0; y < tile.y1; ++y) {
            const int64_t p = y * W_ + tile.x0;
            // The unary where it is kept: the first slice reads it there.
            const float* base = first_slices ? marginals_.kept_unary(p) : nullptr;
            if (!plain) std::fill(rows.data(), rows.data() + n * lanes, 0.0f);
            else if (!base) marginals_.unary_rows(p, n, rows.data());
            for (size_t t = 0; t < terms_.size() && !in_turns(); ++t) {
                if (!streams[t]) {
                    slice(t, kernel_lanes, p, n, t == 0 && base ? base : rows.data(), rows.data(), lanes);
                    continue;
                }
                const auto source = [&](int64_t row) { return tiles_.source(i, streams[t]->around(), marginals_.rows(0), row); };
                streams[t]->slice_row(y, marginals_.stride(), terms_[t].weight, source, rows.data(), lanes);
            }
            if (in_turns()) add_kept(p, n, rows.data());
            if (!plain) combine(rows.data(), p, n, trace);
            if (update) change = std::max(change, marginals_.update(rows.data(), p, n, top, options_.tolerance > 0));
        }
        return change;
    }

    void add_kept(int64_t p, int64_t n, float* rows) const {
        const float* from = messages_.data() + p * marginals_.lanes();
        for (int64_t i = 0; i < n * marginals_.lanes(); ++i) rows[i] += from[i];
    }

    // Messages to scores: the compatibility transform, minus the energy; and the energy and entropy of the marginals so far.
    void combine(float* rows, int64_t p, int64_t n, Trace* trace) const {
        const int lanes = marginals_.lanes();
        std::vector<float> sent(K_), unary(n * lanes);
        marginals_.unary_rows(p, n, unary.data());
        for (int64_t i = 0; i < n; ++i) {
            float* row = rows + i * lanes;
            const float* q = marginals_.rows(p + i);
            const float* minus_energy = unary.data() + i * lanes;
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

    const int K_;
    const int64_t W_, N_;
    const std::vector<Term> terms_;
    const MeanFieldOptions& options_;
    const bool may_idle_;
    const Negligible negligible_;
    Marginals marginals_;
    Tiles tiles_;
    std::vector<float> top_;  // of each lane, and of the idle labels (Marginals::update)
    Buffer messages_;
    std::vector<Buffer> rows_;
};

}  // namespace

void scale_negligible(float scale) { negligible_scale = scale; }

MeanFieldResult mean_field(const float* scores, int num_classes, int64_t height, int64_t width, const std::vector<Term>& terms,
                           const MeanFieldOptions& options) {
    const int64_t N = height * width;
    std::vector<int> labels = options.labels;
    if (labels.empty()) {
        labels.resize(num_classes);
        std::iota(labels.begin(), labels.end(), 0);
    }
    MeanFieldResult result;
    MeanField field(scores, labels, height, width, terms, options);
    field.run(options.initial ? planes_of(options.initial, labels, N) : std::vector<const float*>(), result);
    // Only now, when the largest buffers are free again.
    result.marginals = Array<float>(num_classes * N);
    if (!result.finite) return result;
    std::vector<float*> out;
    for (int k : labels) out.push_back(result.marginals.data() + k * N);
    parallel_for(num_classes, options.num_threads, [&](int64_t k) {
        if (std::find(labels.begin(), labels.end(), int(k)) == labels.end())
            std::memset(result.marginals.data() + k * N, 0, N * sizeof(float));
    });
    field.write(out);
    return result;
}

}  // namespace crf
