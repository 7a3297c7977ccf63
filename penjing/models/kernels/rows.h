// What is done to each row by itself: norm, rotary embedding, gate, softmax, choice of experts' sums.
#pragma once
#include <algorithm>

#include "pool.h"
#include "vector.h"

// Rows of so many values are worth a thread of their own.
INLINE int rows_apiece(int64_t values_a_row) { return std::max<int64_t>(1, 16384 / values_a_row); }

// x / rms(x), rounded to T, times w: the two roundings of the reference implementations. Each row
// holds `heads` that are normed by themselves; out may be x.
template <class T>
static void rms_norm(const T* x, int64_t ldx, const T* w, float eps, T* out, int64_t ldo,
                     int64_t rows, int heads, int64_t x_step, int64_t out_step, int width,
                     int threads) {
    share_out(rows * heads, rows_apiece(width), threads, [&](int begin, int end) {
        for (int64_t i = begin; i < end; i++) {
            const T* from = x + i / heads * ldx + i % heads * x_step;
            T* to = out + i / heads * ldo + i % heads * out_step;
            vf squares = {};
            for (int i = 0; i < width; i += LANES) {
                vf v = load_up_to(from + i, width - i);
                squares = fused(v, v, squares);
            }
            vf scale = splat(1.0f / sqrtf(sum(squares) / width + eps));
            for (int i = 0; i < width; i += LANES) {
                vf v = load_up_to(from + i, width - i) * scale;
                if (sizeof(T) == 2) v = rounded(v);
                store_up_to(to + i, v * load_up_to(w + i, width - i), width - i);
            }
        }
    });
}

// Turns pairs of the last `dim` values of each head in place: (i, i + dim / 2), or (2i, 2i + 1)
// where interleaved. `turns` has cosines, then sines, of every position.
template <class T>
static void rope(T* x, int64_t ldx, int heads, int64_t head_stride, int dim, const float* turns,
                 const int64_t* positions, int64_t rows, int interleaved, int threads) {
    const int half = dim / 2, step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;
    share_out(rows, rows_apiece((int64_t)heads * dim), threads, [&](int begin, int end) {
        for (int64_t row = begin; row < end; row++) {
            const float *cosine = turns + positions[row] * dim, *sine = cosine + half;
            for (int head = 0; head < heads; head++) {
                T* at = x + row * ldx + head * head_stride;
                for (int i = 0; i < half; i++) {
                    float a = to_float(at[i * step]), b = to_float(at[i * step + apart]);
                    from_float(at + i * step, fmaf(a, cosine[i], -(b * sine[i])));
                    from_float(at + i * step + apart, fmaf(b, cosine[i], a * sine[i]));
                }
            }
        }
    });
}

// 1 / (1 + e^-x), by way of e^-|x|, which stays in range on both sides.
INLINE vf sigmoid(vf x) {
    vi negative = x < splat(0.0f);
    vf e = exp_nonpositive(-(vf)((vi)x & 0x7fffffff));
    vf top = (vf)(((vi)e & negative) | ((vi)splat(1.0f) & ~negative));
    return top / (splat(1.0f) + e);
}

static void sigmoids(const float* x, float* out, int64_t size, int threads) {
    share_out((size + LANES - 1) / LANES, 2048, threads, [&](int begin, int end) {
        for (int64_t i = (int64_t)begin * LANES; i < std::min<int64_t>(size, (int64_t)end * LANES);
             i += LANES)
            store_up_to(out + i, sigmoid(load_up_to(x + i, size - i)), size - i);
    });
}

// silu(gate) * up, where a row is gate then up.
template <class T>
static void silu_mul(const T* x, T* out, int64_t rows, int width, int threads) {
    share_out(rows, rows_apiece(width), threads, [&](int begin, int end) {
        for (int64_t row = begin; row < end; row++)
            for (int i = 0; i < width; i += LANES) {
                int rest = width - i;
                vf gate = load_up_to(x + row * 2 * width + i, rest);
                vf up = load_up_to(x + row * 2 * width + width + i, rest);
                store_up_to(out + row * width + i, gate * up * sigmoid(gate), rest);
            }
    });
}

// Of each row of logits: log of the sum of exponentials, and the first index of the largest.
static void log_sum_exp(const float* x, int64_t ldx, float* lse, int64_t* best, int64_t rows,
                        int64_t width, int threads) {
    share_out(rows, rows_apiece(width), threads, [&](int begin, int end) {
        for (int64_t row = begin; row < end; row++) {
            const float* from = x + row * ldx;
            vf high = splat(-INFINITY), total = {};
            int64_t whole = width - width % LANES;
            for (int64_t i = 0; i < whole; i += LANES) high = larger(high, load(from + i));
            float most = largest(high);
            for (int64_t i = whole; i < width; i++) most = from[i] > most ? from[i] : most;
            for (int64_t i = 0; i < whole; i += LANES)
                total += exp_nonpositive(load(from + i) - splat(most));
            if (whole < width) {
                float rest[LANES];
                for (int i = 0; i < LANES; i++)
                    rest[i] = whole + i < width ? from[whole + i] - most : -INFINITY;
                total += exp_nonpositive(load(rest));
            }
            int64_t index = 0;
            while (index < width && from[index] != most) index++;
            lse[row] = most + logf(sum(total));
            best[row] = index;
        }
    });
}

// out[t] = base[t] + sum over its experts, in their order in a row, of weight * y[slot].
template <class T>
static void combine(const T* y, const float* weights, const int32_t* slots, int chosen,
                    const T* base, T* out, int64_t rows, int width, int threads) {
    share_out(rows, rows_apiece(width), threads, [&](int begin, int end) {
        for (int64_t row = begin; row < end; row++)
            for (int i = 0; i < width; i += LANES) {
                vf v = load_up_to(base + row * width + i, width - i);
                for (int k = 0; k < chosen; k++) {
                    const T* from = y + (int64_t)slots[row * chosen + k] * width;
                    v = fused(splat(weights[row * chosen + k]), load_up_to(from + i, width - i), v);
                }
                store_up_to(out + row * width + i, v, width - i);
            }
    });
}
