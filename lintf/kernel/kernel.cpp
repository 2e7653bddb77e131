// Loss and gradient of a linear transformer from Gram statistics: one prompt per SIMD lane.
//
// The forward pass is recursion.h's. The adjoint is written out by hand, from the last layer to the first, whose S is
// data and gets none.
#include "recursion.h"
#include "threads.h"

namespace {

template <class T>
struct Kernel : Recursion<T, typename Lanes<T>::V> {
    typedef typename Lanes<T>::V V;
    typedef Recursion<T, V> R;
    typedef typename R::Vec Vec;
    typedef typename R::Mat Mat;
    typedef typename R::Layer Layer;
    typedef typename Lanes<T>::Weight Weight;
    typedef typename Lanes<T>::Weights Weights;
    using R::add;
    using R::outer;
    using R::set;
    using R::tr;

    struct Gradient {  // of a head, summed over a chunk lane by lane
        Mat P, Q;
    };

    // Adds the gradient of sum_b residual_b^2 to g. A name g.. is the adjoint of what follows.
    static void backward(const Weights& weights, V residual, const Layer* layers, const typename R::Head* heads,
                         Gradient* g) {
        const int64_t L = weights.L, H = weights.H;
        const V gout = 2 * residual;
        Mat gS{}, gA, gW, sum;
        Vec gs{}, gx{}, gc{}, gu{}, v, w;
        for (int64_t l = L - 1; l >= 0; l--) {
            const Layer& a = layers[l];
            const typename R::Head* head = heads + l * H;
            Gradient* gh = g + l * H;
            if (l == L - 2) {  // s' = u + sum_h P S Q^T u, and x' alike
                gu = gs;
                w = gx;
                sum = Mat{};  // gS, not yet symmetric
                for (int64_t h = 0; h < H; h++) {
                    const Weight P = weights.P(l, h), Q = weights.Q(l, h);
                    pull(gh[h], P, Q, a.S, gs, a.u, head[h].tu, head[h].mu, gu, sum);
                    pull(gh[h], P, Q, a.S, gx, a.x, head[h].tx, head[h].mx, w, sum);
                }
                gx = w;
            } else if (l < L - 2) {  // S' = A S A^T, s' = A u, x' = A x
                set(gA, gS, a.AS, 2);
                outer(gA, gs, a.u);
                outer(gA, gx, a.x);
                if (l) {
                    set(sum, gS, a.A);
                    set(gS, tr(a.A), sum);
                    sum = gS;
                }
                for (int64_t h = 0; h < H; h++) {
                    const Weight P = weights.P(l, h), Q = weights.Q(l, h);
                    add(gh[h].P, gA, tr(head[h].W));
                    set(gW, tr(P), gA);
                    add(gh[h].Q, tr(gW), a.S);
                    if (l) add(sum, gW, Q);
                }
                set(gu, tr(a.A), gs);
                set(v, tr(a.A), gx);
                gx = v;
            }
            if (l < L - 1) {  // u = s + S c
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
            for (int64_t h = 0; h < H; h++) {  // c = sum_h Q s
                outer(gh[h].Q, gc, a.s);
                if (l) {
                    const Weight Q = weights.Q(l, h);
                    add(gs, tr(Q), gc);
                }
            }
        }
    }
    // v' = v + P m, m = S t, t = Q^T v: from the adjoint gnext of v' to those of P, Q, S and v
    INLINE void pull(Gradient& g, Weight P, Weight Q, const Mat& S, const Vec& gnext, const Vec& v, const Vec& t,
                     const Vec& m, Vec& gv, Mat& gS) {
        Vec gm, gt;
        outer(g.P, gnext, m);
        set(gm, tr(P), gnext);
        outer(gS, gm, t);
        set(gt, S, gm);
        outer(g.Q, v, gt);
        add(gv, Q, gt);
    }

    // parts (E, chunks, 1 + 2 L H D D): squared error, gradient of P, gradient of Q, each summed over a chunk of prompts
    // residuals (E, B): those of all prompts, if it is given
    static void run(int64_t E, int64_t L, int64_t H, int64_t B, bool shared, bool grad, int threads, const T* P,
                    const T* Q, const T* S, const T* s, const T* x, const T* y, double* parts, T* residuals) {
        const int64_t chunks = (B + CHUNK - 1) / CHUNK, weights = L * H * D * D, row = 1 + (grad ? 2 * weights : 0);
        constexpr int LANES = Lanes<T>::COUNT;
        share(E * chunks, threads, [&](auto take) {
            const Memory<Layer> layers(L + 1);
            const Memory<typename R::Head> heads(L * H);
            const Memory<Gradient> g(L * H);
            for (int64_t job; take(job);) {
                const int64_t e = job / chunks, k = shared ? 0 : e, first = job % chunks * CHUNK;
                const int64_t last = first + CHUNK < B ? first + CHUNK : B;
                const Weights w{L, H, P + e * weights, Q + e * weights};
                const typename Lanes<T>::Data data{B, S + k * D * D * B, s + k * D * B, x + k * D * B, y + k * B};
                for (int64_t i = 0; i < L * H; i++) g[i].P = g[i].Q = Mat{};
                V error = V{};
                for (int64_t b = first; b < last; b += LANES) {
                    const int64_t n = last - b < LANES ? last - b : LANES;
                    const V label = data.start(b, n, layers[0]);
                    const V residual = R::forward(w, 0, L, label, layers, heads);
                    error += residual * residual;
                    if (residuals) store(residuals + e * B + b, residual, n);
                    if (grad) backward(w, residual, layers, heads, g);
                }
                double* out = parts + job * row;
                *out++ = Lanes<T>::total(error);
                if (grad)
                    for (int64_t i = 0; i < weights; i++) {
                        const int64_t h = i / (D * D), r = i % (D * D) / D, c = i % D;
                        out[i] = Lanes<T>::total(g[h].P(r, c));
                        out[weights + i] = Lanes<T>::total(g[h].Q(r, c));
                    }
            }
        });
    }
};

}  // namespace

extern "C" {

int64_t chunk_size() { return CHUNK; }
int64_t vector_bytes() { return VECTOR_BYTES; }

void run_f32(int64_t E, int64_t L, int64_t H, int64_t B, int shared, int grad, int threads, const float* P,
             const float* Q, const float* S, const float* s, const float* x, const float* y, double* parts,
             float* residuals) {
    Kernel<float>::run(E, L, H, B, shared, grad, threads, P, Q, S, s, x, y, parts, residuals);
}
void run_f64(int64_t E, int64_t L, int64_t H, int64_t B, int shared, int grad, int threads, const double* P,
             const double* Q, const double* S, const double* s, const double* x, const double* y, double* parts,
             double* residuals) {
    Kernel<double>::run(E, L, H, B, shared, grad, threads, P, Q, S, s, x, y, parts, residuals);
}
}
