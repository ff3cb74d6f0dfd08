// Parallel loops over blocks of work on threads of our own rather than OpenMP's: a loop ends when its blocks are done, and
// not when every thread has arrived, so that a core that is busy with something else does not hold up the others; and
// there is no second OpenMP library beside torch's.
#pragma once

#include <cstdint>
#include <functional>

namespace crf {

int max_threads();

// Calls body(i) for each i in [0, count), in any order, on up to num_threads threads; what a body throws is thrown again.
void run_parallel(int64_t count, int num_threads, const std::function<void(int64_t)>& body);

template <class Body>
void parallel_for(int64_t count, int num_threads, const Body& body) {
    if (num_threads > 1 && count > 1) {
        run_parallel(count, num_threads, std::cref(body));
        return;
    }
    for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace crf
