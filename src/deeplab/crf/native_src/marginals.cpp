#include "marginals.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

#include "parallel.hpp"

namespace crf {
namespace {

// Scores of more bytes: the unary is computed anew in each iteration rather than kept, and marginals are not padded.
int64_t large_bytes = int64_t(48) << 20;

void raise(std::vector<float>& top, const std::vector<float>& other) {
    for (size_t i = 0; i < other.size(); ++i) top[i % top.size()] = std::max(top[i % top.size()], other[i]);
}

}  // namespace

void set_large_bytes(int64_t bytes) { large_bytes = bytes; }

Marginals::Marginals(std::vector<const float*> scores, int64_t num_pixels, bool logits, int num_threads)
    : scores_(std::move(scores)),
      N_(num_pixels),
      blocks_((num_pixels + kPixels - 1) / kPixels),
      logits_(logits),
      keep_unary_(num_pixels * int64_t(scores_.size()) * int64_t(sizeof(float)) <= large_bytes),
      threads_(num_threads) {
    if (!keep_unary_) drop_memory();
}

template <class Body>
void Marginals::each_block(const Body& body) const {
    parallel_for(blocks_, threads_, [&](int64_t b) { body(b * kPixels, std::min(kPixels, N_ - b * kPixels)); });
}

bool Marginals::start(const std::vector<const float*>& initial, const Negligible& negligible, bool may_idle) {
    std::vector<float> top;
    if (!find_tops(scores_, N_, logits_, threads_, top)) return false;
    if (!may_idle || !initial.empty()) std::fill(top.begin(), top.end(), 1.0f);
    const int count = may_idle ? wanted(top, 0, 0, negligible) : num_classes();
    const bool all = kernel_lanes_of(count) >= num_classes();
    if (all) {
        std::vector<int> labels(num_classes());
        std::iota(labels.begin(), labels.end(), 0);
        set_labels(labels);
    } else {
        set_labels(largest(top, count));
    }
    Q_ = Array<float>();
    Q_ = Array<float>(N_ * stride_ + 8);
    split_unary(true);
    each_block([&](int64_t p, int64_t n) {
        std::vector<float> q(n * lanes_), ignored(top_size());
        if (initial.empty() && !logits_) {
            simd().shares(active_scores_.data(), int(active_.size()), idle_scores_.data(), int(idle_scores_.size()), p, n, idle_,
                          stride_ == lanes_ ? rows(p) : q.data(), lanes_);
            if (stride_ != lanes_) simd().store(q.data(), lanes_, rows(p), stride_, n, false);
            return;
        }
        if (initial.empty()) {
            unary_rows(p, n, q.data());
            update(q.data(), p, n, ignored.data(), false);
            return;
        }
        for (size_t k = 0; k < active_.size(); ++k)
            for (int64_t i = 0; i < n; ++i) q[i * lanes_ + k] = initial[active_[k]][p + i];
        simd().store(q.data(), lanes_, rows(p), stride_, n, false);
    });
    return true;
}

std::vector<const float*> planes_of(const float* memory, const std::vector<int>& labels, int64_t num_pixels) {
    std::vector<const float*> planes;
    for (int k : labels) planes.push_back(memory + k * num_pixels);
    return planes;
}

bool find_tops(const std::vector<const float*>& scores, int64_t num_pixels, bool logits, int num_threads, std::vector<float>& top) {
    const int K = int(scores.size());
    std::atomic<bool> finite{true};
    const int64_t parts = 64, blocks = (num_pixels + kPixels - 1) / kPixels, step = (blocks + parts - 1) / parts;
    std::vector<float> tops(parts * 8 * K, 0.0f);
    parallel_for(parts, num_threads, [&](int64_t part) {
        for (int64_t b = part * step; b < std::min(blocks, (part + 1) * step); ++b)
            if (!simd().tops(scores.data(), K, b * kPixels, std::min(kPixels, num_pixels - b * kPixels), logits, &tops[part * 8 * K]))
                finite = false;
    });
    top.assign(K, 0.0f);
    for (size_t i = 0; i < tops.size(); ++i) top[i / 8 % K] = std::max(top[i / 8 % K], tops[i]);
    return finite;
}

// How many of the labels with these highest marginals need messages, beside idle ones of which a pixel gives `highest` to one
// and `share` to all at most.
int Marginals::wanted(std::vector<float> tops, float highest, float share, const Negligible& negligible) {
    std::sort(tops.begin(), tops.end());
    size_t idle = 0;
    const auto may_idle = [&](float top) {
        return top < negligible.each || std::max(highest, top) * (share + top) <= negligible.product;
    };
    while (idle < tops.size() && may_idle(tops[idle])) share += tops[idle++];
    return int(tops.size() - idle);
}

std::vector<int> Marginals::largest(const std::vector<float>& top, int count) const {
    std::vector<int> labels(num_classes());
    std::iota(labels.begin(), labels.end(), 0);
    std::stable_sort(labels.begin(), labels.end(), [&](int a, int b) { return top[a] > top[b]; });
    labels.resize(std::min(num_classes(), kernel_lanes_of(count)));
    return labels;
}

void Marginals::set_labels(std::vector<int> active) {
    active_ = std::move(active);
    lanes_ = lanes_of(int(active_.size()));
    stride_ = keep_unary_ ? lanes_ : int64_t(active_.size());
    active_scores_.clear();
    idle_scores_.clear();
    idle_labels_.clear();
    for (int k : active_) active_scores_.push_back(scores_[k]);
    for (int k = 0; k < num_classes(); ++k) {
        if (std::find(active_.begin(), active_.end(), k) != active_.end()) continue;
        idle_scores_.push_back(scores_[k]);
        idle_labels_.push_back(k);
    }
}

void Marginals::split_unary(bool rows_too) {
    if (!idle_labels_.empty() && !idle_.most) {
        idle_memory_ = Array<float>(4 * N_);
        float* at = idle_memory_.data();
        idle_ = {at, at + N_, at + 2 * N_, at + 3 * N_};
    }
    if (keep_unary_ && unary_.size() < N_ * lanes_) unary_ = Array<float>(N_ * lanes_);
    each_block([&](int64_t p, int64_t n) {
        if (keep_unary_ && rows_too)
            simd().unary(active_scores_.data(), int(active_.size()), p, n, logits_, unary_.data() + p * lanes_, lanes_);
        if (!idle_labels_.empty())
            simd().rest(idle_scores_.data(), int(idle_scores_.size()), p, n, logits_, idle_.most, idle_.sum);
    });
}

void Marginals::unary_rows(int64_t p, int64_t n, float* rows) const {
    if (keep_unary_) std::memcpy(rows, unary_.data() + p * lanes_, n * lanes_ * sizeof(float));
    else simd().unary(active_scores_.data(), int(active_.size()), p, n, logits_, rows, lanes_);
}

float Marginals::update(float* rows, int64_t p, int64_t n, float* top, bool compare) {
    const bool direct = stride_ == lanes_ && !compare;
    simd().softmax(rows, int(active_.size()), p, n, idle_labels_.empty() ? nullptr : &idle_, top, direct ? this->rows(p) : rows);
    if (direct) return 0;
    return simd().store(rows, lanes_, this->rows(p), stride_, n, compare);
}

void Marginals::choose(const Negligible& negligible, const std::vector<float>& top, bool may_fall) {
    const float highest = top[lanes_], share = top[lanes_ + 1];
    const std::vector<float> active(top.begin(), top.begin() + int64_t(active_.size()));
    idle_top_ = highest;
    if (!idle_labels_.empty() && highest >= 2 * negligible.each && highest * share > 2 * negligible.product) {
        take_in_risen(negligible, active);
    } else if (may_fall) {
        const int count = wanted(active, highest, share, negligible);
        if (kernel_lanes_of(count) < kernel_lanes()) leave_out_fallen(active, count);
    }
}

bool Marginals::exceeded(const Negligible& negligible, const std::vector<float>& top) const {
    return idle_top_ >= 2 * negligible.each && idle_top_ * top[lanes_ + 1] > 2 * negligible.product;
}

void Marginals::take_in_risen(const Negligible& negligible, const std::vector<float>& active_top) {
    std::vector<float> tops = idle_tops();
    for (size_t k = 0; k < active_top.size(); ++k) tops[active_[k]] = active_top[k];
    const std::vector<int> old = active_;
    const int64_t old_stride = stride_;
    set_labels(largest(tops, wanted(tops, 0, 0, negligible)));
    regrow(old, old_stride);
    split_unary(true);
    idle_top_ = 0;
    for (int k : idle_labels_) idle_top_ = std::max(idle_top_, tops[k]);
}

void Marginals::leave_out_fallen(const std::vector<float>& active_top, int count) {
    std::vector<float> tops(num_classes(), -1.0f);
    for (size_t k = 0; k < active_top.size(); ++k) tops[active_[k]] = active_top[k];
    const std::vector<int> old = active_;
    const int64_t old_stride = stride_;
    set_labels(largest(tops, count));
    for (int k : idle_labels_) idle_top_ = std::max(idle_top_, tops[k]);
    std::vector<int> from;
    for (int k : active_) from.push_back(int(std::find(old.begin(), old.end(), k) - old.begin()));
    if (keep_unary_) {
        Q_ = picked(Q_, from, old_stride);
        unary_ = picked(unary_, from, old_stride);
    } else {
        shrink(Q_, from, old_stride);
    }
    split_unary(false);
}

std::vector<float> Marginals::idle_tops() const {
    const size_t count = idle_labels_.size();
    std::vector<float> tops(blocks_ * count), all(count, 0.0f), result(num_classes(), 0.0f);
    each_block([&](int64_t p, int64_t n) {
        float q[kPixels];
        float* const to[] = {q};
        for (size_t k = 0; k < count; ++k) {
            simd().idle(&idle_scores_[k], 1, p, n, logits_, idle_, to, 0);
            tops[p / kPixels * count + k] = *std::max_element(q, q + n);
        }
    });
    raise(all, tops);
    for (size_t k = 0; k < count; ++k) result[idle_labels_[k]] = all[k];
    return result;
}

// Copies the chosen lanes of the rows.
Array<float> Marginals::picked(const Array<float>& rows, const std::vector<int>& from, int64_t old_stride) const {
    const int64_t count = int64_t(from.size());
    Array<float> result(N_ * stride_ + 8);
    each_block([&](int64_t p, int64_t n) {
        const float* old = rows.data() + p * old_stride;
        float* to = result.data() + p * stride_;
        for (int64_t i = 0; i < n; ++i, old += old_stride, to += stride_)
            for (int64_t k = 0; k < stride_; ++k) to[k] = k < count ? old[from[k]] : 0;
    });
    return result;
}

// Moves the rows together in place: another array would be the largest thing in memory.
void Marginals::shrink(const Array<float>& rows, const std::vector<int>& from, int64_t old_stride) const {
    const int64_t parts = 16;
    const auto first = [&](int64_t part) { return N_ * part / parts; };
    parallel_for(parts, threads_, [&](int64_t part) {
        std::vector<float> row(stride_, 0.0f);
        const float* old = rows.data() + first(part) * old_stride;
        float* to = rows.data() + first(part) * old_stride;
        for (int64_t p = first(part); p < first(part + 1); ++p, old += old_stride, to += stride_) {
            for (size_t k = 0; k < from.size(); ++k) row[k] = old[from[k]];
            std::memcpy(to, row.data(), stride_ * sizeof(float));
        }
    });
    for (int64_t part = 1; part < parts; ++part)
        std::memmove(rows.data() + first(part) * stride_, rows.data() + first(part) * old_stride,
                     (first(part + 1) - first(part)) * stride_ * sizeof(float));
}

// Idle labels have risen: takes their marginals in.
void Marginals::regrow(const std::vector<int>& old_active, int64_t old_stride) {
    Array<float> grown(N_ * stride_ + 8);
    each_block([&](int64_t p, int64_t n) {
        std::vector<float> rows(n * lanes_, 0.0f);
        float q[kPixels];
        float* const to[] = {q};
        for (size_t k = 0; k < active_.size(); ++k) {
            const auto old = std::find(old_active.begin(), old_active.end(), active_[k]);
            const float* kept = Q_.data() + p * old_stride + (old - old_active.begin());
            if (old == old_active.end()) simd().idle(&active_scores_[k], 1, p, n, logits_, idle_, to, 0);
            for (int64_t i = 0; i < n; ++i) rows[i * lanes_ + k] = old == old_active.end() ? q[i] : kept[i * old_stride];
        }
        simd().store(rows.data(), lanes_, grown.data() + p * stride_, stride_, n, false);
    });
    Q_ = std::move(grown);
}

void Marginals::write(const std::vector<float*>& out) const {
    std::vector<float*> active, idle;
    for (int k : active_) active.push_back(out[k]);
    for (int k : idle_labels_) idle.push_back(out[k]);
    each_block([&](int64_t p, int64_t n) {
        simd().planes(rows(p), stride_, int(active_.size()), n, active.data(), p);
        if (!idle.empty()) simd().idle(idle_scores_.data(), int(idle.size()), p, n, logits_, idle_, idle.data(), p);
    });
}

}  // namespace crf
