// Loss and gradient of a linear transformer from Gram statistics: one prompt per SIMD lane.
//
// The recursion is gram.py's. With Q divided by N, A = I + sum_h P_h S Q_h^T, and for each layer
//     c = sum_h Q_h s      out += c.x      u = s + S c      s <- A u      x <- A x      S <- A S A^T
// where the last layer needs only its c, and the last but one applies A to u and x without forming it.
// The adjoint is written out by hand, from the last layer to the first, whose S is data and gets none.
#include <cstdlib>

#include "lanes.h"

#ifndef DIM
#error "compile with -DDIM=d"
#endif
#define INNER _Pragma("GCC unroll 32")
#if DIM <= 6  // beyond, the code would grow by d^3 and take minutes to compile
#define OUTER INNER
#else
#define OUTER _Pragma("GCC unroll 1")
#endif

namespace {

constexpr int D = DIM;
constexpr int64_t CHUNK = 1024;  // prompts per partial sum: fixed, so that no result depends on the threads

template <class T>
struct Kernel {
    typedef T V __attribute__((vector_size(64)));
    static constexpr int LANES = 64 / sizeof(T);

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
    struct Weight {  // a matrix that all lanes share
        const T* a;
        T operator()(int i, int j) const { return a[i * D + j]; }
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
        Mat gP, gQ;          // gradients, summed over a chunk lane by lane
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
                const V xik = x(i, k) + V{};
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
    struct Problem {
        int64_t L, H, B;
        const T *P, *Q;  // (L, H, D, D)
        const T *S, *s, *x, *y;  // (D, D, B), (D, B), (D, B), (B)
    };

    // The residual out + y of prompts b .. b + n; lanes beyond n hold zeros.
    static V forward(const Problem& p, int64_t b, int64_t n, Layer* layers, Head* heads) {
        Layer* a = layers;
        for (int i = 0; i < D; i++) {
            a->s(i) = load<V>(p.s + i * p.B + b, n);
            a->x(i) = load<V>(p.x + i * p.B + b, n);
            for (int j = 0; j < D; j++) a->S(i, j) = load<V>(p.S + (i * D + j) * p.B + b, n);
        }
        V residual = load<V>(p.y + b, n);
        for (int64_t l = 0;; l++, a++) {
            const T *P = p.P + l * p.H * D * D, *Q = p.Q + l * p.H * D * D;
            Head* head = heads + l * p.H;
            a->c = Vec{};
            for (int64_t h = 0; h < p.H; h++) add(a->c, Weight{Q + h * D * D}, a->s);
            for (int i = 0; i < D; i++) residual += a->c(i) * a->x(i);
            if (l == p.L - 1) return residual;
            Layer& next = a[1];
            a->u = a->s;
            add(a->u, a->S, a->c);
            if (l == p.L - 2) {
                next.s = a->u;
                next.x = a->x;
                for (int64_t h = 0; h < p.H; h++) {
                    const Weight Ph{P + h * D * D}, Qh{Q + h * D * D};
                    set(head[h].tu, tr(Qh), a->u);
                    set(head[h].mu, a->S, head[h].tu);
                    add(next.s, Ph, head[h].mu);
                    set(head[h].tx, tr(Qh), a->x);
                    set(head[h].mx, a->S, head[h].tx);
                    add(next.x, Ph, head[h].mx);
                }
            } else {
                a->A = Mat{};
                for (int i = 0; i < D; i++) a->A(i, i) += 1;
                for (int64_t h = 0; h < p.H; h++) {
                    set(head[h].W, a->S, tr(Weight{Q + h * D * D}));
                    add(a->A, Weight{P + h * D * D}, head[h].W);
                }
                set(a->AS, a->A, a->S);
                set(next.S, a->AS, tr(a->A));
                set(next.s, a->A, a->u);
                set(next.x, a->A, a->x);
            }
        }
    }

    // Adds the gradient of sum_b residual_b^2 to the heads' gP and gQ. A name g.. is the adjoint of what follows.
    static void backward(const Problem& p, V residual, const Layer* layers, Head* heads) {
        const V gout = 2 * residual;
        Mat gS{}, gA, gW, sum;
        Vec gs{}, gx{}, gc{}, gu{}, v, w;
        for (int64_t l = p.L - 1; l >= 0; l--) {
            const Layer& a = layers[l];
            Head* head = heads + l * p.H;
            const T *P = p.P + l * p.H * D * D, *Q = p.Q + l * p.H * D * D;
            if (l == p.L - 2) {  // s' = u + sum_h P S Q^T u, and x' alike
                gu = gs;
                w = gx;
                sum = Mat{};  // gS, not yet symmetric
                for (int64_t h = 0; h < p.H; h++) {
                    const Weight Ph{P + h * D * D}, Qh{Q + h * D * D};
                    pull(head[h], Ph, Qh, a.S, gs, a.u, head[h].tu, head[h].mu, gu, sum);
                    pull(head[h], Ph, Qh, a.S, gx, a.x, head[h].tx, head[h].mx, w, sum);
                }
                gx = w;
            } else if (l < p.L - 2) {  // S' = A S A^T, s' = A u, x' = A x
                set(gA, gS, a.AS, 2);
                outer(gA, gs, a.u);
                outer(gA, gx, a.x);
                if (l) {
                    set(sum, gS, a.A);
                    set(gS, tr(a.A), sum);
                    sum = gS;
                }
                for (int64_t h = 0; h < p.H; h++) {
                    add(head[h].gP, gA, tr(head[h].W));
                    set(gW, tr(Weight{P + h * D * D}), gA);
                    add(head[h].gQ, tr(gW), a.S);
                    if (l) add(sum, gW, Weight{Q + h * D * D});
                }
                set(gu, tr(a.A), gs);
                set(v, tr(a.A), gx);
                gx = v;
            }
            if (l < p.L - 1) {  // u = s + S c
                set(gc, a.S, gu);
                gs = gu;
                if (l) {
                    outer(sum, gu, a.c);
                    for (int i = 0; i < D; i++)
                        for (int j = 0; j <= i; j++) gS(i, j) = gS(j, i) = (T)0.5 * (sum(i, j) + sum(j, i));
                }
            }
            for (int i = 0; i < D; i++) {  // out += c.x
                gc(i) += gout * a.x(i);
                gx(i) += gout * a.c(i);
            }
            for (int64_t h = 0; h < p.H; h++) {  // c = sum_h Q s
                outer(head[h].gQ, gc, a.s);
                if (l) add(gs, tr(Weight{Q + h * D * D}), gc);
            }
        }
    }
    // v' = v + P m, m = S t, t = Q^T v: from the adjoint gnext of v' to those of P, Q, S and v
    INLINE void pull(Head& head, Weight P, Weight Q, const Mat& S, const Vec& gnext, const Vec& v, const Vec& t,
                     const Vec& m, Vec& gv, Mat& gS) {
        Vec gm, gt;
        outer(head.gP, gnext, m);
        set(gm, tr(P), gnext);
        outer(gS, gm, t);
        set(gt, S, gm);
        outer(head.gQ, v, gt);
        add(gv, Q, gt);
    }

    static T total(const V& v) {
        T sum = 0;
        for (int i = 0; i < LANES; i++) sum += v[i];
        return sum;
    }

    // parts (E, chunks, 1 + 2 L H D D): squared error, gradient of P, gradient of Q, each summed over a chunk of prompts
    static void run(int64_t E, int64_t L, int64_t H, int64_t B, bool shared, bool grad, int threads, const T* P,
                    const T* Q, const T* S, const T* s, const T* x, const T* y, double* parts) {
        const int64_t chunks = (B + CHUNK - 1) / CHUNK, weights = L * H * D * D, row = 1 + (grad ? 2 * weights : 0);
#pragma omp parallel num_threads(threads)
        {
            Layer* layers = static_cast<Layer*>(aligned_alloc(64, sizeof(Layer) * L));
            Head* heads = static_cast<Head*>(aligned_alloc(64, sizeof(Head) * L * H));
#pragma omp for schedule(static)
            for (int64_t job = 0; job < E * chunks; job++) {
                const int64_t e = job / chunks, k = shared ? 0 : e, first = job % chunks * CHUNK;
                const int64_t last = first + CHUNK < B ? first + CHUNK : B;
                const Problem p{L, H, B, P + e * weights, Q + e * weights,
                                S + k * D * D * B, s + k * D * B, x + k * D * B, y + k * B};
                for (int64_t i = 0; i < L * H; i++) heads[i].gP = heads[i].gQ = Mat{};
                V error = V{};
                for (int64_t b = first; b < last; b += LANES) {
                    const V residual = forward(p, b, last - b < LANES ? last - b : LANES, layers, heads);
                    error += residual * residual;
                    if (grad) backward(p, residual, layers, heads);
                }
                double* out = parts + job * row;
                *out++ = total(error);
                if (grad)
                    for (int64_t i = 0; i < weights; i++) {
                        const int64_t h = i / (D * D), r = i % (D * D) / D, c = i % D;
                        out[i] = total(heads[h].gP(r, c));
                        out[weights + i] = total(heads[h].gQ(r, c));
                    }
            }
            free(layers);
            free(heads);
        }
    }
};

}  // namespace

extern "C" {

int64_t chunk_size() { return CHUNK; }

void run_f32(int64_t E, int64_t L, int64_t H, int64_t B, int shared, int grad, int threads, const float* P, const float* Q,
             const float* S, const float* s, const float* x, const float* y, double* parts) {
    Kernel<float>::run(E, L, H, B, shared, grad, threads, P, Q, S, s, x, y, parts);
}
void run_f64(int64_t E, int64_t L, int64_t H, int64_t B, int shared, int grad, int threads, const double* P,
             const double* Q, const double* S, const double* s, const double* x, const double* y, double* parts) {
    Kernel<double>::run(E, L, H, B, shared, grad, threads, P, Q, S, s, x, y, parts);
}
}
