#include "filter.hpp"

#include "parallel.hpp"
#include "simd.hpp"

namespace crf {

void filter(const Lattice& lattice, const float* Q, int64_t q_stride, int lanes, float* rows, int num_threads) {
    const auto blur = [&](const Pass& pass, size_t axis, int64_t b) {
        simd().blur(lanes, rows, pass.order[axis].data(), pass.order_cut[axis][b], pass.order_cut[axis][b + 1], axis == 0);
    };
    const auto blur_all = [&](const Pass& pass, int64_t b) {
        for (size_t axis = 0; axis < pass.order.size(); ++axis) blur(pass, axis, b);
    };
    parallel_for(int64_t(lattice.row_cut.size()) - 1, num_threads, [&](int64_t b) {
        simd().splat(lanes, Q, q_stride, lattice.splat_start.data(), lattice.splat.data(), lattice.joined.data(), rows,
                     lattice.row_cut[b], lattice.row_cut[b + 1]);
        if (lattice.halves[0].fused) blur_all(lattice.halves[0], b);
    });
    for (int half = 0; half < 2; ++half) {
        const Pass& pass = lattice.halves[half];
        if (!pass.fused) {
            for (size_t axis = 0; axis < pass.order.size(); ++axis)
                parallel_for(int64_t(pass.order_cut[axis].size()) - 1, num_threads, [&](int64_t b) { blur(pass, axis, b); });
        } else if (half == 1) {
            parallel_for(int64_t(pass.order_cut[0].size()) - 1, num_threads, [&](int64_t b) { blur_all(pass, b); });
        }
    }
}

}  // namespace crf
