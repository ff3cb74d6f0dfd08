// The two forms of parallel loop that the CRF needs; without OpenMP they run on one thread.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace crf {

inline int max_threads() {
#ifdef _OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}

// Calls body(i) for i in [0, count), in any order, spread over threads as they become free.
template <class Body>
void parallel_for(int64_t count, int num_threads, const Body& body) {
#ifdef _OPENMP
    if (num_threads > 1 && count > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(num_threads)
        for (int64_t i = 0; i < count; ++i) body(i);
        return;
    }
#endif
    (void)num_threads;
    for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace crf
