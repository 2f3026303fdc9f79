// Vectors as wide as AVX (8 floats or 4 doubles), or half of that where there is no AVX.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifndef SNAPRUN_NS
#define SNAPRUN_NS portable
#endif

#define SNAPRUN_INLINE inline __attribute__((always_inline))

namespace snaprun {
namespace SNAPRUN_NS {

#ifdef __AVX__
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float Vec __attribute__((vector_size(kBytes), may_alias, aligned(kBytes)));
    typedef int32_t Mask __attribute__((vector_size(kBytes)));
};

template <>
struct Simd<double> {
    typedef double Vec __attribute__((vector_size(kBytes), may_alias, aligned(kBytes)));
    typedef int64_t Mask __attribute__((vector_size(kBytes)));
};

template <class T>
using Vec = typename Simd<T>::Vec;

template <class T>
constexpr int kWidth = kBytes / sizeof(T);

template <class T>
using Bits = typename Simd<T>::Mask;

template <class T>
SNAPRUN_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
SNAPRUN_INLINE void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, sizeof v);
}

template <class T>
SNAPRUN_INLINE Vec<T> splat(T x) {
    return x - Vec<T>{};
}

// Returns the product that it is given, rounded: the compiler may not fuse it with an addition.
// Two loops that must compute the same bits need this, for a compiler fuses in one and not in another.
template <class V>
SNAPRUN_INLINE V rounded(V product) {
#if defined(__x86_64__)
    asm("" : "+x"(product));
#elif defined(__aarch64__)
    asm("" : "+w"(product));
#else
    asm("" : "+m"(product));
#endif
    return product;
}

template <class T>
SNAPRUN_INLINE T sum(Vec<T> v) {
    T total = 0;
    for (int i = 0; i < kWidth<T>; ++i) total += v[i];
    return total;
}

// Sums of kWidth vectors at once: element i of the result is the sum of v[i].
#ifdef __AVX__
#if defined(__clang__) || __GNUC__ >= 12
#define SNAPRUN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SNAPRUN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype((a) < (b)){__VA_ARGS__})
#endif

SNAPRUN_INLINE Vec<float> sums(const Vec<float>* v) {
    Vec<float> pair[4], quad[2];
    for (int i = 0; i < 4; ++i)
        pair[i] = SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
                  SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    for (int i = 0; i < 2; ++i)
        quad[i] = SNAPRUN_SHUFFLE(pair[2 * i], pair[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
                  SNAPRUN_SHUFFLE(pair[2 * i], pair[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    return SNAPRUN_SHUFFLE(quad[0], quad[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           SNAPRUN_SHUFFLE(quad[0], quad[1], 4, 5, 6, 7, 12, 13, 14, 15);
}

SNAPRUN_INLINE Vec<double> sums(const Vec<double>* v) {
    Vec<double> pair[2];
    for (int i = 0; i < 2; ++i)
        pair[i] = SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 0, 4, 2, 6) +
                  SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 1, 5, 3, 7);
    return SNAPRUN_SHUFFLE(pair[0], pair[1], 0, 1, 4, 5) +
           SNAPRUN_SHUFFLE(pair[0], pair[1], 2, 3, 6, 7);
}

// out[i] += Σ of v[i], i < 4.
inline void add_sums(float* out, const Vec<float> v[4]) {
    Vec<float> pair[2];
    for (int i = 0; i < 2; ++i)
        pair[i] = SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13) +
                  SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    const Vec<float> s = SNAPRUN_SHUFFLE(pair[0], pair[1], 0, 1, 8, 9, 4, 5, 12, 13) +
                         SNAPRUN_SHUFFLE(pair[0], pair[1], 2, 3, 10, 11, 6, 7, 14, 15);
    for (int i = 0; i < 4; ++i) out[i] += s[i] + s[i + 4];
}

inline void add_sums(double* out, const Vec<double> v[4]) {
    Vec<double> pair[2];
    for (int i = 0; i < 2; ++i)
        pair[i] = SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 0, 4, 2, 6) +
                  SNAPRUN_SHUFFLE(v[2 * i], v[2 * i + 1], 1, 5, 3, 7);
    const Vec<double> s = SNAPRUN_SHUFFLE(pair[0], pair[1], 0, 1, 4, 5) +
                          SNAPRUN_SHUFFLE(pair[0], pair[1], 2, 3, 6, 7);
    store(out, load(out) + s);
}
#else
template <class T>
SNAPRUN_INLINE Vec<T> sums_of(const Vec<T>* v) {
    Vec<T> out;
    for (int i = 0; i < kWidth<T>; ++i) out[i] = sum<T>(v[i]);
    return out;
}

SNAPRUN_INLINE Vec<float> sums(const Vec<float>* v) { return sums_of<float>(v); }
SNAPRUN_INLINE Vec<double> sums(const Vec<double>* v) { return sums_of<double>(v); }

template <class T>
SNAPRUN_INLINE void add_sums_of(T* out, const Vec<T>* v) {
    for (int i = 0; i < 4; ++i) out[i] += sum<T>(v[i]);
}

inline void add_sums(float* out, const Vec<float> v[4]) { add_sums_of<float>(out, v); }
inline void add_sums(double* out, const Vec<double> v[4]) { add_sums_of<double>(out, v); }
#endif

}  // namespace SNAPRUN_NS
}  // namespace snaprun
