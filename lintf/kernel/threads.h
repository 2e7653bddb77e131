// Work on several threads, and memory for each: POSIX threads, which g++ and clang++ know everywhere, without a library
// or a header that takes long to compile.
#pragma once
#include <pthread.h>

#include <cstdint>

namespace {

// n objects that are not set yet, aligned as their type asks
template <class T>
struct Memory {
    T* const first;
    explicit Memory(int64_t n) : first(new T[n]) {}
    ~Memory() { delete[] first; }
    operator T*() const { return first; }
};

template <class Work>
struct Shared {
    const Work& work;
    const int64_t tasks;
    int threads;  // that may still be started, this one included
    int64_t next;

    // Whoever is free takes the next task.
    bool take(int64_t& task) {
        task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
        return task < tasks;
    }
    // Each thread starts the next one before it works, and waits for it afterwards. One that the system refuses is not
    // missed: the others take its tasks.
    static void* run(void* self) {
        Shared& shared = *static_cast<Shared*>(self);
        pthread_t other;
        const bool more = --shared.threads > 0 && __atomic_load_n(&shared.next, __ATOMIC_RELAXED) + 1 < shared.tasks;
        const bool started = more && pthread_create(&other, nullptr, run, self) == 0;
        shared.work([&](int64_t& task) { return shared.take(task); });
        if (started) pthread_join(other, nullptr);
        return nullptr;
    }
};

// Calls work(take) in this thread and in up to `threads` - 1 others, which end before this returns. take(task) gives
// out each of 0 .. tasks - 1 once, and is false when none is left.
template <class Work>
void share(int64_t tasks, int threads, const Work& work) {
    Shared<Work> shared{work, tasks, threads, 0};
    Shared<Work>::run(&shared);
}

}  // namespace
