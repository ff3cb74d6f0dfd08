// What outlives a call, the threads, the grids and the memory that are kept, is guarded by these. A thread that holds
// several has locked them in this order. While a process forks they are all held, so that its child, where the forking
// thread is alone, finds them free and what they guard whole. What they guard is never destroyed: at the exit a thread
// may still be at work, and grids give their memory back to what would be gone before them.
#pragma once

#include <mutex>

namespace crf {

extern std::mutex threads_mutex, grids_mutex, memory_mutex;

}  // namespace crf
