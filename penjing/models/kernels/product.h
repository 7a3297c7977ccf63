// x @ w.T for many rows at once, and the same for a list of products: heads, or experts.
#pragma once
#include <algorithm>
#include <vector>

#include "dot.h"
#include "pool.h"

constexpr int PANEL_N = 48;          // rows of w in one piece of work
constexpr int HELD_N = 2 * TILE_N;   // of them, those that a thread holds in its first cache
constexpr int PANEL_M = 64;          // rows of x that pass over it before the next ones do
constexpr int STREAM_M = 3 * TILE_M; // up to so many rows, converting w anew costs less than storing
constexpr int64_t LEFT_BYTES = 1 << 19; // of rows of x, which stay in the second cache while w passes

// out[m] = x[m] @ w.T (+ bias) (+ residual[m]); x[m] is row index[m] of x where there is an index.
template <class T, class O>
struct Product {
    const T* x;
    const int32_t* index;
    int64_t ldx;
    const T* w;
    int64_t ldw;
    const T* bias;
    const O* residual;
    int64_t ldr;
    O* out;
    int64_t ldo;
    int m, n, k;
};

template <class L, class T, class O>
struct Panel {
    const Product<T, O>& p;
    const L* left;  // rows of x as the tiles take them
    int64_t ldl;
    int n0, n;
    float sums[PANEL_M * PANEL_N];
    float right[HELD_N * BLOCK_K];  // of w, where tiles take fp32

    Panel(const Product<T, O>& p, const L* left, int64_t ldl, int n0)
        : p(p), left(left), ldl(ldl), n0(n0), n(std::min(PANEL_N, p.n - n0)) {}

    void run(int begin, int end) {
        for (int m0 = begin; m0 < end; m0 += PANEL_M) {
            int m = std::min(PANEL_M, end - m0);
            memset(sums, 0, sizeof(float) * m * PANEL_N);
            for (int j = 0; j < n; j += HELD_N)
                for (int at = 0; at < p.k; at += BLOCK_K)
                    if (m <= STREAM_M) block<T>(m0, m, j, at, [](const T* w, int, int) { return w; });
                    else block<L>(m0, m, j, at, [&](const T* w, int i, int k) {
                        return held(w, i, k, left);
                    });
            finish(m0, m);
        }
    }

    // Some rows of w stay in the first cache while all of x pass, the next ones already on their way.
    template <class R, class Hold>
    void block(int m0, int m, int j0, int at, const Hold& hold) {
        const int count = std::min(HELD_N, n - j0), k = std::min(BLOCK_K, p.k - at);
        const T* w = p.w + (n0 + j0) * p.ldw;
        const R* b[HELD_N];
        for (int j = 0; j < count; j++) b[j] = hold(w + j * p.ldw + at, j, k);
        Ahead ahead = following(w, at);
        for (int i = 0; i < m; i += TILE_M) {
            const L* a[TILE_M];
            const int rows = std::min(TILE_M, m - i), wide = widest(rows);
            rows_of(m0 + i, rows, at, a);
            for (int j = 0; j < count; j += wide)
                dots(rows, std::min(wide, count - j), a, b + j, k, sums + i * PANEL_N + j0 + j,
                     PANEL_N, &ahead);
        }
    }

    // What is wanted after the block of w at `at`: the rest of its rows, or the next ones.
    Ahead following(const T* w, int at) {
        const int next = at + BLOCK_K < p.k ? at + BLOCK_K : 0;
        const T* rows = next ? w + next : w + HELD_N * p.ldw;
        return Ahead(rows, p.ldw * sizeof(T), std::min(BLOCK_K, p.k - next) * sizeof(T), HELD_N);
    }

    void rows_of(int m0, int m, int at, const L** a) {
        for (int i = 0; i < m; i++) a[i] = left + (p.index ? p.index[m0 + i] : m0 + i) * ldl + at;
    }

    const T* held(const T* w, int, int, const T*) { return w; }

    const float* held(const bf16* w, int j, int k, const float*) {
        float* to = right + j * BLOCK_K;
        for (int i = 0; i < k; i += LANES) store_up_to(to + i, load_up_to(w + i, k - i), k - i);
        return to;
    }

    void finish(int m0, int m) {
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j += LANES) {
                int rest = n - j, at = n0 + j;
                vf y = load_up_to(sums + i * PANEL_N + j, rest);
                if (p.bias) y += load_up_to(p.bias + at, rest);
                if (p.residual) y += load_up_to(p.residual + (m0 + i) * p.ldr + at, rest);
                store_up_to(p.out + (m0 + i) * p.ldo + at, y, rest);
            }
    }
};

struct Piece {
    int product, n, m, rows;
};

// Panels of w for some rows of x, then the same panels for the next rows.
template <class T, class O>
static void pieces_of(const std::vector<Product<T, O>>& list, int value_bytes,
                      std::vector<Piece>& pieces) {
    pieces.clear();
    for (int i = 0; i < (int)list.size(); i++) {
        const Product<T, O>& p = list[i];
        const int64_t held = LEFT_BYTES / value_bytes / std::max(1, p.k) / PANEL_M;
        const int most = PANEL_M * (int)std::min<int64_t>(1 << 20, std::max<int64_t>(1, held));
        for (int m = 0; m < p.m; m += most)
            for (int n = 0; n < p.n; n += PANEL_N)
                pieces.push_back({i, n, m, std::min(most, p.m - m)});
    }
}

// All products of a list; every x is a part of the `rows` rows of `width` values from list[0].x on.
template <class T, class O>
static void multiply(const std::vector<Product<T, O>>& list, int64_t rows, int64_t width,
                     int threads) {
    typedef typename LeftOf<T>::type L;
    constexpr bool same = sizeof(L) == sizeof(T);
    static thread_local std::vector<float> kept;
    static thread_local std::vector<Piece> kept_pieces;
    std::vector<Piece>& pieces = kept_pieces;
    pieces_of(list, sizeof(L), pieces);
    const T* x = list[0].x;
    const int64_t ldx = list[0].ldx, ldl = same ? ldx : width;
    if (!same && (int64_t)kept.size() < rows * width) kept.resize(rows * width);
    float* wide = kept.data();
    const L* left = same ? (const L*)x : (const L*)wide;
    const int share = std::max<int>(1, pieces.size() / (8 * threads));
    if (!same)
        share_out(rows, 8, threads, [&](int begin, int end) {
            for (int64_t row = begin; row < end; row++)
                for (int64_t i = 0; i < width; i += LANES)
                    store_up_to(wide + row * width + i, load_up_to(x + row * ldx + i, width - i),
                                width - i);
        });
    share_out(pieces.size(), share, threads, [&](int begin, int end) {
        for (int i = begin; i < end; i++) {
            const Piece& piece = pieces[i];
            const Product<T, O>& p = list[piece.product];
            Panel<L, T, O>(p, left + (p.x - x), ldl, piece.n).run(piece.m, piece.m + piece.rows);
        }
    });
}
