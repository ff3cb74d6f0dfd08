#include "parallel.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#ifndef _WIN32
#include <unistd.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

#include "global_state.hpp"

namespace crf {
namespace {

struct Job {
    Job(int64_t n, const std::function<void(int64_t)>& f) : count(n), body(&f) {}

    const int64_t count;
    int helpers_wanted = 0;  // guarded by the pool's mutex
    const std::function<void(int64_t)>* body;
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable finished;
    std::exception_ptr error;

    // Works until nothing is left to begin. The body is alive as long as a block is: the caller waits for `done`.
    void work() {
        for (int64_t i = next++; i < count; i = next++) {
            try {
                (*body)(i);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex);
                if (!error) error = std::current_exception();
            }
            if (++done == count) {
                const std::lock_guard<std::mutex> lock(mutex);
                finished.notify_all();
            }
        }
    }

    void wait() {
        std::unique_lock<std::mutex> lock(mutex);
        finished.wait(lock, [this] { return done == count; });
        if (error) std::rethrow_exception(error);
    }
};

class Pool {
  public:
    void add(const std::shared_ptr<Job>& job, int helpers) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            try {
                for (; threads_ < helpers; ++threads_) std::thread(&Pool::serve, this).detach();
            } catch (const std::system_error&) {  // the system has no more threads: those that there are do the work
            }
            job->helpers_wanted = helpers;
            jobs_.push_back(job);
        }
        for (int i = 0; i < helpers; ++i) wake_.notify_one();
    }

    void remove(const std::shared_ptr<Job>& job) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (auto it = jobs_.begin(); it != jobs_.end(); ++it) {
            if (*it == job) {
                jobs_.erase(it);
                return;
            }
        }
    }

  private:
    void serve() {
        for (;;) {
            std::shared_ptr<Job> job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [this] { return !jobs_.empty(); });
                job = jobs_.front();
                if (--job->helpers_wanted == 0) jobs_.pop_front();
            }
            job->work();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> jobs_;
    int threads_ = 0;
};

// Threads do not survive a fork, so a child gets a pool of its own; pools are never destroyed, as their threads wait on.
Pool& pool() {
    static Pool* current = nullptr;
    static long owner = 0;
#ifdef _WIN32
    const long here = 1;
#else
    const long here = long(getpid());
#endif
    const std::lock_guard<std::mutex> lock(threads_mutex);
    if (!current || owner != here) {
        current = new Pool;
        owner = here;
    }
    return *current;
}

}  // namespace

int max_threads() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const int count = int(std::thread::hardware_concurrency());
    return count > 0 ? count : 1;
}

void run_parallel(int64_t count, int num_threads, const std::function<void(int64_t)>& body) {
    const int helpers = int(count < num_threads ? count : num_threads) - 1;
    const auto job = std::make_shared<Job>(count, body);
    Pool& threads = pool();
    threads.add(job, helpers);
    job->work();
    threads.remove(job);
    job->wait();
}

}  // namespace crf
