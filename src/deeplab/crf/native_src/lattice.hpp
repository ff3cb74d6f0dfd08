// The permutohedral lattice (Adams, Baek, Davis 2010) of one set of features, laid out for filtering.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "memory.hpp"

namespace crf {

constexpr int kTapPadding = 64;  // what a prefetch may read beyond the end of taps and orders

// A pixel's share of a vertex; one cache line of these serves eight taps of a gather.
struct Tap {
    int32_t row;
    float weight;
};

// Writes the features of pixels [begin, end) to out[f * stride + (pixel - begin)].
using FeatureSource = std::function<void(int64_t begin, int64_t end, float* out, int64_t stride)>;

struct FeatureRange {
    float low, high;
};

// Half of the blur: the axes [first, last), block by block. A block is made of whole connected components under these axes,
// so that all of them can be blurred while it is in the cache, and blocks are independent of each other.
struct Pass {
    bool fused = true;                            // else components are too large, and axes are done one by one
    std::vector<std::vector<int32_t>> order;      // for each axis: rows chain by chain, the last of a chain as ~row
    std::vector<std::vector<int32_t>> order_cut;  // block b: order_cut[axis][b] .. order_cut[axis][b + 1]
};

struct Lattice {
    int64_t num_pixels = 0;
    int dimension = 0;
    int32_t num_vertices = 0;
    bool symmetric = true;
    // Rows lie in the order of the first half's components, and those of a chain of axis 0 one after another: the splat
    // blurs along axis 0 as it goes, and the pass has the axes 1 .. (dimension + 1) / 2 - 1 left.
    std::vector<uint8_t> joined;     // row r continues the chain of row r - 1
    std::vector<int32_t> row_cut;    // rows of the first half's block b: row_cut[b] .. row_cut[b + 1]
    Pass halves[2];
    Array<int32_t> splat_start;      // taps of row r: splat_start[r] .. splat_start[r + 1]
    Array<Tap> splat;                // pixel and weight, normalisation folded in
    Array<Tap> slice;                // dimension + 1 a pixel: row and weight
    Array<float> scale;                // what a sliced value is multiplied with: alpha and normalisation

    int taps() const { return dimension + 1; }
};

// Builds the lattice. extra_origin adds the vertices of a pixel with all features 0, which pydensecrf's padding to a
// multiple of four pixels creates. Throws std::invalid_argument if the features span too much for the keys.
std::shared_ptr<Lattice> build_lattice(int64_t num_pixels, int dimension, const std::vector<FeatureRange>& ranges,
                                       const FeatureSource& source, bool symmetric, bool extra_origin, int num_threads);

}  // namespace crf
