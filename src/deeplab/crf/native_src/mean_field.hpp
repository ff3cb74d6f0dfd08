// Mean field of the fully connected CRF (equations 1 to 3 of the paper) on permutohedral lattices.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grid.hpp"
#include "lattice.hpp"

namespace crf {

// A kernel: on a lattice or, if spatial and fine, on a grid.
struct Term {
    std::shared_ptr<const Lattice> lattice;
    std::shared_ptr<const Grid> grid;
    float weight;
};

struct MeanFieldOptions {
    int iterations = 10;
    bool logits = false;
    float tolerance = 0;                   // stop once no marginal changes by more; 0 runs all iterations
    const float* compatibility = nullptr;  // penalties of the labels, square, or Potts
    const float* initial = nullptr;        // marginals to start from, planes like the scores
    std::vector<int> labels;               // in ascending order; the others return 0. Empty: all
    float idle_below = 0;                  // labels below this everywhere may be idle: an approximation
    bool trace = false;
    int num_threads = 1;
};

struct MeanFieldResult {
    Array<float> marginals;     // planes like the scores
    bool finite = true;         // else nothing was computed: a score is NaN or infinite
    int steps = 0;              // iterations done
    // Before each step and at the end: the expected energy, and the Kullback-Leibler divergence to the CRF up to a constant.
    std::vector<double> energies, divergences;
};

// Refines planes of scores (num_classes x height x width).
MeanFieldResult mean_field(const float* scores, int num_classes, int64_t height, int64_t width, const std::vector<Term>& terms,
                           const MeanFieldOptions& options);

// Lets idle labels change marginals by `scale` times as much; for tests.
void scale_negligible(float scale);

}  // namespace crf
