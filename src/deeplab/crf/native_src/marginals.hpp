// The marginals of one picture while the mean field runs, of those labels only that messages are sent for.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.hpp"
#include "simd.hpp"

namespace crf {

constexpr int64_t kPixels = 128;  // a block of pixels: its rows stay in the first-level cache

// A label that no pixel gives more than e gets messages of about w e at most (w: the kernels' weights together; symmetrically
// normalised rows sum to 1.3 on photographs, and to 3.6 in the worst case measured, 16 features). Leaving those of some labels
// out of an update changes the sum of their marginals at a pixel after it, s, by w e s at most, and no label's marginal by
// more. Labels become idle as long as w e s, of the marginals before the update, stays below 1e-5; after it the product is
// known, and where it has more than doubled the mean field begins anew without idling on the way (`exceeded`). Most pictures
// need the lattice for eight labels or fewer after the first iteration. Labels that are idle from the start need no such
// check: messages are not negative, so without any of its own a label stays below the softmax of its unary. Idle labels'
// marginals follow from the unary and the softmax's normaliser. Pruning, an approximation, puts its threshold in the place
// of 1e-5, and makes labels below it idle by e alone.
struct Negligible {
    float product = 0;  // e s
    float each = 0;     // e of one label, whatever s is
};

class Marginals {
  public:
    // `scores` are planes, one a label, and stay alive.
    Marginals(std::vector<const float*> scores, int64_t num_pixels, bool logits, int num_threads);

    // Takes the softmax of the unary, or `initial` planes; labels are idle from the start as far as `negligible`
    // allows. Returns false if a score is not finite.
    bool start(const std::vector<const float*>& initial, const Negligible& negligible, bool may_idle);

    // Decides again which labels are idle, after an update of all pixels that raised `top`: takes in those that have risen,
    // or else, if `may_fall`, leaves out those that have fallen.
    void choose(const Negligible& negligible, const std::vector<float>& top, bool may_fall);

    // Whether an update that raised `top` lacked messages that were not negligible.
    bool exceeded(const Negligible& negligible, const std::vector<float>& top) const;

    // Rows of -energy of pixels [p, p + n), lanes() apart.
    void unary_rows(int64_t p, int64_t n, float* rows) const;

    // Where unary_rows of pixels from p on are kept, or null.
    const float* kept_unary(int64_t p) const { return keep_unary_ ? unary_.data() + p * lanes_ : nullptr; }

    // Turns rows of scores of pixels [p, p + n), lanes() apart, into their new marginals. Raises `top`: to the highest
    // marginal of each lane and, in its last two entries, to that of the idle labels and to their largest sum.
    // Returns the largest change, if `compare`.
    float update(float* rows, int64_t p, int64_t n, float* top, bool compare);

    // Planes of all labels' marginals.
    void write(const std::vector<float*>& out) const;

    int num_classes() const { return int(scores_.size()); }
    int lanes() const { return lanes_; }                 // as many as a row of the labels with messages holds (lanes_of)
    int kernel_lanes() const { return kernel_lanes_of(int(active_.size())); }
    int64_t top_size() const { return lanes_ + 2; }
    float* rows(int64_t pixel) const { return Q_.data() + pixel * stride_; }
    // What lies beyond it in lanes() is another pixel's and not to be used. At a tile's right edge that pixel may be written
    // at the same time; whatever is read goes into lanes that are 0 afterwards.
    int64_t stride() const { return stride_; }

  private:
    void take_in_risen(const Negligible& negligible, const std::vector<float>& active_top);
    void leave_out_fallen(const std::vector<float>& active_top, int count);
    std::vector<float> idle_tops() const;
    void set_labels(std::vector<int> active);
    void split_unary(bool rows_too);
    Array<float> picked(const Array<float>& rows, const std::vector<int>& from, int64_t old_stride) const;
    void shrink(const Array<float>& rows, const std::vector<int>& from, int64_t old_stride) const;
    void regrow(const std::vector<int>& old_active, int64_t old_stride);
    static int wanted(std::vector<float> tops, float highest, float share, const Negligible& negligible);
    std::vector<int> largest(const std::vector<float>& top, int count) const;
    template <class Body>
    void each_block(const Body& body) const;

    const std::vector<const float*> scores_;
    const int64_t N_, blocks_;
    const bool logits_, keep_unary_;
    const int threads_;
    int lanes_ = 0;
    int64_t stride_ = 0;
    std::vector<int> active_;                       // labels with messages, in the order of the lanes
    std::vector<const float*> active_scores_, idle_scores_;
    std::vector<int> idle_labels_;
    float idle_top_ = 0;                            // the highest marginal of an idle label when `choose` was last called
    Array<float> unary_;                            // rows of the active labels, unless the picture is large
    Array<float> Q_;
    Array<float> idle_memory_;
    Idle idle_{};
};

// Where the planes of these labels begin.
std::vector<const float*> planes_of(const float* memory, const std::vector<int>& labels, int64_t num_pixels);

// The highest softmax of the unary of each label, of planes of scores. Returns false if a score is not finite.
bool find_tops(const std::vector<const float*>& scores, int64_t num_pixels, bool logits, int num_threads, std::vector<float>& top);

// From how many bytes of scores on memory is saved rather than time; for tests.
void set_large_bytes(int64_t bytes);

}  // namespace crf
