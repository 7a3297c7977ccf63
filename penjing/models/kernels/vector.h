// Vectors of fp32 as wide as the machine's registers, through the compiler's own vector types.
//
// One source serves AVX2, AVX-512, NEON and what comes; only the product of bf16 pairs
// (AVX512_BF16) is an intrinsic. All arithmetic is fp32; bf16 is a storage format.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__AVX512BF16__) && defined(__AVX512BW__) && !defined(PENJING_NO_BF16_PAIRS)
#define BF16_PAIRS 1
#else
#define BF16_PAIRS 0
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int TILE_M = 6, TILE_N = 4;  // 24 accumulators of 32 registers
#else
constexpr int LANES = 8;
constexpr int TILE_M = 4, TILE_N = 3;  // 12 accumulators of 16 registers
#endif

struct bf16 {
    uint16_t bits;
};

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf splat(float x) { return x - (vf){}; }

// a * b + c, rounded once. Said outright, and contraction is off: compilers fuse in one loop and not
// in the next, and a result must not depend on the loop it was computed in.
INLINE vf fused(vf a, vf b, vf c) {
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FP_FAST_FMAF)
    for (int i = 0; i < LANES; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
#else
    return a * b + c;
#endif
}

INLINE vf load(const float* p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE vf load(const bf16* p) {
#if defined(__AVX512F__)
    __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return (vf)_mm512_slli_epi32(u, 16);
#elif defined(__AVX2__)  // GCC's own conversion takes four instructions
    __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
    return (vf)_mm256_slli_epi32(u, 16);
#else
    vh h;
    memcpy(&h, p, sizeof h);
    vu u = __builtin_convertvector(h, vu) << 16;
    return (vf)u;
#endif
}

// Keeps a loaded vector in a register where the compiler would load it again for every use.
INLINE vf in_register(vf v) {
#if defined(__x86_64__)
    asm("" : "+v"(v));
#endif
    return v;
}

// The first n values, zeros after them.
template <class T>
INLINE vf load_some(const T* p, int n) {
    T padded[LANES] = {};
    memcpy(padded, p, n * sizeof(T));
    return load(padded);
}

INLINE float to_float(float x) { return x; }
INLINE float to_float(bf16 x) {
    uint32_t u = (uint32_t)x.bits << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

INLINE void from_float(float* p, float x) { *p = x; }
INLINE void from_float(bf16* p, float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) p->bits = (u >> 16) | 0x40u;
    else p->bits = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

// Nearest, ties to even; a NaN stays one.
INLINE vf rounded(vf x) {
    vu u = (vu)x;
    vu even = u + 0x7fffu + ((u >> 16) & 1u);
    vu nan = (vu)((vi)((u & 0x7fffffffu) > 0x7f800000u));
    return (vf)(((even & ~nan) | ((u | 0x400000u) & nan)) & 0xffff0000u);
}

INLINE void store(float* p, vf v) { memcpy(p, &v, sizeof v); }
INLINE void store(bf16* p, vf v) {
    vh h = __builtin_convertvector((vu)rounded(v) >> 16, vh);
    memcpy(p, &h, sizeof h);
}

template <class T>
INLINE void store_some(T* p, vf v, int n) {
    T padded[LANES];
    store(padded, v);
    memcpy(p, padded, n * sizeof(T));
}

template <class T>
INLINE vf load_up_to(const T* p, int n) {
    return n >= LANES ? load(p) : load_some(p, n);
}

template <class T>
INLINE void store_up_to(T* p, vf v, int n) {
    if (n >= LANES) store(p, v);
    else store_some(p, v, n);
}

typedef float v4 __attribute__((vector_size(16)));

INLINE v4 halves_added(const float* x, int n) {
    v4 low, high;
    if (n == 8) {
        memcpy(&low, x, 16);
        memcpy(&high, x + 4, 16);
        return low + high;
    }
    v4 even, odd;
    memcpy(&low, x, 16);
    memcpy(&high, x + 8, 16);
    even = low + high;
    memcpy(&low, x + 4, 16);
    memcpy(&high, x + 12, 16);
    odd = low + high;
    return even + odd;
}

// Value i + value i + half, again and again: the same order for every caller.
INLINE float sum(vf v) {
    float x[LANES];
    memcpy(x, &v, sizeof v);
    v4 s = halves_added(x, LANES);
    s += __builtin_shufflevector(s, s, 2, 3, 0, 1);
    return s[0] + s[1];
}

// The sums of four vectors, each in the order of `sum`, in a quarter of its steps.
INLINE v4 four_sums(vf a, vf b, vf c, vf d) {
#define SHUFFLED __builtin_shufflevector
#if defined(__AVX512F__)
    vf ab = SHUFFLED(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
            SHUFFLED(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    vf cd = SHUFFLED(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
            SHUFFLED(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    vf s = SHUFFLED(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           SHUFFLED(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    s += SHUFFLED(s, s, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    s += SHUFFLED(s, s, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return SHUFFLED(s, s, 0, 4, 8, 12);
#else
    vf ab = SHUFFLED(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLED(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    vf cd = SHUFFLED(c, d, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLED(c, d, 4, 5, 6, 7, 12, 13, 14, 15);
    vf s = SHUFFLED(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLED(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    vf t = s + SHUFFLED(s, s, 1, 0, 3, 2, 5, 4, 7, 6);
    return SHUFFLED(t, t, 0, 4, 2, 6);
#endif
#undef SHUFFLED
}

INLINE vf larger(vf a, vf b) {
    vi first = a > b;
    return (vf)(((vi)a & first) | ((vi)b & ~first));
}

INLINE float largest(vf v) {
    float x[LANES];
    memcpy(x, &v, sizeof v);
    float m = x[0];
    for (int i = 1; i < LANES; i++) m = x[i] > m ? x[i] : m;
    return m;
}

// e^x for x <= 0, 0 below -87; relative error under 2e-7 (Cody-Waite, degree 6).
INLINE vf exp_nonpositive(vf x) {
    vi alive = x > splat(-87.0f);
    x = larger(x, splat(-87.0f));
    const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    vf shifted = fused(x, splat(1.44269504088896341f), magic);
    vi power = (vi)shifted - (vi)magic;
    vf n = shifted - magic;
    vf r = fused(n, splat(-0.693359375f), x);
    r = fused(n, splat(2.12194440e-4f), r);
    vf p = splat(1.9875691500e-4f);
    p = fused(p, r, splat(1.3981999507e-3f));
    p = fused(p, r, splat(8.3334519073e-3f));
    p = fused(p, r, splat(4.1665795894e-2f));
    p = fused(p, r, splat(1.6666665459e-1f));
    p = fused(p, r, splat(5.0000001201e-1f));
    p = fused(p, r * r, r + splat(1.0f));
    vi bits = (vi)p + (power << 23);
    return (vf)(bits & alive);
}
