// The inner loops, compiled once for each instruction set; `simd()` returns the set for this processor.
#pragma once

#include <cstdint>

#include "grid.hpp"
#include "lattice.hpp"

namespace crf {

constexpr int kMaxLanes = 32;  // labels filtered at once; more are done in turns

// The length of a pixel's row of so many labels, and of the rows of a kernel, of a vertex or a cell, which are read more often.
// Where no label needs messages rows have room for some all the same.
constexpr int lanes_of(int labels) { return labels <= 4 ? 4 : (labels + 7) / 8 * 8; }
constexpr int kernel_lanes_of(int labels) { return labels <= 4 ? 4 : (labels + 3) / 4 * 4; }

struct EmbedPlan {
    int dimension;
    float scale[64];
};

// How features of so many dimensions are scaled before they are elevated.
EmbedPlan embed_plan(int dimension);

// The labels that no messages are sent for keep their unary; what the softmax needs of them at each pixel does not change.
struct Idle {
    float* most;     // the highest -energy u among them
    float* sum;      // of exp(u - most)
    float* highest;  // score of the softmax, written by it: a marginal is exp(u - highest) * inverse
    float* inverse;  // of its normaliser
};

struct Simd {
    const char* name;
    // Finds the simplex around each of 8 pixels with features[f * stride + lane]. Its first vertex is the sum of
    // point[i * 8 + lane] steps along axis i < dimension; from vertex t to t + 1 it is a step back along the axis whose rank
    // is dimension - t. bary gets the pixel's share of each vertex.
    void (*embed)(const EmbedPlan& plan, const float* features, int64_t stride, int32_t* point, int32_t* rank, float* bary);
    // Splats pixels into rows [begin, end) and blurs them along axis 0, whose chains are contiguous.
    void (*splat)(int lanes, const float* Q, int64_t q_stride, const int32_t* start, const Tap* taps, const uint8_t* joined,
                  float* rows, int64_t begin, int64_t end);
    // Blurs the chains order[begin .. end) in place; `cold` rows are prefetched.
    void (*blur)(int lanes, float* rows, const int32_t* order, int64_t begin, int64_t end, bool cold);
    // out = base + weight * scale * slice of pixels [begin, end); base and out start at pixel `begin` and may be the same.
    void (*slice)(int lanes, int num_taps, const float* rows, const Tap* taps, const float* scale, float weight,
                  const float* base, float* out, int64_t stride, int64_t begin, int64_t end);
    // Grid: adds `count` pixels to the cells of their taps, whose row is kept in a ring of rows.
    void (*grid_splat)(int lanes, const float* Q, int64_t stride, const GridTap* taps, const float* before, float* ring,
                       int ring_mask, int columns, int first_column, int64_t count);
    // Grid: out = exists * (middle + (ahead + behind) / 2) for `count` cells.
    void (*grid_blur)(int lanes, const float* middle, const float* ahead, const float* behind, const float* exists, float* out,
                      int64_t count);
    // Grid: adds weight * norm * slice of `count` pixels to their rows in out.
    void (*grid_slice)(int lanes, const float* ring, int ring_mask, int columns, int first_column, const GridTap* taps,
                       const float* norm, float weight, float* out, int64_t stride, int64_t count);
    // Rows of -energy of pixels [begin, begin + count) from planes of scores: log(clip(p, 1e-5, 1)), or the logits
    // themselves; the stride is a row's length.
    void (*unary)(const float* const* scores, int labels, int64_t begin, int64_t count, bool logits, float* rows, int64_t stride);
    // Rows of clip(p, 1e-5, 1) of these labels over the sum of these and of the idle ones: the softmax of `unary`'s rows of
    // probabilities. Writes what a softmax writes of the idle labels.
    void (*shares)(const float* const* scores, int labels, const float* const* idle_scores, int idle_labels, int64_t begin,
                   int64_t count, const Idle& idle, float* rows, int64_t stride);
    // Of these labels' -energies u at each pixel: the highest, and the sum of exp(u - highest).
    void (*rest)(const float* const* scores, int labels, int64_t begin, int64_t count, bool logits, float* most, float* sum);
    // Turns rows of scores into probabilities in `out`, which may be `rows` (else these are left with no meaning); beyond
    // `labels` they become 0. `top` of each label is raised to the highest probability, and the two entries after the row to
    // that of an idle label and to the idle labels' largest sum.
    void (*softmax)(float* rows, int labels, int64_t begin, int64_t count, const Idle* idle, float* top, float* out);
    // Keeps the first q_stride labels of each row; returns the largest change against what Q held, if `compare`.
    float (*store)(const float* rows, int64_t stride, float* Q, int64_t q_stride, int64_t count, bool compare);
    // Writes rows of marginals to planes; reads whole blocks of 8 labels.
    void (*planes)(const float* Q, int64_t q_stride, int labels, int64_t count, float* const* out, int64_t begin);
    // The marginals of idle labels, from pixel out_begin of the planes `out` on.
    void (*idle)(const float* const* scores, int labels, int64_t begin, int64_t count, bool logits, const Idle& idle,
                 float* const* out, int64_t out_begin);
    // Raises top[8 k .. 8 k + 7], whose largest counts, to the highest softmax of the unary of label k. Returns false if a
    // score is not finite.
    bool (*tops)(const float* const* scores, int labels, int64_t begin, int64_t count, bool logits, float* top);
    // Lowers and raises the bounds to these values'. Returns false if one is not finite.
    bool (*range)(const float* values, int64_t count, float& lowest, float& highest);
};

extern const Simd simd_baseline;
#ifdef CRF_HAVE_AVX2
extern const Simd simd_avx2;
#endif

const Simd& simd();
// Chooses the plain instruction set regardless of the processor; for tests.
void force_baseline(bool on);

}  // namespace crf
