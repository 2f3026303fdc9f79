// The cells of snaprun.cells compute next state, ∂s'/∂a and ∂s'/∂s per unit, lanes innermost.
#pragma once

#include "deep_lif.hpp"
#include "lif.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

struct Vanilla {
    static CellInfo info() { return {"vanilla", {"1"}, {"alpha"}}; }
    template <bool kSlopes, class T>
    static void step(const CellStep<T>& s);
};

template <bool kSlopes, class T>
void Vanilla::step(const CellStep<T>& s) {
    const T alpha = s.constants[0], keep = 1 - alpha;
    for (int i = 0, size = s.units * s.stride; i < size; i += kWidth<T>) {
        const Vec<T> one = load(s.ones + i % s.stride);
        const Vec<T> t = tanh<T>(load(s.pre + i));
        store(s.state + i, keep * load(s.state + i) + alpha * t);
        if (!kSlopes) continue;
        store(s.slopes + i, one * (alpha * (T(1) - t * t)));
        store(s.blocks + i, one * keep);
    }
}

struct GRU {
    static CellInfo info() { return {"gru", {"1111"}, {}}; }
    template <bool kSlopes, class T>
    static void step(const CellStep<T>& s);
};

template <bool kSlopes, class T>
void GRU::step(const CellStep<T>& s) {
    const int size = s.size;
    for (int u = 0; u < s.units; ++u) {
        const T* pre = s.pre + size_t(u) * 4 * s.stride;
        for (int b = 0; b < s.stride; b += kWidth<T>) {
            const int i = u * s.stride + b;
            const Vec<T> one = load(s.ones + b), h = load(s.state + i);
            const Vec<T> n_h = load(pre + 3 * s.stride + b);
            const Vec<T> z = sigmoid<T>(load(pre + b)), r = sigmoid<T>(load(pre + s.stride + b));
            const Vec<T> n = tanh<T>(load(pre + 2 * s.stride + b) + r * n_h);
            store(s.state + i, n + z * (h - n));
            if (!kSlopes) continue;
            const Vec<T> dh_dnx = one * ((T(1) - z) * (T(1) - n * n));
            const Vec<T> dh_dnh = dh_dnx * r;
            store(s.slopes + i, one * (z * (T(1) - z) * (h - n)));
            store(s.slopes + size + i, dh_dnh * (T(1) - r) * n_h);
            store(s.slopes + 2 * size + i, dh_dnx);
            store(s.slopes + 3 * size + i, dh_dnh);
            store(s.blocks + i, one * z);
        }
    }
}

struct LSTM {
    static CellInfo info() { return {"lstm", {"1111", "1110"}, {}}; }
    template <bool kSlopes, class T>
    static void step(const CellStep<T>& s);
};

// State (h, c). ∂h'/∂h, ∂c'/∂h and ∂c'/∂o stay 0 as they were allocated.
template <bool kSlopes, class T>
void LSTM::step(const CellStep<T>& s) {
    const int size = s.size;
    T* const dh = s.slopes;
    T* const dc = kSlopes ? s.slopes + size_t(4) * size : nullptr;
    for (int u = 0; u < s.units; ++u) {
        const T* pre = s.pre + size_t(u) * 4 * s.stride;
        for (int b = 0; b < s.stride; b += kWidth<T>) {
            const int k = u * s.stride + b;
            const Vec<T> one = load(s.ones + b), c_tm1 = load(s.state + size + k);
            const Vec<T> i = sigmoid<T>(load(pre + b)), f = sigmoid<T>(load(pre + s.stride + b));
            const Vec<T> g = tanh<T>(load(pre + 2 * s.stride + b));
            const Vec<T> o = sigmoid<T>(load(pre + 3 * s.stride + b));
            const Vec<T> c = f * c_tm1 + i * g, t = tanh<T>(c);
            store(s.state + k, o * t);
            store(s.state + size + k, c);
            if (!kSlopes) continue;
            const Vec<T> dh_dc = o * (T(1) - t * t);
            const Vec<T> di = one * (i * (T(1) - i) * g), df = one * (f * (T(1) - f) * c_tm1);
            const Vec<T> dg = one * (i * (T(1) - g * g));
            store(dc + k, di);
            store(dc + size + k, df);
            store(dc + 2 * size + k, dg);
            store(dh + k, di * dh_dc);
            store(dh + size + k, df * dh_dc);
            store(dh + 2 * size + k, dg * dh_dc);
            store(dh + 3 * size + k, one * (o * (T(1) - o) * t));
            store(s.blocks + size + k, one * (dh_dc * f));
            store(s.blocks + 3 * size + k, one * f);
        }
    }
}

template <class T>
struct CellEntry : CellInfo {
    void (*step)(const CellStep<T>&);
    void (*plain)(const CellStep<T>&);  // without slopes

    template <class Cell>
    static CellEntry of() {
        return {Cell::info(), &Cell::template step<true, T>, &Cell::template step<false, T>};
    }
};

// All cells. To add one, write a struct above and a line here.
template <class T>
const std::vector<CellEntry<T>>& cells() {
    using E = CellEntry<T>;
    static const std::vector<E> all{
        E::template of<Vanilla>(), E::template of<GRU>(), E::template of<LSTM>(),
        E::template of<LIF>(), E::template of<ALIF>(), E::template of<DeepLIF>()};
    return all;
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
