// Prompts from random bits: one prompt per SIMD lane, in float32. prompts.py says the same in PyTorch, from the same bits.
#include <cstdlib>

#include "lanes.h"

#ifndef DIM
#error "compile with -DDIM=d"
#endif

namespace {

constexpr int D = DIM, LANES = 16;
constexpr int64_t CHUNK = 1024;  // prompts per task of a thread
typedef float V __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));

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

// v <- C v for lower triangular C, in place
inline void lower(const float* C, V* v, int from, int stride) {
    for (int i = D - 1; i >= from; i--) {
        V sum = V{};
        for (int k = from; k <= i; k++) sum += C[i * D + k] * v[k * stride];
        v[i * stride] = sum;
    }
}

struct Member {
    const uint32_t* bits;               // (rows, B)
    const float *chi, *root, *root_w;   // (m, degree + 1); (D, D) lower or null
    float *S, *s, *x, *y;               // (D, D, B), (D, B), (D, B), (B)
};

struct Shape {
    int64_t B, rows, m, degree;
    const int64_t* small;  // (m) degrees of freedom that are summed up from so many squares, 0 where chi is used
    float reach, noise_std;
};

void block(const Shape& h, const Member& e, int64_t b, int64_t n, V* z) {
    const int64_t B = h.B;
    for (int64_t row = 0; row < h.rows; row += 2)
        normals(load<U>(e.bits + row * B + b, n), load<U>(e.bits + (row + 1) * B + b, n), z[row], z[row + 1]);
    const int m = h.m;
    V A[D][D];
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) A[i][j] = j < i && j < m ? *z++ : V{};
    for (int i = 0; i < m; i++) {
        V a = V{};
        if (h.small[i]) {
            for (int64_t k = 0; k < h.small[i]; k++, z++) a += *z * *z;
            a = root(a);
        } else {
            const float* c = e.chi + i * (h.degree + 1);
            const V t = *z++ * (1 / h.reach);
            for (int64_t k = h.degree; k >= 0; k--) a = a * t + c[k];
        }
        A[i][i] = a;
    }
    V *x = z, *w = z + D, *noise = z + 2 * D;
    if (e.root) {
        for (int j = 0; j < m; j++) lower(e.root, &A[0][j], j, D);
        lower(e.root, x, 0, 1);
    }
    if (e.root_w) lower(e.root_w, w, 0, 1);
    V S[D][D], y = V{};
    for (int i = 0; i < D; i++) {
        y += w[i] * x[i];
        for (int j = 0; j <= i; j++) {
            V sum = V{};
            for (int k = 0; k <= j; k++) sum += A[i][k] * A[j][k];
            S[i][j] = S[j][i] = sum;
        }
    }
    for (int i = 0; i < D; i++) {
        V s = V{};
        for (int j = 0; j < D; j++) {
            s += S[i][j] * w[j];
            store(e.S + (i * D + j) * B + b, S[i][j], n);
        }
        if (h.noise_std != 0)
            for (int j = 0; j <= i && j < m; j++) s += h.noise_std * A[i][j] * noise[j];
        store(e.s + i * B + b, s, n);
        store(e.x + i * B + b, x[i], n);
    }
    store(e.y + b, y, n);
}

}  // namespace

extern "C" {

// z (rows, B) from bits (rows, B), pairs of rows together; rows is even
void normals_f32(int64_t rows, int64_t B, int threads, const uint32_t* bits, float* out) {
    const int64_t chunks = (B + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t job = 0; job < rows / 2 * chunks; job++) {
        const int64_t row = job / chunks * 2, b0 = job % chunks * CHUNK, b1 = b0 + CHUNK < B ? b0 + CHUNK : B;
        for (int64_t b = b0; b < b1; b += LANES) {
            const int64_t n = b1 - b < LANES ? b1 - b : LANES;
            V z0, z1;
            normals(load<U>(bits + row * B + b, n), load<U>(bits + (row + 1) * B + b, n), z0, z1);
            store(out + row * B + b, z0, n);
            store(out + (row + 1) * B + b, z1, n);
        }
    }
}

// S, s, x, y of E members from bits (E, rows, B); root and root_w are (E, D, D) or null
void gram_f32(int64_t E, int64_t B, int64_t rows, int64_t m, int64_t degree, int threads, float reach, float noise_std,
              const int64_t* small, const uint32_t* bits, const float* chi, const float* root, const float* root_w,
              float* S, float* s, float* x, float* y) {
    const int64_t chunks = (B + CHUNK - 1) / CHUNK;
    const Shape shape{B, rows, m, degree, small, reach, noise_std};
#pragma omp parallel num_threads(threads)
    {
        V* z = static_cast<V*>(aligned_alloc(64, rows * sizeof(V)));
#pragma omp for schedule(static)
        for (int64_t job = 0; job < E * chunks; job++) {
            const int64_t e = job / chunks, b0 = job % chunks * CHUNK, b1 = b0 + CHUNK < B ? b0 + CHUNK : B;
            const Member member{bits + e * rows * B,  chi, root ? root + e * D * D : nullptr,
                                root_w ? root_w + e * D * D : nullptr, S + e * D * D * B,
                                s + e * D * B, x + e * D * B, y + e * B};
            for (int64_t b = b0; b < b1; b += LANES) block(shape, member, b, b1 - b < LANES ? b1 - b : LANES, z);
        }
        free(z);
    }
}
}
