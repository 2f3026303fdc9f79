// What the engine needs of vectors beyond simd.hpp.
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
using Bits = typename Simd<T>::Mask;

// out[i] += Σ of v[i], i < 4.
inline void add_sums(float* out, const Vec<float> v[4]) {
    typedef int32_t I __attribute__((vector_size(32)));
    const I low{0, 8, 1, 9, 4, 12, 5, 13}, high{2, 10, 3, 11, 6, 14, 7, 15};
    Vec<float> t0 = __builtin_shuffle(v[0], v[1], low) + __builtin_shuffle(v[0], v[1], high);
    Vec<float> t1 = __builtin_shuffle(v[2], v[3], low) + __builtin_shuffle(v[2], v[3], high);
    const I even{0, 1, 8, 9, 4, 5, 12, 13}, odd{2, 3, 10, 11, 6, 7, 14, 15};
    Vec<float> s = __builtin_shuffle(t0, t1, even) + __builtin_shuffle(t0, t1, odd);
    for (int i = 0; i < 4; ++i) out[i] += s[i] + s[i + 4];
}

inline void add_sums(double* out, const Vec<double> v[4]) {
    typedef int64_t I __attribute__((vector_size(32)));
    const I low{0, 4, 2, 6}, high{1, 5, 3, 7};
    Vec<double> t0 = __builtin_shuffle(v[0], v[1], low) + __builtin_shuffle(v[0], v[1], high);
    Vec<double> t1 = __builtin_shuffle(v[2], v[3], low) + __builtin_shuffle(v[2], v[3], high);
    const I front{0, 1, 4, 5}, back{2, 3, 6, 7};
    Vec<double> s = __builtin_shuffle(t0, t1, front) + __builtin_shuffle(t0, t1, back);
    store(out, load(out) + s);
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
