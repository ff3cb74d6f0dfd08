#include "memory.hpp"

#include <cstdlib>
#include <map>
#include <new>

#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "global_state.hpp"

namespace crf {
namespace {

constexpr int64_t kHuge = 2 << 20;
constexpr int64_t kKept = int64_t(128) << 20;    // a VOC picture's needs; larger pictures give their memory back
constexpr int64_t kLargest = int64_t(24) << 20;  // of one buffer

std::multimap<int64_t, void*>& kept = *new std::multimap<int64_t, void*>;  // never destroyed, as global_state.hpp says
int64_t kept_bytes = 0;

int64_t rounded(int64_t bytes) {
    const int64_t step = bytes >= 2 * kHuge ? kHuge : 64;
    return (bytes + 64 + step - 1) / step * step;
}

}  // namespace

void* take_memory(int64_t wanted) {
    const int64_t bytes = rounded(wanted);
    {
        const std::lock_guard<std::mutex> lock(memory_mutex);
        const auto it = kept.lower_bound(bytes);
        if (it != kept.end() && it->first == bytes) {
            void* found = it->second;
            kept_bytes -= bytes;
            kept.erase(it);
            return found;
        }
    }
    void* fresh = std::aligned_alloc(bytes >= 2 * kHuge ? kHuge : 64, bytes);
    if (!fresh) throw std::bad_alloc();
#ifdef __linux__
    if (bytes >= 2 * kHuge) madvise(fresh, bytes, MADV_HUGEPAGE);
#endif
    return fresh;
}

void give_memory(void* memory, int64_t wanted) {
    if (!memory) return;
#ifndef CRF_SANITIZE
    const int64_t bytes = rounded(wanted);
    if (bytes >= 1 << 18 && bytes <= kLargest) {
        const std::lock_guard<std::mutex> lock(memory_mutex);
        while (kept_bytes + bytes > kKept) {
            // The smallest go first: they cost the least to get again.
            kept_bytes -= kept.begin()->first;
            std::free(kept.begin()->second);
            kept.erase(kept.begin());
        }
        try {
            kept.emplace(bytes, memory);
            kept_bytes += bytes;
            return;
        } catch (const std::bad_alloc&) {  // no room for the list: it is freed, as a destructor must not throw
        }
    }
#endif
    std::free(memory);
}

void drop_memory() {
    const std::lock_guard<std::mutex> lock(memory_mutex);
    for (const auto& [bytes, memory] : kept) std::free(memory);
    kept.clear();
    kept_bytes = 0;
#ifdef __GLIBC__
    malloc_trim(0);  // what the lattice was built with lies free between what is in use
#endif
}

}  // namespace crf
