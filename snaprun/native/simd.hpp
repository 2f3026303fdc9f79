// Vectors of 32 bytes: 8 floats or 4 doubles. GCC and Clang lower them to what the target has.
#pragma once

#include <cstddef>
#include <cstring>

#ifndef SNAPRUN_NS
#define SNAPRUN_NS portable
#endif

#define SNAPRUN_INLINE inline __attribute__((always_inline))

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float Vec __attribute__((vector_size(32), may_alias, aligned(32)));
    typedef int Mask __attribute__((vector_size(32)));
};

template <>
struct Simd<double> {
    typedef double Vec __attribute__((vector_size(32), may_alias, aligned(32)));
    typedef long long Mask __attribute__((vector_size(32)));
};

template <class T>
using Vec = typename Simd<T>::Vec;

template <class T>
constexpr int kWidth = 32 / sizeof(T);

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

template <class T>
SNAPRUN_INLINE T sum(Vec<T> v) {
    T total = 0;
    for (int i = 0; i < kWidth<T>; ++i) total += v[i];
    return total;
}

// Sums of 8 (4) vectors at once: element i of the result is the sum of v[i].
SNAPRUN_INLINE Vec<float> sums(const Vec<float>* v) {
    using M = Simd<float>::Mask;
    Vec<float> pair[4], quad[2];
    for (int i = 0; i < 4; ++i)
        pair[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], M{0, 8, 2, 10, 4, 12, 6, 14}) +
                  __builtin_shuffle(v[2 * i], v[2 * i + 1], M{1, 9, 3, 11, 5, 13, 7, 15});
    for (int i = 0; i < 2; ++i)
        quad[i] = __builtin_shuffle(pair[2 * i], pair[2 * i + 1], M{0, 1, 8, 9, 4, 5, 12, 13}) +
                  __builtin_shuffle(pair[2 * i], pair[2 * i + 1], M{2, 3, 10, 11, 6, 7, 14, 15});
    return __builtin_shuffle(quad[0], quad[1], M{0, 1, 2, 3, 8, 9, 10, 11}) +
           __builtin_shuffle(quad[0], quad[1], M{4, 5, 6, 7, 12, 13, 14, 15});
}

SNAPRUN_INLINE Vec<double> sums(const Vec<double>* v) {
    using M = Simd<double>::Mask;
    Vec<double> pair[2];
    for (int i = 0; i < 2; ++i)
        pair[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], M{0, 4, 2, 6}) +
                  __builtin_shuffle(v[2 * i], v[2 * i + 1], M{1, 5, 3, 7});
    return __builtin_shuffle(pair[0], pair[1], M{0, 1, 4, 5}) +
           __builtin_shuffle(pair[0], pair[1], M{2, 3, 6, 7});
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
