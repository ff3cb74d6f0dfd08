#include "mean_field.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "parallel.hpp"
#include "simd.hpp"

namespace crf {
namespace {

constexpr int64_t kPixels = 128;  // a block of pixels: its rows stay in the first-level cache

// Floats that are not set to anything, so that no time goes into zeros.
class Buffer {
  public:
    explicit Buffer(int64_t count) : data_(static_cast<float*>(std::aligned_alloc(64, (count * 4 + 127) / 64 * 64))) {
        if (!data_) throw std::bad_alloc();
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    float* get() const { return data_; }

  private:
    float* data_;
};

class MeanField {
  public:
    MeanField(const float* scores, int num_classes, int64_t num_pixels, const std::vector<Term>& terms,
              const MeanFieldOptions& options, float* out)
        : scores_(scores),
          K_(num_classes),
          N_(num_pixels),
          stride_((num_classes + 7) / 8 * 8),
          terms_(terms),
          options_(options),
          unary_(out),
          Q_(num_pixels * stride_),
          blocks_((num_pixels + kPixels - 1) / kPixels) {}

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
            float* to = Q_.get() + p * stride_;
            if (options_.initial) {
                for (int64_t i = 0; i < n; ++i)
                    for (int k = 0; k < stride_; ++k) to[i * stride_ + k] = k < K_ ? options_.initial[k * N_ + p + i] : 0;
            } else {
                Buffer scores(kPixels * stride_);
                load_rows(scores.get(), p, n);
                simd().softmax(scores.get(), to, stride_, K_, n, false);
            }
        });
    }

    void allocate() {
        int64_t first = 0;
        const int lanes = std::min(stride_, kMaxLanes);
        for (const Term& term : terms_) {
            const int64_t size = int64_t(term.lattice->num_vertices) * lanes;
            first = std::max(first, size);
            // More labels than lanes are filtered in turns, so all terms can share.
            if (stride_ <= kMaxLanes || second_.empty()) second_.push_back(std::make_unique<Buffer>(size));
            else if (shared_ < size) second_[0] = std::make_unique<Buffer>(size);
            shared_ = std::max(shared_, size);
        }
        first_ = std::make_unique<Buffer>(first);
        if (stride_ > kMaxLanes) messages_ = std::make_unique<Buffer>(N_ * stride_);
    }

    // Rows of scores from the packed rows of -energy, `stride_` apart; what lies beyond K_ is anything.
    void load_rows(float* rows, int64_t p, int64_t n) const {
        for (int64_t i = 0; i < n; ++i) std::memcpy(rows + i * stride_, unary_ + (p + i) * K_, K_ * sizeof(float));
        for (int64_t i = 0; i < n; ++i)
            for (int k = K_; k < stride_; ++k) rows[i * stride_ + k] = 0;
    }

    void send_messages() {
        if (stride_ <= kMaxLanes) {
            for (size_t t = 0; t < terms_.size(); ++t) filter(*terms_[t].lattice, Q_.get(), stride_, second_[t]->get());
            return;
        }
        std::memset(messages_->get(), 0, N_ * stride_ * sizeof(float));
        for (int label = 0; label < stride_; label += kMaxLanes) {
            const int lanes = std::min(kMaxLanes, stride_ - label);
            for (const Term& term : terms_) {
                filter(*term.lattice, Q_.get() + label, lanes, second_[0]->get());
                parallel_for(blocks_, options_.num_threads, [&](int64_t b) {
                    const int64_t p = b * kPixels;
                    simd().slice(lanes, term.lattice->taps(), second_[0]->get(), term.lattice->slice.data(),
                                 term.lattice->scale.data(), term.weight, messages_->get() + p * stride_ + label, stride_, p,
                                 p + count(b));
                });
            }
        }
    }

    // Splats Q into the lattice and blurs it.
    void filter(const Lattice& lattice, const float* Q, int lanes, float* second) {
        float* first = first_->get();
        run_pass(lattice.passes[0], lanes, first, [&](int64_t begin, int64_t end) {
            simd().splat(lanes, Q, stride_, lattice.splat_start.data(), lattice.splat.data(), lattice.passes[0].joined.data(),
                         first, begin, end);
        });
        run_pass(lattice.passes[1], lanes, second, [&](int64_t begin, int64_t end) {
            simd().move(lanes, first, lattice.permutation.data(), lattice.passes[1].joined.data(), second, begin, end);
        });
    }

    template <class Fill>
    void run_pass(const Pass& pass, int lanes, float* rows, const Fill& fill) const {
        const int64_t row_blocks = int64_t(pass.row_cut.size()) - 1;
        parallel_for(row_blocks, options_.num_threads, [&](int64_t b) {
            fill(pass.row_cut[b], pass.row_cut[b + 1]);
            if (!pass.fused) return;
            for (size_t a = 0; a < pass.order.size(); ++a)
                simd().blur(lanes, rows, pass.order[a].data(), pass.order_cut[a][b], pass.order_cut[a][b + 1]);
        });
        if (pass.fused) return;
        for (size_t a = 0; a < pass.order.size(); ++a) {
            parallel_for(int64_t(pass.order_cut[a].size()) - 1, options_.num_threads, [&](int64_t b) {
                simd().blur(lanes, rows, pass.order[a].data(), pass.order_cut[a][b], pass.order_cut[a][b + 1]);
            });
        }
    }

    // Adds the messages to the unary and normalises; returns the largest change of a marginal.
    float update_pixels(bool update, double& divergence) {
        std::vector<float> change(blocks_, 0.0f);
        std::vector<double> part(options_.trace ? blocks_ : 0, 0.0);
        const bool plain = !options_.compatibility && !options_.trace && !messages_;
        parallel_for(blocks_, options_.num_threads, [&](int64_t b) {
            alignas(64) float local[kPixels * kMaxLanes];
            std::unique_ptr<Buffer> more(stride_ > kMaxLanes ? new Buffer(kPixels * stride_) : nullptr);
            float* rows = more ? more->get() : local;
            const int64_t p = b * kPixels, n = count(b);
            if (plain) {
                load_rows(rows, p, n);
                add_messages(rows, p, n);
            } else {
                std::fill(rows, rows + n * stride_, 0.0f);
                add_messages(rows, p, n);
                combine(rows, p, n, options_.trace ? &part[b] : nullptr);
            }
            if (update) change[b] = simd().softmax(rows, Q_.get() + p * stride_, stride_, K_, n, options_.tolerance > 0);
        });
        for (double d : part) divergence += d;
        return *std::max_element(change.begin(), change.end());
    }

    void add_messages(float* rows, int64_t p, int64_t n) const {
        if (messages_) {
            const float* from = messages_->get() + p * stride_;
            for (int64_t i = 0; i < n * stride_; ++i) rows[i] += from[i];
            return;
        }
        for (size_t t = 0; t < terms_.size(); ++t) {
            const Lattice& lattice = *terms_[t].lattice;
            simd().slice(stride_, lattice.taps(), second_[t]->get(), lattice.slice.data(), lattice.scale.data(),
                         terms_[t].weight, rows, stride_, p, p + n);
        }
    }

    // Messages to scores: the compatibility transform, minus the energy; and the divergence of the marginals so far.
    void combine(float* rows, int64_t p, int64_t n, double* divergence) const {
        std::vector<float> sent(K_);
        for (int64_t i = 0; i < n; ++i) {
            float* row = rows + i * stride_;
            const float* q = Q_.get() + (p + i) * stride_;
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
            const float* from = Q_.get() + p * stride_;
            for (int k = 0; k < K_; ++k)
                for (int64_t i = 0; i < n; ++i) unary_[k * N_ + p + i] = from[i * stride_ + k];
        });
    }

    const float* scores_;
    const int K_;
    const int64_t N_;
    const int stride_;
    const std::vector<Term>& terms_;
    const MeanFieldOptions& options_;
    float* unary_;  // packed rows of -energy, in the memory that takes the result at the end
    Buffer Q_;
    const int64_t blocks_;
    int64_t shared_ = 0;
    std::unique_ptr<Buffer> first_, messages_;
    std::vector<std::unique_ptr<Buffer>> second_;
};

}  // namespace

MeanFieldResult mean_field(const float* scores, int num_classes, int64_t num_pixels, const std::vector<Term>& terms,
                           const MeanFieldOptions& options, float* out) {
    return MeanField(scores, num_classes, num_pixels, terms, options, out).run();
}

}  // namespace crf
