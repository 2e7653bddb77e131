// The loss along lines: value, slope and curvature at t = 0 of t -> loss(P + t dP, Q + t dQ), exactly.
//
// The forward pass is recursion.h's on Taylor series v + a t + b t^2 in place of numbers, from the first layer on that
// the line moves.
#include "recursion.h"
#include "threads.h"

namespace {

template <class V>
struct Series {
    V v, a, b;
};
template <class V>  // of a weight: linear in t
struct Linear {
    V v, a;
};

template <class V>
INLINE Series<V> operator*(const Series<V>& x, const Series<V>& y) {
    return {x.v * y.v, x.v * y.a + x.a * y.v, x.v * y.b + x.a * y.a + x.b * y.v};
}
template <class V, class T>
INLINE Series<V> operator*(const Linear<T>& x, const Series<V>& y) {
    return {x.v * y.v, x.v * y.a + x.a * y.v, x.v * y.b + x.a * y.a};
}
template <class V, class T>
INLINE Series<V> operator*(const Series<V>& x, const Linear<T>& y) {
    return y * x;
}
template <class V, class T>
INLINE Series<V> operator*(T x, const Series<V>& y) {
    return {x * y.v, x * y.a, x * y.b};
}
template <class V>
INLINE Series<V> operator+(const Series<V>& x, const Series<V>& y) {
    return {x.v + y.v, x.a + y.a, x.b + y.b};
}
template <class V, class T>
INLINE Linear<V> operator+(const Linear<T>& x, const Series<V>&) {  // for `wide`, which adds a zero
    return {x.v + V{}, x.a + V{}};
}
template <class V>
INLINE void operator+=(Series<V>& x, const Series<V>& y) {
    x = x + y;
}
template <class V, class T>
INLINE void operator+=(Series<V>& x, T y) {
    x.v += y;
}

template <class T>
struct Lines {
    typedef typename Lanes<T>::V V;
    typedef Recursion<T, V> Plain;
    typedef Recursion<T, Series<V>> R;

    struct Weight {
        const T *a, *da;
        Linear<T> operator()(int i, int j) const { return {a[i * D + j], da[i * D + j]}; }
    };
    struct Weights {  // a line through the point
        typename Lanes<T>::Weights point, line;
        int64_t L, H;
        Weight P(int64_t l, int64_t h) const { return {point.P(l, h).a, line.P(l, h).a}; }
        Weight Q(int64_t l, int64_t h) const { return {point.Q(l, h).a, line.Q(l, h).a}; }
    };

    // The first layer that the line moves; the last one's P does not count.
    static int64_t first_moved(const typename Lanes<T>::Weights& line) {
        const int64_t size = line.H * D * D;
        for (int64_t l = 0; l < line.L - 1; l++)
            for (int64_t i = 0; i < size; i++)
                if (line.p[l * size + i] != 0 || line.q[l * size + i] != 0) return l;
        return line.L - 1;
    }

    // parts (E, K, chunks, 3): squared error and its first and second derivative, each summed over a chunk of prompts
    static void run(int64_t E, int64_t K, int64_t L, int64_t H, int64_t B, bool shared_data, bool shared_lines,
                    int threads, const T* P, const T* Q, const T* dP, const T* dQ, const T* S, const T* s, const T* x,
                    const T* y, double* parts) {
        const int64_t chunks = (B + CHUNK - 1) / CHUNK, weights = L * H * D * D;
        constexpr int LANES = Lanes<T>::COUNT;
        share(E * K * chunks, threads, [&](auto take) {
            typedef typename Plain::Layer Layer;
            typedef typename Plain::Head Head;
            typedef typename R::Layer SeriesLayer;
            typedef typename R::Head SeriesHead;
            const Memory<Layer> layers(L + 1);
            const Memory<Head> heads(L * H);
            const Memory<SeriesLayer> rest(L + 1);
            const Memory<SeriesHead> rest_heads(L * H);
            for (int64_t job; take(job);) {
                const int64_t line = job / chunks, e = line / K, data_of = shared_data ? 0 : e;
                const int64_t offset = (shared_lines ? line % K : line) * weights, first = job % chunks * CHUNK;
                const int64_t last = first + CHUNK < B ? first + CHUNK : B;
                const Weights w{{L, H, P + e * weights, Q + e * weights}, {L, H, dP + offset, dQ + offset}, L, H};
                const typename Lanes<T>::Data data{B, S + data_of * D * D * B, s + data_of * D * B,
                                                   x + data_of * D * B, y + data_of * B};
                const int64_t moved = first_moved(w.line);
                V sums[3] = {};
                for (int64_t b = first; b < last; b += LANES) {
                    V residual = data.start(b, last - b < LANES ? last - b : LANES, layers[0]);
                    residual = Plain::forward(w.point, 0, moved, residual, layers, heads);
                    const Layer& from = layers[moved];
                    SeriesLayer& to = rest[moved];
                    for (int i = 0; i < D; i++) {
                        to.s(i) = {from.s(i), V{}, V{}};
                        to.x(i) = {from.x(i), V{}, V{}};
                        if (moved < L - 1)  // the last layer does not use its S
                            for (int j = 0; j < D; j++) to.S(i, j) = {from.S(i, j), V{}, V{}};
                    }
                    const Series<V> r = R::forward(w, moved, L, {residual, V{}, V{}}, rest, rest_heads);
                    sums[0] += r.v * r.v;
                    sums[1] += 2 * (r.v * r.a);
                    sums[2] += 2 * (r.a * r.a + 2 * (r.v * r.b));
                }
                for (int i = 0; i < 3; i++) parts[3 * job + i] = Lanes<T>::total(sums[i]);
            }
        });
    }
};

}  // namespace

extern "C" {

int64_t chunk_size() { return CHUNK; }

void lines_f32(int64_t E, int64_t K, int64_t L, int64_t H, int64_t B, int shared_data, int shared_lines, int threads,
               const float* P, const float* Q, const float* dP, const float* dQ, const float* S, const float* s,
               const float* x, const float* y, double* parts) {
    Lines<float>::run(E, K, L, H, B, shared_data, shared_lines, threads, P, Q, dP, dQ, S, s, x, y, parts);
}
void lines_f64(int64_t E, int64_t K, int64_t L, int64_t H, int64_t B, int shared_data, int shared_lines, int threads,
               const double* P, const double* Q, const double* dP, const double* dQ, const double* S, const double* s,
               const double* x, const double* y, double* parts) {
    Lines<double>::run(E, K, L, H, B, shared_data, shared_lines, threads, P, Q, dP, dQ, S, s, x, y, parts);
}
}
