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

// Chooses the rows of all vertices and plans both halves of the blur; returns each vertex's row.
std::vector<int32_t> plan_passes(const Neighbours& neighbours, Lattice& lattice, int num_threads);

// Blurs one value a vertex along all axes, in place.
void blur_scalar(const Lattice& lattice, float* values, int num_threads);

}  // namespace crf
