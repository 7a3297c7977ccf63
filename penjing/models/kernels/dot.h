// Dot products of rows with rows, and sums of rows: the two tiles under every product.
//
// A result depends on its own two rows alone: LANES partial sums over chunks of the row, added in
// blocks of BLOCK_K, whatever the tile it was computed in. So no batch can change it.
#pragma once
#include <algorithm>

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

template <int M, int N>
INLINE void add_sums(const vf (&acc)[M][N], float* out, int ldo) {
    const vf none = splat(0.0f);
    _Pragma("GCC unroll 16") for (int i = 0; i < M * N; i += 4) {
        auto at = [&](int j) { return j < M * N ? acc[j / N][j % N] : none; };
        v4 sums = four_sums(at(i), at(i + 1), at(i + 2), at(i + 3));
        for (int j = i; j < std::min(i + 4, M * N); j++) out[j / N * ldo + j % N] += sums[j - i];
    }
}

// Lines of memory that will be wanted next, asked for while a tile is computed.
//
// In the order of their addresses, so that the processor's own prefetching joins in, and into the
// second cache: both double what a core reads. Measured on Zen 4 beside requests row by row.
struct Ahead {
    const char* at;
    int64_t jump;       // from the end of a row to the beginning of the next
    int lines, column;  // of a row; of them, those asked for
    int left;           // of all rows

    Ahead(const void* rows, int64_t stride_bytes, int row_bytes, int count)
        : at((const char*)rows), lines((row_bytes + 63) / 64), column(0), left(lines * count) {
        jump = stride_bytes - lines * 64;
    }

    __attribute__((always_inline)) void ask(int count) {
        for (int i = 0; i < count; i++) __builtin_prefetch(at + i * 64, 0, 2);
        at += count * 64;
        column += count;
        left -= count;
        if (column >= lines) at += jump, column -= lines;
    }
};

INLINE bool wants(const Ahead* ahead) { return ahead && ahead->left > 0; }

template <int M, int N, class R>
static void tile(const float* const* a, const R* const* b, int k, float* out, int ldo,
                 Ahead* ahead) {
    constexpr int LINE = 64 / sizeof(R);
    vf acc[M][N];
    EACH(M) EACH_OF(N) acc[m][n] = splat(0.0f);
    int i = 0, rest = k % LANES;
    if (wants(ahead))
        for (; i + LINE <= k; i += LINE) {
            ahead->ask(N);
            _Pragma("GCC unroll 4") for (int c = 0; c < LINE; c += LANES)
                add_chunk<M, N>(acc, a, b, i + c);
        }
    for (; i < k - rest; i += LANES) add_chunk<M, N>(acc, a, b, i);
    if (rest)
        EACH(M) {
            vf left = load_some(a[m] + i, rest);
            EACH_OF(N) acc[m][n] = fused(left, load_some(b[n] + i, rest), acc[m][n]);
        }
    add_sums<M, N>(acc, out, ldo);
}

#if BF16_PAIRS
INLINE __m512bh pairs(const bf16* p) { return (__m512bh)_mm512_loadu_si512(p); }

INLINE __m512bh pairs_up_to(const bf16* p, __mmask32 mask) {
    return (__m512bh)_mm512_maskz_loadu_epi16(mask, p);
}

template <int M, int N, class Load>
INLINE void add_pairs(vf (&acc)[M][N], const bf16* const* a, const bf16* const* b, const Load& load) {
    __m512bh right[N];
    EACH_OF(N) right[n] = load(b[n]);
    EACH(M) {
        __m512bh left = load(a[m]);
        EACH_OF(N) acc[m][n] = (vf)_mm512_dpbf16_ps((__m512)acc[m][n], left, right[n]);
    }
}

template <int M, int N>
static void tile(const bf16* const* a, const bf16* const* b, int k, float* out, int ldo,
                 Ahead* ahead) {
    vf acc[M][N];
    EACH(M) EACH_OF(N) acc[m][n] = splat(0.0f);
    int i = 0;
    if (wants(ahead))
        for (; i + 32 <= k; i += 32) {
            ahead->ask(N);
            add_pairs<M, N>(acc, a, b, [i](const bf16* p) { return pairs(p + i); });
        }
    for (; i + 32 <= k; i += 32)
        add_pairs<M, N>(acc, a, b, [i](const bf16* p) { return pairs(p + i); });
    if (i < k) {  // masked loads cost twice what whole ones do
        const __mmask32 mask = (1u << (k - i)) - 1;
        add_pairs<M, N>(acc, a, b, [i, mask](const bf16* p) { return pairs_up_to(p + i, mask); });
    }
    add_sums<M, N>(acc, out, ldo);
}
#endif

// How many rows of w a tile may take beside m rows of x.
constexpr int widest(int m) { return m <= 2 ? 2 * TILE_N : TILE_N; }

template <int M, int N, class L, class R>
static void tile_of(int n, const L* const* a, const R* const* b, int k, float* o, int ldo,
                    Ahead* ahead) {
    if (n == N) return tile<M, N>(a, b, k, o, ldo, ahead);
    if constexpr (N > 1) tile_of<M, N - 1>(n, a, b, k, o, ldo, ahead);
}

// out[m][n] += dot of the first k <= BLOCK_K values of a[m] and b[n]; m <= TILE_M, n <= widest(m).
template <int M = TILE_M, class L, class R>
static void dots(int m, int n, const L* const* a, const R* const* b, int k, float* o, int ldo,
                 Ahead* ahead = nullptr) {
    if (m == M) return tile_of<M, widest(M)>(n, a, b, k, o, ldo, ahead);
    if constexpr (M > 1) dots<M - 1>(m, n, a, b, k, o, ldo, ahead);
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

// out[m] += sum over j of p[m][j] * rows[j], in order of j, for m <= TILE_M.
template <int M = TILE_M, class T>
static void weighted_rows(int m, const float* p, int ldp, const T* const* rows, int count,
                          int width, float* out, int ldo) {
    if (m == M) return add_rows_of<M>(p, ldp, rows, count, width, out, ldo);
    if constexpr (M > 1) weighted_rows<M - 1>(m, p, ldp, rows, count, width, out, ldo);
}
