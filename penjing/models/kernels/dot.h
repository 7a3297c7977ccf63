// Dot products of rows with rows, and sums of rows: the two tiles under every product.
//
// A result depends on its own two rows alone: LANES partial sums over chunks of the row, added in
// blocks of BLOCK_K, whatever the tile it was computed in. So no batch can change it.
#pragma once
#include "vector.h"

// Loops over a tile, written out by the compiler so that accumulators stay in registers.
#define EACH(M) _Pragma("GCC unroll 16") for (int m = 0; m < M; m++)
#define EACH_OF(N) _Pragma("GCC unroll 16") for (int n = 0; n < N; n++)

constexpr int BLOCK_K = BF16_PAIRS ? 1024 : 512;

// What the left rows are converted to before a product with right rows of type T.
template <class T>
struct LeftOf {
    typedef float type;
};
#if BF16_PAIRS
template <>
struct LeftOf<bf16> {
    typedef bf16 type;
};
#endif

template <int M, int N, class R>
INLINE void add_chunk(vf (&acc)[M][N], const float* const* a, const R* const* b, int i) {
    vf left, right[N];
    if (M == 1) {  // each right vector is used once: no need to hold them
        left = in_register(load(a[0] + i));
        EACH_OF(N) acc[0][n] = fused(left, load(b[n] + i), acc[0][n]);
        return;
    }
    EACH_OF(N) right[n] = in_register(load(b[n] + i));
    EACH(M) {
        left = in_register(load(a[m] + i));
        EACH_OF(N) acc[m][n] = fused(left, right[n], acc[m][n]);
    }
}

// `ahead`: how far behind each b the values lie that the next tile will want; 0: they are near.
template <int M, int N, class R>
static void tile(const float* const* a, const R* const* b, int k, float* out, int ldo,
                 int64_t ahead) {
    constexpr int LINE = 64 / sizeof(R);
    vf acc[M][N];
    EACH(M) EACH_OF(N) acc[m][n] = splat(0.0f);
    int i = 0, rest = k % LANES;
    if (ahead)
        for (; i + LINE <= k; i += LINE) {
            EACH_OF(N) __builtin_prefetch(b[n] + i + ahead);
            _Pragma("GCC unroll 4") for (int c = 0; c < LINE; c += LANES)
                add_chunk<M, N>(acc, a, b, i + c);
        }
    for (; i < k - rest; i += LANES) add_chunk<M, N>(acc, a, b, i);
    if (rest)
        EACH(M) {
            vf left = load_some(a[m] + i, rest);
            EACH_OF(N) acc[m][n] = fused(left, load_some(b[n] + i, rest), acc[m][n]);
        }
    EACH(M) EACH_OF(N) out[m * ldo + n] += sum(acc[m][n]);
}

#if BF16_PAIRS
template <int M, int N>
static void tile(const bf16* const* a, const bf16* const* b, int k, float* out, int ldo,
                 int64_t ahead) {
    __m512 acc[M][N];
    __m512bh left, right[N];
    EACH(M) EACH_OF(N) acc[m][n] = _mm512_setzero_ps();
    for (int i = 0; i < k; i += 32) {
        __mmask32 mask = k - i >= 32 ? 0xffffffffu : (1u << (k - i)) - 1;
        EACH_OF(N) if (ahead) __builtin_prefetch(b[n] + i + ahead);
        EACH_OF(N) right[n] = (__m512bh)_mm512_maskz_loadu_epi16(mask, b[n] + i);
        EACH(M) {
            left = (__m512bh)_mm512_maskz_loadu_epi16(mask, a[m] + i);
            EACH_OF(N) acc[m][n] = _mm512_dpbf16_ps(acc[m][n], left, right[n]);
        }
    }
    EACH(M) EACH_OF(N) out[m * ldo + n] += sum((vf)acc[m][n]);
}
#endif

// How many rows of w a tile may take beside m rows of x.
INLINE int widest(int m) { return m == 1 ? 8 : m == 2 ? 6 : TILE_N; }

template <int M, int N, class L, class R>
static void tile_of(int n, const L* const* a, const R* const* b, int k, float* o, int ldo,
                    int64_t ahead) {
    if (n == N) return tile<M, N>(a, b, k, o, ldo, ahead);
    if constexpr (N > 1) tile_of<M, N - 1>(n, a, b, k, o, ldo, ahead);
}

// out[m][n] += dot of the first k <= BLOCK_K values of a[m] and b[n]; m <= TILE_M, n <= widest(m).
template <class L, class R>
static void dots(int m, int n, const L* const* a, const R* const* b, int k, float* o, int ldo,
                 int64_t ahead = 0) {
    switch (m) {
        case 1: return tile_of<1, 8>(n, a, b, k, o, ldo, ahead);
        case 2: return tile_of<2, 6>(n, a, b, k, o, ldo, ahead);
        case 3: return tile_of<3, TILE_N>(n, a, b, k, o, ldo, ahead);
        case 4: return tile_of<4, TILE_N>(n, a, b, k, o, ldo, ahead);
    }
}

template <int M, int V, class T>
INLINE void add_rows(const float* p, int ldp, const T* const* rows, int count, int at, int rest,
                     float* out, int ldo) {
    vf acc[M][V];
    for (int m = 0; m < M; m++)
        for (int v = 0; v < V; v++)
            acc[m][v] = load_up_to(out + m * ldo + at + v * LANES, rest - v * LANES);
    for (int j = 0; j < count; j++) {
        vf row[V];
        for (int v = 0; v < V; v++) row[v] = load_up_to(rows[j] + at + v * LANES, rest - v * LANES);
        for (int m = 0; m < M; m++) {
            vf scale = splat(p[m * ldp + j]);
            for (int v = 0; v < V; v++) acc[m][v] = fused(scale, row[v], acc[m][v]);
        }
    }
    for (int m = 0; m < M; m++)
        for (int v = 0; v < V; v++)
            store_up_to(out + m * ldo + at + v * LANES, acc[m][v], rest - v * LANES);
}

template <int M, class T>
static void add_rows_of(const float* p, int ldp, const T* const* rows, int count, int width,
                        float* out, int ldo) {
    int at = 0;
    for (; at + 2 * LANES <= width; at += 2 * LANES)
        add_rows<M, 2>(p, ldp, rows, count, at, 2 * LANES, out, ldo);
    for (; at < width; at += LANES)
        add_rows<M, 1>(p, ldp, rows, count, at, width - at, out, ldo);
}

// out[m] += sum over j of p[m][j] * rows[j], in order of j, for m < TILE_M.
template <class T>
static void weighted_rows(int m, const float* p, int ldp, const T* const* rows, int count,
                          int width, float* out, int ldo) {
    switch (m) {
        case 1: return add_rows_of<1>(p, ldp, rows, count, width, out, ldo);
        case 2: return add_rows_of<2>(p, ldp, rows, count, width, out, ldo);
        case 3: return add_rows_of<3>(p, ldp, rows, count, width, out, ldo);
        case 4: return add_rows_of<4>(p, ldp, rows, count, width, out, ldo);
    }
}
