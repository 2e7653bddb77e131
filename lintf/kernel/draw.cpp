// Prompts from random bits: one prompt per SIMD lane, in float32. prompts.py says the same in PyTorch, from the same bits.
#include "lanes.h"
#include "threads.h"

#ifndef DIM
#error "compile with -DDIM=d"
#endif

namespace {

constexpr int64_t CHUNK = 512;  // prompts per task of a thread
constexpr int D = DIM, LANES = VECTOR_BYTES / sizeof(float), WIDTH = CHUNK / LANES;
typedef float V __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t I __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t U __attribute__((vector_size(VECTOR_BYTES)));

template <class To, class From>
inline To as(From v) {
    To r;
    memcpy(&r, &v, sizeof r);
    return r;
}
inline V root(V v) {
    for (int i = 0; i < LANES; i++) v[i] = __builtin_sqrtf(v[i]);
    return v;
}

// ln u = k ln 2 + 2 atanh((m - 1) / (m + 1)) with u = 2^k m, 2/3 <= m < 4/3; the series' next term is below 1e-8.
inline V log(V u) {
    const I k = (as<I>(u) - 0x3f2aaaab) >> 23;  // 0x3f2aaaab is 2/3
    const V m = as<V>(as<I>(u) - (k << 23)), s = (m - 1) / (m + 1), q = s * s;
    const V series = 1 + q * (1.f / 3 + q * (1.f / 5 + q * (1.f / 7 + q * (1.f / 9 + q * (1.f / 11)))));
    return 2 * s * series + __builtin_convertvector(k, V) * 0.69314718f;
}

// Box and Muller: radius sqrt(-2 ln u) from the first word, angle 2 pi t, -1/2 <= t <= 1/2, from the second.
inline void normals(U first, U second, V& z0, V& z1) {
    const V u = __builtin_convertvector(first, V) * 0x1p-32f + 0x1p-33f, below_1 = V{} + (1 - 0x1p-24f);
    const V r = root(-2 * log(u < below_1 ? u : below_1));
    const V quarter = __builtin_convertvector(as<I>(second), V) * 0x1p-30f;  // 4 t
    V nearest = V{};
    for (int i = 0; i < LANES; i++) nearest[i] = __builtin_rintf(quarter[i]);
    const V a = (quarter - nearest) * 1.57079633f, q = a * a;  // |a| <= pi/4: Taylor's next terms are below 2e-9
    const V sine = a * (1 + q * (-1.f / 6 + q * (1.f / 120 + q * (-1.f / 5040 + q * (1.f / 362880)))));
    const V cosine = 1 + q * (-1.f / 2 + q * (1.f / 24 + q * (-1.f / 720 + q * (1.f / 40320 - q * (1.f / 3628800)))));
    const I turn = __builtin_convertvector(nearest, I), odd = -(turn & 1);
    const V c = as<V>((as<I>(sine) & odd) | (as<I>(cosine) & ~odd)), s = as<V>((as<I>(cosine) & odd) | (as<I>(sine) & ~odd));
    z0 = r * as<V>(as<I>(c) ^ (((turn + 1) & 2) << 30));  // cos changes its sign in quarters 1 and 2
    z1 = r * as<V>(as<I>(s) ^ ((turn & 2) << 30));        // sin in 2 and 3
}

// v <- C v for lower triangular C, in place; the entries of v are `stride` apart
inline void lower(const float* C, V* v, int from, int stride) {
    for (int i = D - 1; i >= from; i--) {
        V sum = V{};
        for (int k = from; k <= i; k++) sum += C[i * D + k] * v[k * stride];
        v[i * stride] = sum;
    }
}

struct Law {
    int64_t m, degree;
    const int64_t* small;  // (m) degrees of freedom that are summed up from so many squares, 0 where chi is used
    const float *chi;      // (m, degree + 1)
    const float *root, *root_w;  // (D, D) lower, or null
    float reach, noise_std;
};

// A chunk of prompts, row by row: memory far apart is read and written in long runs, the work between stays in the cache.
struct Chunk {
    V* z;                 // (rows, WIDTH) normals
    V (*S)[WIDTH];        // (D (D + 1) / 2, WIDTH) the lower triangle
    V (*s)[WIDTH], (*x)[WIDTH];  // (D, WIDTH)
    V* y;                 // (WIDTH)
};

// Statistics of the prompts in column b of a chunk.
void statistics(const Law& law, const Chunk& chunk, int b) {
    const V* z = chunk.z + b;
    auto next = [&z] { const V v = *z; z += WIDTH; return v; };
    const int m = law.m;
    V A[D][D], x[D], w[D];
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) A[i][j] = j < i && j < m ? next() : V{};
    for (int i = 0; i < m; i++) {
        V a = V{};
        if (law.small[i]) {
            for (int64_t k = 0; k < law.small[i]; k++) {
                const V v = next();
                a += v * v;
            }
            a = root(a);
        } else {
            const float* c = law.chi + i * (law.degree + 1);
            const V t = next() * (1 / law.reach);
            for (int64_t k = law.degree; k >= 0; k--) a = a * t + c[k];
        }
        A[i][i] = a;
    }
    for (int i = 0; i < D; i++) x[i] = next();
    for (int i = 0; i < D; i++) w[i] = next();
    if (law.root) {
        for (int j = 0; j < m; j++) lower(law.root, &A[0][j], j, D);
        lower(law.root, x, 0, 1);
    }
    if (law.root_w) lower(law.root_w, w, 0, 1);
    V s[D], y = V{};
    for (int i = 0; i < D; i++) {
        y += w[i] * x[i];
        s[i] = V{};
    }
    for (int i = 0, row = 0; i < D; i++)
        for (int j = 0; j <= i; j++, row++) {
            V sum = V{};
            for (int k = 0; k <= j; k++) sum += A[i][k] * A[j][k];
            chunk.S[row][b] = sum;
            s[i] += sum * w[j];
            if (j < i) s[j] += sum * w[i];
        }
    if (law.noise_std != 0)
        for (int j = 0; j < m; j++) {
            const V e = law.noise_std * next();
            for (int i = j; i < D; i++) s[i] += A[i][j] * e;
        }
    for (int i = 0; i < D; i++) {
        chunk.s[i][b] = s[i];
        chunk.x[i][b] = x[i];
    }
    chunk.y[b] = y;
}

// z (rows, n) from words (rows, n), whose rows lie `stride` and `out_stride` numbers apart
void normal_rows(int64_t rows, int64_t n, const uint32_t* words, int64_t stride, float* z, int64_t out_stride) {
    for (int64_t row = 0; row < rows; row += 2)
        for (int64_t b = 0; b < n; b += LANES) {
            const int64_t here = n - b < LANES ? n - b : LANES;
            V z0, z1;
            normals(load<U>(words + row * stride + b, here), load<U>(words + (row + 1) * stride + b, here), z0, z1);
            store(z + row * out_stride + b, z0, here);
            store(z + (row + 1) * out_stride + b, z1, here);
        }
}

}  // namespace

extern "C" {

// z (rows, B) from words (rows, B); every two rows are a pair
void normals_f32(int64_t rows, int64_t B, int threads, const uint32_t* words, float* z) {
    const int64_t chunks = (B + CHUNK - 1) / CHUNK;
    share(rows / 2 * chunks, threads, [&](auto take) {
        for (int64_t job; take(job);) {
            const int64_t first = job % chunks * CHUNK, from = job / chunks * 2 * B + first;
            normal_rows(2, first + CHUNK < B ? CHUNK : B - first, words + from, B, z + from, B);
        }
    });
}

// S, s, x, y of E members from words (E, rows, B); root and root_w are (E, D, D) or null
void gram_f32(int64_t E, int64_t B, int64_t rows, int64_t m, int64_t degree, int threads, float reach, float noise_std,
              const int64_t* small, const uint32_t* words, const float* chi, const float* root, const float* root_w,
              float* S, float* s, float* x, float* y) {
    const int64_t chunks = (B + CHUNK - 1) / CHUNK, triangle = D * (D + 1) / 2;
    share(E * chunks, threads, [&](auto take) {
        const Memory<V> memory((rows + triangle + 2 * D + 1) * WIDTH);
        auto after = [&](int64_t count) { return reinterpret_cast<V(*)[WIDTH]>(memory + count * WIDTH); };
        const Chunk chunk{memory, after(rows), after(rows + triangle), after(rows + triangle + D),
                          memory + (rows + triangle + 2 * D) * WIDTH};
        for (int64_t job; take(job);) {
            const int64_t e = job / chunks, first = job % chunks * CHUNK, n = first + CHUNK < B ? CHUNK : B - first;
            const Law law{m, degree, small, chi, root ? root + e * D * D : nullptr,
                          root_w ? root_w + e * D * D : nullptr, reach, noise_std};
            normal_rows(rows, n, words + e * rows * B + first, B, reinterpret_cast<float*>(chunk.z), CHUNK);
            for (int b = 0; b < (n + LANES - 1) / LANES; b++) statistics(law, chunk, b);
            auto put = [&](float* to, const V* from) { memcpy(to + first, from, n * sizeof(float)); };
            for (int i = 0; i < D; i++) {
                for (int j = 0; j < D; j++)
                    put(S + ((e * D + i) * D + j) * B, chunk.S[i < j ? j * (j + 1) / 2 + i : i * (i + 1) / 2 + j]);
                put(s + (e * D + i) * B, chunk.s[i]);
                put(x + (e * D + i) * B, chunk.x[i]);
            }
            put(y + e * B, chunk.y);
        }
    });
}
}
