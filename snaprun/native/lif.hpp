// The spiking cells of snaprun.cells, LIF and ALIF.
#pragma once

#include <cmath>

#include "step.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// The state is (z, v, r, f), or (z, v, b, r, f) with an adaptive threshold. Slopes and blocks that are
// 0 for every input stay as they were allocated.
template <bool kAdaptive>
struct Spiking {
    static CellInfo info() {
        if (!kAdaptive) return {"lif", {"1", "1", "0", "1"}, constants(), kF};
        std::vector<std::string> more = constants();
        more.insert(more.end(), {"rho", "strength", "adaptive"});
        return {"alif", {"1", "1", "1", "0", "1"}, more, kF};
    }
    template <bool kSlopes, class T>
    static void step(const CellStep<T>& s);

private:
    static constexpr int kZ = 0, kV = 1, kB = 2, kR = 2 + kAdaptive, kF = kR + 1, kC = kF + 1;
    static std::vector<std::string> constants() {
        return {"alpha", "kappa", "v_th", "gamma", "refractory", "attached"};
    }
};

template <bool kAdaptive>
template <bool kSlopes, class T>
void Spiking<kAdaptive>::step(const CellStep<T>& s) {
    const T alpha = s.constants[0], kappa = s.constants[1], v_th = s.constants[2];
    const T steep = s.constants[3] / v_th, inverse = 1 / v_th, n_ref = s.constants[4];
    const T through_reset = -v_th * s.constants[5];
    const T rho = kAdaptive ? s.constants[6] : T(0);
    const int first = kAdaptive ? s.units - int(std::nearbyint(s.constants[8] * s.units)) : s.units;
    const Vec<T> zero = {}, one = splat(T(1));
    for (int u = 0; u < s.units; ++u) {
        const T beta = u >= first ? s.constants[7] : T(0);
        for (int i = u * s.stride, b = 0; b < s.stride; i += kWidth<T>, b += kWidth<T>) {
            auto part = [&](int p) { return s.state + size_t(p) * s.size + i; };
            const Vec<T> r = load(part(kR));
            const Vec<T> v = alpha * load(part(kV)) + load(s.pre + i) - v_th * load(part(kZ));
            Vec<T> above = v - v_th, adapted = {};
            if (kAdaptive) {
                adapted = load(part(kB));
                above -= beta * adapted;
            }
            const Vec<T> ready = r <= zero ? one : zero;
            const Vec<T> z = above > zero ? ready : zero;
            Vec<T> left = r + n_ref * z - T(1);
            left = left > zero ? left : zero;
            store(part(kZ), z);
            store(part(kV), v);
            if (kAdaptive) store(part(kB), rho * adapted + z);
            store(part(kR), left < n_ref ? left : splat(n_ref));
            store(part(kF), kappa * load(part(kF)) + (1 - kappa) * z);
            if (!kSlopes) continue;
            const Vec<T> real = load(s.ones + b);
            const Vec<T> distance = above > zero ? above : -above;
            Vec<T> psi = T(1) - inverse * distance;
            psi = real * ready * (steep * (psi > zero ? psi : zero));
            const Vec<T> by_v = psi * alpha, by_z = psi * through_reset, by_b = -beta * psi;
            auto slope = [&](int p, const Vec<T>& x) { store(s.slopes + size_t(p) * s.size + i, x); };
            auto block = [&](int p, int q, const Vec<T>& x) {
                store(s.blocks + (size_t(p) * kC + q) * s.size + i, x);
            };
            slope(kZ, psi);
            slope(kV, real);
            slope(kF, (1 - kappa) * psi);
            block(kZ, kZ, by_z);
            block(kZ, kV, by_v);
            block(kV, kZ, through_reset * real);
            block(kV, kV, alpha * real);
            block(kF, kZ, (1 - kappa) * by_z);
            block(kF, kV, (1 - kappa) * by_v);
            block(kF, kF, kappa * real);
            if (!kAdaptive) continue;
            slope(kB, psi);
            block(kZ, kB, by_b);
            block(kB, kZ, by_z);
            block(kB, kV, by_v);
            block(kB, kB, by_b + rho * real);
            block(kF, kB, (1 - kappa) * by_b);
        }
    }
}

using LIF = Spiking<false>;
using ALIF = Spiking<true>;

}  // namespace SNAPRUN_NS
}  // namespace snaprun
