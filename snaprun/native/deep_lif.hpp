// The spiking cell of deep feed-forward networks, snaprun.cells.deep_lif.
#pragma once

#include "step.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// The state is (z, m, n, f). Slopes and blocks that are 0 for every input stay as they were allocated.
struct DeepLIF {
    static CellInfo info() {
        return {"deep_lif", {"1", "1", "0", "1"}, {"leak", "threshold", "hard", "attached"}, kF};
    }
    template <bool kSlopes, class T>
    static void step(const CellStep<T>& s);

private:
    static constexpr int kZ = 0, kM = 1, kN = 2, kF = 3, kC = 4;
};

template <bool kSlopes, class T>
void DeepLIF::step(const CellStep<T>& s) {
    const T leak = s.constants[0], theta = s.constants[1];
    const bool hard = s.constants[2] != 0, attached = s.constants[3] != 0;
    const Vec<T> zero = {}, one = splat(T(1));
    for (int i = 0, size = s.units * s.stride; i < size; i += kWidth<T>) {
        auto part = [&](int p) { return s.state + size_t(p) * s.size + i; };
        const Vec<T> real = load(s.ones + i % s.stride);
        const Vec<T> sent = load(part(kZ)), before = load(part(kM)), f = load(part(kF));
        const Vec<T> kept = hard ? before * (one - sent) : before - theta * sent;
        const Vec<T> m = leak * kept + load(s.pre + i), above = m - theta;
        const Vec<T> z = above > zero ? one : zero, n = load(part(kN)) + one;
        store(part(kZ), z);
        store(part(kM), m);
        store(part(kN), real * n);
        store(part(kF), f + (z - f) / n);
        if (!kSlopes) continue;
        const Vec<T> on = sigmoid<T>(T(4) * above), share = one / n;
        const Vec<T> sg = real * (T(4) * on * (one - on));
        const Vec<T> by_m = hard ? leak * (one - sent) : splat(leak);
        auto slope = [&](int p, const Vec<T>& x) { store(s.slopes + size_t(p) * s.size + i, x); };
        auto block = [&](int p, int q, const Vec<T>& x) {
            store(s.blocks + (size_t(p) * kC + q) * s.size + i, x);
        };
        slope(kZ, sg);
        slope(kM, real);
        slope(kF, share * sg);
        block(kZ, kM, sg * by_m);
        block(kM, kM, real * by_m);
        block(kF, kM, share * (sg * by_m));
        block(kF, kF, real * (one - share));
        if (!attached) continue;
        const Vec<T> by_z = -leak * (hard ? before : splat(theta));
        block(kZ, kZ, sg * by_z);
        block(kM, kZ, real * by_z);
        block(kF, kZ, share * (sg * by_z));
    }
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
