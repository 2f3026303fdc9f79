// exp, expm1, tanh and the logistic function on vectors; NaN stays NaN.
#pragma once

#include "simd.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
struct MathConstants;

template <>
struct MathConstants<float> {
    static constexpr float magic = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
    static constexpr int mantissa = 23, bias = 127, degree = 7;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float most = 87.0f, tanh_most = 20.0f;
};

template <>
struct MathConstants<double> {
    static constexpr double magic = 6755399441055744.0;  // 1.5 · 2^52
    static constexpr int mantissa = 52, bias = 1023, degree = 13;
    static constexpr double ln2_high = 6.93147180369123816490e-01;
    static constexpr double ln2_low = 1.90821492927058770002e-10;
    static constexpr double most = 708.0, tanh_most = 40.0;
};

// e^x - 1 as 2^n p + (2^n - 1) with p = e^r - 1 and |r| ≤ ln 2 / 2; |x| must be at most `most`.
template <class T>
inline void exp_parts(Vec<T> x, Vec<T>& p, Vec<T>& power) {
    using C = MathConstants<T>;
    Vec<T> shifted = x * T(1.4426950408889634) + C::magic;
    Vec<T> n = shifted - C::magic;
    Vec<T> r = (x - n * C::ln2_high) - n * C::ln2_low;
    power = (Vec<T>)(((Bits<T>)shifted + C::bias) << C::mantissa);
    // Σ r^i / i!, i ≥ 2. Two halves would be shorter chains, but several calls overlap anyway.
    constexpr double factor[] = {1.0,
                                 1.0,
                                 1.0 / 2,
                                 1.0 / 6,
                                 1.0 / 24,
                                 1.0 / 120,
                                 1.0 / 720,
                                 1.0 / 5040,
                                 1.0 / 40320,
                                 1.0 / 362880,
                                 1.0 / 3628800,
                                 1.0 / 39916800,
                                 1.0 / 479001600,
                                 1.0 / 6227020800};
    Vec<T> q = splat(T(factor[C::degree]));
#pragma GCC unroll 16
    for (int i = C::degree - 1; i >= 2; --i) q = q * r + T(factor[i]);
    p = r + r * r * q;
}

template <class T>
inline Vec<T> sigmoid(Vec<T> x) {
    constexpr T most = MathConstants<T>::most;
    Vec<T> y = -x;
    y = y > splat(most) ? splat(most) : y;
    y = y < splat(-most) ? splat(-most) : y;
    Vec<T> p, power;
    exp_parts<T>(y, p, power);
    return T(1) / ((T(1) + power) + power * p);
}

template <class T>
inline Vec<T> exp(Vec<T> x) {
    constexpr T most = MathConstants<T>::most;
    Vec<T> y = x > splat(most) ? splat(most) : x;
    y = y < splat(-most) ? splat(-most) : y;
    Vec<T> p, power;
    exp_parts<T>(y, p, power);
    return power + power * p;
}

// tanh |x| = -m / (2 + m), m = e^(-2|x|) - 1.
template <class T>
inline Vec<T> tanh(Vec<T> x) {
    constexpr T most = MathConstants<T>::tanh_most;
    Vec<T> y = T(2) * (x < T(0) ? x : -x);
    y = y < splat(-2 * most) ? splat(-2 * most) : y;
    Vec<T> p, power;
    exp_parts<T>(y, p, power);
    Vec<T> m = power * p + (power - T(1));
    Vec<T> t = -m / (T(2) + m);
    return x < T(0) ? -t : t;
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
