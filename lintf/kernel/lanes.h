// A vector of prompts, as wide as the processor's registers: a wider one would be split by the compiler, and spilled.
// Loading and storing it; at the end of a batch only n of its lanes are there.
#pragma once
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))

#ifndef VECTOR_BYTES  // given by tests and benchmarks only
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else  // SSE2, NEON
#define VECTOR_BYTES 16
#endif
#endif

// lanes beyond n hold zeros
template <class V, class T>
INLINE V load(const T* p, int64_t n) {
    V v = V{};
    if (n * sizeof(T) == sizeof(V))
        memcpy(&v, p, sizeof v);  // a constant size: one instruction
    else
        memcpy(&v, p, n * sizeof(T));
    return v;
}

template <class V, class T>
INLINE void store(T* p, const V& v, int64_t n) {
    if (n * sizeof(T) == sizeof(V))
        memcpy(p, &v, sizeof v);
    else
        memcpy(p, &v, n * sizeof(T));
}
