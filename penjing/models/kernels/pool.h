// Threads that share out a loop, and never wait for one that has not begun.
//
// OpenMP ends a loop when every thread of the team has been there. On a machine that also does
// something else, that is as late as the operating system pleases; here whoever calls takes all
// that nobody has taken, and waits only for pieces that are being worked on.
#pragma once
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

class Pool {
    typedef void (*Body)(const void*, int, int);
    static constexpr int SPINS = 4000;  // some 50 us: the next kernel comes sooner than that

    std::mutex calling, sleeping;
    std::condition_variable wake;
    std::atomic<uint64_t> open{0};  // number of the job that may be joined, or 0
    std::atomic<int> next{0}, done{0}, inside{0}, asleep{0};
    uint64_t number = 0;
    int total = 0, share = 1, wanted = 0, started = 0;
    const void* body = nullptr;
    Body call = nullptr;

    static void pause(int turn) {
#if defined(__x86_64__)
        if (turn % 64) return (void)__builtin_ia32_pause();
#endif
        if (turn % 1024 == 0) std::this_thread::yield();
    }

    void work() {
        for (int begin; (begin = next.fetch_add(share)) < total;) {
            int end = std::min(begin + share, total);
            call(body, begin, end);
            done.fetch_add(end - begin);
        }
    }

    uint64_t job_after(uint64_t last) {
        for (int turn = 1; turn < SPINS; turn++, pause(turn)) {
            uint64_t job = open.load();
            if (job && job != last) return job;
        }
        std::unique_lock<std::mutex> lock(sleeping);
        asleep++;
        wake.wait(lock, [&] { return open.load() && open.load() != last; });
        asleep--;
        return open.load();
    }

    void serve(int id) {
        sigset_t all;  // signals belong to whoever reads them: the interpreter's own thread
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        for (uint64_t last = 0;;) {
            uint64_t job = job_after(last);
            inside++;  // from here on the caller waits, if the job is still open
            if (job && open.load() == job && id < wanted) work();
            inside--;
            last = job;
        }
    }

   public:
    void run(int size, int piece, int threads, Body function, const void* data) {
        if (size <= piece || threads < 2 || !calling.try_lock()) return function(data, 0, size);
        for (; started < threads - 1; started++) std::thread(&Pool::serve, this, started).detach();
        total = size, share = piece, wanted = threads - 1, call = function, body = data;
        next = 0, done = 0;
        open = ++number;
        if (asleep.load()) {
            std::lock_guard<std::mutex> lock(sleeping);
            wake.notify_all();
        }
        work();
        for (int turn = 1; done.load() < total; turn++) pause(turn);
        open = 0;
        for (int turn = 1; inside.load(); turn++) pause(turn);
        calling.unlock();
    }
};

static Pool& the_pool() {
    static Pool* pool = new Pool;  // never destroyed: its threads may outlive the program's end
    return *pool;
}

// body(begin, end) over pieces of 0 .. size, each by one thread.
template <class F>
static void share_out(int size, int piece, int threads, const F& body) {
    auto call = [](const void* f, int begin, int end) { (*(const F*)f)(begin, end); };
    the_pool().run(size, piece, threads, call, &body);
}
