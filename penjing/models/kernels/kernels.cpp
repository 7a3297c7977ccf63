// What Python calls, one plain C function a kernel; `wide` is 1 for fp32 and 0 for bf16.
// Strides are in values. Nothing here allocates once its buffers have grown to the largest call.
#include "attention.h"
#include "product.h"
#include "rows.h"

#define C_API extern "C" __attribute__((visibility("default")))

template <class T, class O>
static void linear_of(const void* x, int64_t ldx, const void* w, const void* bias,
                      const void* residual, void* out, int64_t ldo, int m, int n, int k,
                      int threads) {
    static thread_local std::vector<Product<T, O>> list(1);
    list[0] = {(const T*)x, nullptr, ldx, (const T*)w, k, (const T*)bias, (const O*)residual, n,
               (O*)out, ldo, m, n, k};
    multiply(list, m, k, threads);
}

// out[m, n] = x[m, k] @ w[n, k].T + bias + residual; `wide_out`: fp32 results of bf16 factors.
C_API void penjing_linear(int wide, int wide_out, const void* x, int64_t ldx, const void* w,
                          const void* bias, const void* residual, void* out, int64_t ldo, int m,
                          int n, int k, int threads) {
    if (wide) linear_of<float, float>(x, ldx, w, bias, residual, out, ldo, m, n, k, threads);
    else if (wide_out) linear_of<bf16, float>(x, ldx, w, bias, residual, out, ldo, m, n, k, threads);
    else linear_of<bf16, bf16>(x, ldx, w, bias, residual, out, ldo, m, n, k, threads);
}

template <class T>
static void heads_of(const void* x, int64_t ldx, int64_t x_step, const void* w, int64_t w_step,
                     void* out, int64_t ldo, int64_t out_step, int heads, int m, int n, int k,
                     int threads) {
    static thread_local std::vector<Product<T, T>> list;
    list.clear();
    for (int h = 0; h < heads; h++)
        list.push_back({(const T*)x + h * x_step, nullptr, ldx, (const T*)w + h * w_step, k,
                        nullptr, nullptr, 0, (T*)out + h * out_step, ldo, m, n, k});
    multiply(list, m, (heads - 1) * x_step + k, threads);
}

// For each head: out[m, n] = x[m, k] @ w[n, k].T.
C_API void penjing_heads(int wide, const void* x, int64_t ldx, int64_t x_step, const void* w,
                         int64_t w_step, void* out, int64_t ldo, int64_t out_step, int heads,
                         int m, int n, int k, int threads) {
    auto of = wide ? heads_of<float> : heads_of<bf16>;
    of(x, ldx, x_step, w, w_step, out, ldo, out_step, heads, m, n, k, threads);
}

template <class T>
static void heads_across_of(const T* x, int64_t ldx, int64_t x_step, const T* w, int64_t w_step,
                            T* out, int64_t ldo, int64_t out_step, int heads, int m, int n, int k,
                            int threads) {
    const int tiles = (m + TILE_M - 1) / TILE_M;
    share_out(heads * tiles, 1, threads, [&](int begin, int end) {
        static thread_local std::vector<float> room;
        static thread_local std::vector<const T*> rows;
        for (int at = begin; at < end; at++) {
            int h = at / tiles, m0 = at % tiles * TILE_M, count = std::min(TILE_M, m - m0);
            room.assign((size_t)TILE_M * (n + k), 0.0f);
            rows.resize(k);
            float* left = room.data() + TILE_M * n;
            for (int i = 0; i < count; i++)
                for (int j = 0; j < k; j++)
                    left[i * k + j] = to_float(x[(m0 + i) * ldx + h * x_step + j]);
            for (int j = 0; j < k; j++) rows[j] = w + h * w_step + (int64_t)j * n;
            weighted_rows(count, left, k, rows.data(), k, n, room.data(), n);
            for (int i = 0; i < count; i++)
                for (int j = 0; j < n; j += LANES)
                    store_up_to(out + (m0 + i) * ldo + h * out_step + j,
                                load_up_to(room.data() + i * n + j, n - j), n - j);
        }
    });
}

// For each head: out[m, n] = x[m, k] @ w[k, n].
C_API void penjing_heads_across(int wide, const void* x, int64_t ldx, int64_t x_step,
                                const void* w, int64_t w_step, void* out, int64_t ldo,
                                int64_t out_step, int heads, int m, int n, int k, int threads) {
    if (wide)
        heads_across_of((const float*)x, ldx, x_step, (const float*)w, w_step, (float*)out, ldo,
                        out_step, heads, m, n, k, threads);
    else
        heads_across_of((const bf16*)x, ldx, x_step, (const bf16*)w, w_step, (bf16*)out, ldo,
                        out_step, heads, m, n, k, threads);
}

template <class T>
static void experts_of(const void* x, int64_t rows, const int32_t* index, const int32_t* bounds,
                       const void* w, void* out, int experts, int n, int k, int threads) {
    static thread_local std::vector<Product<T, T>> list;
    list.clear();
    for (int e = 0; e < experts; e++)
        if (bounds[e + 1] > bounds[e])
            list.push_back({(const T*)x, index + bounds[e], k, (const T*)w + (int64_t)e * n * k, k,
                            nullptr, nullptr, 0, (T*)out + (int64_t)bounds[e] * n, n,
                            bounds[e + 1] - bounds[e], n, k});
    if (!list.empty()) multiply(list, rows, k, threads);
}

// For each expert e and each of its places bounds[e] <= i < bounds[e + 1]:
// out[i, n] = x[index[i], k] @ w[e, n, k].T.
C_API void penjing_experts(int wide, const void* x, int64_t rows, const int32_t* index,
                           const int32_t* bounds, const void* w, void* out, int experts, int n,
                           int k, int threads) {
    auto of = wide ? experts_of<float> : experts_of<bf16>;
    of(x, rows, index, bounds, w, out, experts, n, k, threads);
}

C_API void penjing_attend(int wide, const void* q, int64_t ldq, const void* kv, int64_t ldkv,
                          int heads, int kv_heads, int key_dim, int value_dim, int value_at,
                          int window, float scale, const int32_t* spans, int num_spans,
                          const int64_t* table, int64_t pages, int64_t page_size, void* out,
                          int64_t ldo, int threads) {
    const Span* of = (const Span*)spans;
    if (wide)
        attend(Attention<float>{(const float*)q, ldq, (const float*)kv, ldkv, heads, kv_heads,
                                key_dim, value_dim, value_at, window, scale, of, num_spans, table,
                                pages, page_size, (float*)out, ldo}, threads);
    else
        attend(Attention<bf16>{(const bf16*)q, ldq, (const bf16*)kv, ldkv, heads, kv_heads,
                               key_dim, value_dim, value_at, window, scale, of, num_spans, table,
                               pages, page_size, (bf16*)out, ldo}, threads);
}

C_API void penjing_rms_norm(int wide, const void* x, int64_t ldx, const void* w, float eps,
                            void* out, int64_t ldo, int64_t rows, int heads, int64_t x_step,
                            int64_t out_step, int width, int threads) {
    if (wide)
        rms_norm((const float*)x, ldx, (const float*)w, eps, (float*)out, ldo, rows, heads, x_step,
                 out_step, width, threads);
    else
        rms_norm((const bf16*)x, ldx, (const bf16*)w, eps, (bf16*)out, ldo, rows, heads, x_step,
                 out_step, width, threads);
}

C_API void penjing_rope(int wide, void* x, int64_t ldx, int heads, int64_t head_stride, int dim,
                        const float* turns, const int64_t* positions, int64_t rows,
                        int interleaved, int threads) {
    if (wide) rope((float*)x, ldx, heads, head_stride, dim, turns, positions, rows, interleaved, threads);
    else rope((bf16*)x, ldx, heads, head_stride, dim, turns, positions, rows, interleaved, threads);
}

C_API void penjing_silu_mul(int wide, const void* x, void* out, int64_t rows, int width,
                            int threads) {
    if (wide) silu_mul((const float*)x, (float*)out, rows, width, threads);
    else silu_mul((const bf16*)x, (bf16*)out, rows, width, threads);
}

C_API void penjing_sigmoid(const float* x, float* out, int64_t size, int threads) {
    sigmoids(x, out, size, threads);
}

C_API void penjing_log_sum_exp(const float* x, int64_t ldx, float* lse, int64_t* best,
                               int64_t rows, int64_t width, int threads) {
    log_sum_exp(x, ldx, lse, best, rows, width, threads);
}

C_API void penjing_combine(int wide, const void* y, const float* weights, const int32_t* slots,
                           int chosen, const void* base, void* out, int64_t rows, int width,
                           int threads) {
    if (wide) combine((const float*)y, weights, slots, chosen, (const float*)base, (float*)out, rows, width, threads);
    else combine((const bf16*)y, weights, slots, chosen, (const bf16*)base, (bf16*)out, rows, width, threads);
}

// Lanes of a vector, and whether bf16 pairs are multiplied in one instruction: part of the
// numerical policy, since both change the order or the rounding of sums.
C_API int penjing_lanes() { return LANES; }
C_API int penjing_bf16_pairs() { return BF16_PAIRS; }
