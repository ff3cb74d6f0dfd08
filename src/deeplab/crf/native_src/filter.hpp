// Splats marginals into a lattice and blurs them.
#pragma once

#include <cstdint>

#include "lattice.hpp"

namespace crf {

// Q: rows of labels, q_stride apart, of which the first `lanes` are taken; `rows` gets as many for each vertex.
void filter(const Lattice& lattice, const float* Q, int64_t q_stride, int lanes, float* rows, int num_threads);

}  // namespace crf
