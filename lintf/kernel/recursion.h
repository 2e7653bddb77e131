// The linear transformer on Gram statistics, for any kind of number: kernel.cpp takes a vector of prompts for a number,
// lines.cpp a Taylor series of such vectors.
//
// The recursion is gram.py's. With Q divided by N, A = I + sum_h P_h S Q_h^T, and for each layer
//     c = sum_h Q_h s      out += c.x      u = s + S c      s <- A u      x <- A x      S <- A S A^T
// where the last layer needs only its c, and the last but one applies A to u and x without forming it.
#pragma once
#include "lanes.h"

#ifndef DIM
#error "compile with -DDIM=d"
#endif
#define INNER _Pragma("GCC unroll 32")
// Loops around the innermost are unrolled while their vectors stay in the registers: 32 with AVX-512, else 16. Beyond,
// the code spills, and takes minutes to compile, since it grows as d^3.
#define UNROLLED (VECTOR_BYTES == 64 ? 6 : 4)
#if DIM <= UNROLLED
#define OUTER INNER
#else
#define OUTER _Pragma("GCC unroll 1")
#endif

namespace {

constexpr int D = DIM;
constexpr int64_t CHUNK = 1024;  // prompts per partial sum: fixed, so that no result depends on the threads

// a number that all lanes share, in every lane
template <class V, class T>
INLINE auto wide(const T& x) {
    return x + V{};
}

template <class T, class V>
struct Recursion {
    struct Vec {
        V a[D];
        V& operator()(int i) { return a[i]; }
        const V& operator()(int i) const { return a[i]; }
    };
    struct Mat {
        V a[D][D];
        V& operator()(int i, int j) { return a[i][j]; }
        const V& operator()(int i, int j) const { return a[i][j]; }
    };
    template <class M>
    struct Transposed {
        const M& m;
        auto operator()(int i, int j) const { return m(j, i); }
    };
    template <class M>
    INLINE Transposed<M> tr(const M& m) {
        return {m};
    }

    struct Layer {
        Mat S, A, AS;
        Vec s, x, c, u;
    };
    struct Head {
        Mat W;               // S Q^T
        Vec tu, mu, tx, mx;  // t = Q^T v and m = S t, for v = u and v = x
    };

    // C = factor X Y, or C += X Y
    template <class X, class Y>
    INLINE void set(Mat& C, const X& x, const Y& y, T factor = 1) {
        product<false>(C, x, y, factor);
    }
    template <class X, class Y>
    INLINE void add(Mat& C, const X& x, const Y& y) {
        product<true>(C, x, y, 1);
    }
    template <bool ADD, class X, class Y>
    INLINE void product(Mat& C, const X& x, const Y& y, T factor) {
        OUTER for (int i = 0; i < D; i++) {
            V row[D];  // stays in registers
            INNER for (int j = 0; j < D; j++) row[j] = V{};
            OUTER for (int k = 0; k < D; k++) {
                const auto xik = wide<V>(x(i, k));
                INNER for (int j = 0; j < D; j++) row[j] += xik * y(k, j);
            }
            INNER for (int j = 0; j < D; j++) C(i, j) = ADD ? C(i, j) + row[j] : factor * row[j];
        }
    }
    // z = X y, or z += X y
    template <class X>
    INLINE void set(Vec& z, const X& x, const Vec& y) {
        z = Vec{};
        add(z, x, y);
    }
    template <class X>
    INLINE void add(Vec& z, const X& x, const Vec& y) {
        Vec sum = z;
        OUTER for (int k = 0; k < D; k++)
            INNER for (int i = 0; i < D; i++) sum(i) += x(i, k) * y(k);
        z = sum;
    }
    // C += x y^T
    INLINE void outer(Mat& C, const Vec& x, const Vec& y) {
        OUTER for (int i = 0; i < D; i++)
            INNER for (int j = 0; j < D; j++) C(i, j) += x(i) * y(j);
    }

    // From layer l to the one before layer `stop`; returns the residual out + y that has come about until then.
    template <class Weights>
    static V forward(const Weights& w, int64_t l, int64_t stop, V residual, Layer* layers, Head* heads) {
        for (; l < stop; l++) {
            Layer &a = layers[l], &next = layers[l + 1];
            Head* head = heads + l * w.H;
            a.c = Vec{};
            for (int64_t h = 0; h < w.H; h++) add(a.c, w.Q(l, h), a.s);
            for (int i = 0; i < D; i++) residual += a.c(i) * a.x(i);
            if (l == w.L - 1) break;
            a.u = a.s;
            add(a.u, a.S, a.c);
            if (l == w.L - 2) {
                next.s = a.u;
                next.x = a.x;
                for (int64_t h = 0; h < w.H; h++) {
                    const auto P = w.P(l, h), Q = w.Q(l, h);
                    set(head[h].tu, tr(Q), a.u);
                    set(head[h].mu, a.S, head[h].tu);
                    add(next.s, P, head[h].mu);
                    set(head[h].tx, tr(Q), a.x);
                    set(head[h].mx, a.S, head[h].tx);
                    add(next.x, P, head[h].mx);
                }
            } else {
                a.A = Mat{};
                for (int i = 0; i < D; i++) a.A(i, i) += T(1);
                for (int64_t h = 0; h < w.H; h++) {
                    const auto P = w.P(l, h), Q = w.Q(l, h);
                    set(head[h].W, a.S, tr(Q));
                    add(a.A, P, head[h].W);
                }
                set(a.AS, a.A, a.S);
                set(next.S, a.AS, tr(a.A));
                set(next.s, a.A, a.u);
                set(next.x, a.A, a.x);
            }
        }
        return residual;
    }
};

template <class T>
struct Vector;
template <>
struct Vector<float> {
    typedef float V __attribute__((vector_size(VECTOR_BYTES)));
};
template <>
struct Vector<double> {
    typedef double V __attribute__((vector_size(VECTOR_BYTES)));
};

template <class T>
struct Lanes {
    typedef typename Vector<T>::V V;
    static constexpr int COUNT = VECTOR_BYTES / sizeof(T);
    typedef Recursion<T, V> Plain;

    struct Weight {  // a matrix that all lanes share
        const T* a;
        T operator()(int i, int j) const { return a[i * D + j]; }
    };
    struct Weights {  // (L, H, D, D) each
        int64_t L, H;
        const T *p, *q;
        Weight P(int64_t l, int64_t h) const { return {p + (l * H + h) * D * D}; }
        Weight Q(int64_t l, int64_t h) const { return {q + (l * H + h) * D * D}; }
    };
    struct Data {  // (D, D, B), (D, B), (D, B), (B)
        int64_t B;
        const T *S, *s, *x, *y;

        // prompts b .. b + n into the first layer, the labels as the residual so far; lanes beyond n hold zeros
        V start(int64_t b, int64_t n, typename Plain::Layer& a) const {
            for (int i = 0; i < D; i++) {
                a.s(i) = load<V>(s + i * B + b, n);
                a.x(i) = load<V>(x + i * B + b, n);
                for (int j = 0; j < D; j++) a.S(i, j) = load<V>(S + (i * D + j) * B + b, n);
            }
            return load<V>(y + b, n);
        }
    };

    static T total(const V& v) {
        T sum = 0;
        for (int i = 0; i < COUNT; i++) sum += v[i];
        return sum;
    }
};

}  // namespace
