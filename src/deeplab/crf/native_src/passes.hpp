// Orders the vertices so that half of the blur's axes can be done at a time in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "lattice.hpp"

namespace crf {

// The vertex one step along each axis, or -1, and whether there is one a step back.
struct Neighbours {
    std::vector<std::vector<int32_t>> next;
    std::vector<std::vector<uint8_t>> has_previous;
};

// Plans axes [first_axis, last_axis); row_of gets each vertex's row.
Pass build_pass(const Neighbours& neighbours, int first_axis, int last_axis, std::vector<int32_t>& row_of);

// Blurs one value a vertex along all axes of a pass, in place.
void blur_scalar(const Pass& pass, float* values);

}  // namespace crf
