// Attention of ragged sequences over rows of a cache: one kernel for prefill, decode and training.
//
// Keys are taken in blocks of KEYS by their position, whatever chunk or page they lie in, and a
// query's softmax is carried from block to block (Milakov & Gimelshein, arXiv 1805.02867). So a
// query sees the same sums in the same order alone, in a batch, in a chunk or after a cache hit.
#pragma once
#include <algorithm>
#include <vector>

#include "dot.h"
#include "pool.h"

constexpr int KEYS = 64;
constexpr int ROWS = 32;  // queries times heads that share one reading of the keys

struct Span {
    int32_t first, queries, keys;  // row of its first query; queries now; keys up to the last one
};

template <class T>
struct Attention {
    const T* q;  // [T, N, key_dim]
    int64_t ldq;
    const T* kv;  // rows of all keys, then of all values from value_at on
    int64_t ldkv;
    int heads, kv_heads, key_dim, value_dim, value_at, window;
    float scale;
    const Span* spans;
    int num_spans;
    const int64_t* table;  // [spans, pages]: the row where each page begins
    int64_t pages, page_size;
    T* out;  // [T, N, value_dim]
    int64_t ldo;
};

template <class T>
struct Item {
    typedef typename LeftOf<T>::type L;
    const Attention<T>& a;
    const Span& span;
    const int64_t* table;
    int kv_head, r0, rows, group;
    std::vector<float>& room;
    const L* keys[KEYS];
    const float* values[KEYS];
    const L* q[ROWS];
    float most[ROWS], total[ROWS], *sums, *wide, p[TILE_M * KEYS];

    Item(const Attention<T>& a, int at, int kv_head, int r0, int rows, std::vector<float>& room)
        : a(a), span(a.spans[at]), table(a.table + at * a.pages), kv_head(kv_head), r0(r0),
          rows(rows), group(a.heads / a.kv_heads), room(room) {}

    int position(int row) const { return span.keys - span.queries + (r0 + row) / group; }
    int oldest(int row) const {
        return a.window ? std::max(0, position(row) - a.window + 1) : 0;
    }

    void run() {
        prepare();
        int begin = oldest(0) / KEYS * KEYS, end = position(rows - 1) + 1;
        for (int at = begin; at < end; at += KEYS) {
            int count = std::min(KEYS, end - at);
            gather(at, count);
            for (int r = 0; r < rows; r += TILE_M) add_block(r, std::min(TILE_M, rows - r), at, count);
        }
        finish();
    }

    void prepare() {
        size_t size = (size_t)(KEYS + ROWS) * (a.key_dim + a.value_dim);
        if (room.size() < size) room.resize(size);
        sums = room.data();
        wide = sums + ROWS * a.value_dim;
        float* left = wide + KEYS * (a.key_dim + a.value_dim);
        for (int r = 0; r < rows; r++) {
            int token = (r0 + r) / group, head = kv_head * group + (r0 + r) % group;
            const T* from = a.q + (span.first + token) * a.ldq + head * a.key_dim;
            q[r] = converted(from, left + r * a.key_dim, a.key_dim, (const L*)nullptr);
            most[r] = -INFINITY;
            total[r] = 0;
        }
        memset(sums, 0, sizeof(float) * rows * a.value_dim);
    }

    static const T* converted(const T* from, float*, int, const T*) { return from; }
    static const float* converted(const bf16* from, float* to, int n, const float*) {
        for (int i = 0; i < n; i += LANES) store_up_to(to + i, load_up_to(from + i, n - i), n - i);
        return to;
    }

    void gather(int at, int count) {
        const bool inside = a.value_at < a.key_dim;  // latent: a value is the front of its key
        for (int j = 0; j < count; j++) {
            int64_t page = (at + j) / a.page_size;
            const T* row = a.kv + (table[page] + (at + j) % a.page_size) * a.ldkv;
            float* to = wide + (size_t)j * (a.key_dim + a.value_dim);
            const T* value = row + a.value_at + (inside ? 0 : kv_head * a.value_dim);
            keys[j] = converted(row + kv_head * a.key_dim, to, a.key_dim, (const L*)nullptr);
            if (inside && sizeof(L) == sizeof(float)) values[j] = (const float*)keys[j];
            else values[j] = converted(value, to + a.key_dim, a.value_dim, (const float*)nullptr);
        }
    }

    void add_block(int r, int m, int at, int count) {
        memset(p, 0, sizeof p);
        for (int j = 0; j < count; j += TILE_N)
            for (int i = 0; i < a.key_dim; i += BLOCK_K) {
                const L *left[TILE_M], *right[TILE_N];
                int n = std::min(TILE_N, count - j);
                for (int x = 0; x < m; x++) left[x] = q[r + x] + i;
                for (int x = 0; x < n; x++) right[x] = keys[j + x] + i;
                dots(m, n, left, right, std::min(BLOCK_K, a.key_dim - i), p + j, KEYS);
            }
        for (int i = 0; i < m; i++) soften(r + i, p + i * KEYS, at);
        weighted_rows(m, p, KEYS, values, count, a.value_dim, sums + (size_t)r * a.value_dim,
                      a.value_dim);
    }

    // Scores of one query become weights, and what it summed so far is put on the same scale.
    void soften(int r, float* s, int at) {
        int from = std::min(KEYS, std::max(0, oldest(r) - at));
        int to = std::max(0, std::min(KEYS, position(r) + 1 - at));
        for (int j = 0; j < KEYS; j++) s[j] = j < from || j >= to ? -INFINITY : s[j] * a.scale;
        vf high = splat(most[r]), sum_of = {};
        for (int j = 0; j < KEYS; j += LANES) high = larger(high, load(s + j));
        float now = largest(high);
        if (from >= to) {
            memset(s, 0, sizeof(float) * KEYS);
            return;
        }
        for (int j = 0; j < KEYS; j += LANES) {
            vf e = exp_nonpositive(load(s + j) - splat(now));
            store(s + j, e);
            sum_of += e;
        }
        vf fade = exp_nonpositive(splat(most[r] - now));
        total[r] = total[r] * fade[0] + sum(sum_of);
        if (most[r] != now)
            for (int i = 0; i < a.value_dim; i++) sums[(size_t)r * a.value_dim + i] *= fade[0];
        most[r] = now;
    }

    void finish() {
        for (int r = 0; r < rows; r++) {
            int token = (r0 + r) / group, head = kv_head * group + (r0 + r) % group;
            T* to = a.out + (span.first + token) * a.ldo + head * a.value_dim;
            vf share = splat(1.0f / total[r]);
            for (int i = 0; i < a.value_dim; i += LANES)
                store_up_to(to + i,
                            load_up_to(sums + (size_t)r * a.value_dim + i, a.value_dim - i) * share,
                            a.value_dim - i);
        }
    }
};

template <class T>
static void attend(const Attention<T>& a, int threads) {
    struct Task {
        int span, kv_head, r0, rows;
    };
    static thread_local std::vector<Task> kept;
    std::vector<Task>& tasks = kept;
    tasks.clear();
    const int group = a.heads / a.kv_heads;
    for (int s = 0; s < a.num_spans; s++) {
        int rows = a.spans[s].queries * group;
        int each = std::min(ROWS, std::max(TILE_M, (rows * a.kv_heads + threads - 1) / threads));
        for (int r = 0; r < rows; r += each)
            for (int h = 0; h < a.kv_heads; h++)
                tasks.push_back({s, h, r, std::min(each, rows - r)});
    }
    share_out(tasks.size(), 1, threads, [&](int begin, int end) {
        static thread_local std::vector<float> room;
        for (int i = begin; i < end; i++) {
            const Task& t = tasks[i];
            Item<T>(a, t.span, t.kv_head, t.r0, t.rows, room).run();
        }
    });
}
