#include "global_state.hpp"

#ifndef _WIN32
#include <pthread.h>
#endif

namespace crf {

std::mutex threads_mutex, grids_mutex, memory_mutex;

#ifndef _WIN32
namespace {

void lock_all() {
    threads_mutex.lock();
    grids_mutex.lock();
    memory_mutex.lock();
}

void unlock_all() {
    memory_mutex.unlock();
    grids_mutex.unlock();
    threads_mutex.unlock();
}

[[maybe_unused]] const int registered = pthread_atfork(lock_all, unlock_all, unlock_all);

}  // namespace
#endif

}  // namespace crf
