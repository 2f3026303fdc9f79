// Passes vectors from layer to layer within a step; pass_up and pass_down of snaprun.core.jacobians.
#pragma once

#include <cstring>

#include "sparse.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

struct Layer {
    int first, last;  // units
    int source;       // its first input: of x(t), or of the h(t) of the layer below
    int inputs;
};

inline std::vector<Layer> layers_of(const Pattern& p) {
    std::vector<Layer> all{{0, p.layers[0], p.units, p.inputs()}};
    for (size_t l = 1; l < p.layers.size(); ++l) {
        const Layer below = all.back();
        all.push_back({below.last, below.last + p.layers[l], p.passed() + below.first,
                       below.last - below.first});
    }
    return all;
}

// λ ∂s'/∂a of a layer, shape (k, m, stride), of a credit λ (c, k, stride) and slopes
// (c, m, k, stride).
template <class T>
inline void slot_vjp(const Rows& w, const Layer& layer, int components, const T* slopes,
                     const T* credit, T* out) {
    const size_t size = size_t(w.units) * w.stride;
    out += size_t(layer.first) * w.slots * w.stride;
    for (int u = layer.first; u < layer.last; ++u) {
        for (int m = 0; m < w.slots; ++m, out += w.stride) {
            for (int b = 0; b < w.stride; b += kWidth<T>) {
                const size_t i = size_t(u) * w.stride + b;
                Vec<T> total = {};
                for (int p = 0; p < components; ++p) {
                    total += load(credit + p * size + i) * load(slopes + (p * w.slots + m) * size + i);
                }
                store(out + b, total);
            }
        }
    }
}

// λ ← λ (1 − E)^-1, and its slot_vjp in all layers; weight(i) is θ in the order of column_entry.
template <class T, class Weight>
inline void pass_down(const Rows& w, const std::vector<Layer>& layers, int components,
                      const T* slopes, Weight weight, T* credit, T* out) {
    for (size_t l = layers.size(); l-- > 0;) {
        const Layer& layer = layers[l];
        slot_vjp(w, layer, components, slopes, credit, out);
        if (!l) return;
        add_transposed(w, layer.source, layer.inputs, weight, out,
                       credit + size_t(layers[l - 1].first) * w.stride);
    }
}

// v ← (1 − E)^-1 v, with v (c, k, stride). `src` (J, stride) and `pre` (k, m, stride) are scratch.
template <class T>
inline void pass_up(const Rows& w, const std::vector<Layer>& layers, int components,
                    const T* slopes, const T* theta, T* v, T* src, T* pre) {
    const size_t size = size_t(w.units) * w.stride;
    for (size_t l = 1; l < layers.size(); ++l) {
        const Layer& layer = layers[l];
        std::memcpy(src + size_t(layer.source) * w.stride,
                    v + size_t(layers[l - 1].first) * w.stride,
                    size_t(layer.inputs) * w.stride * sizeof(T));
        forward(w, layer.first * w.slots, layer.last * w.slots, theta, src, pre, Entries::inputs);
        for (int u = layer.first; u < layer.last; ++u) {
            for (int b = 0; b < w.stride; b += kWidth<T>) {
                const size_t i = size_t(u) * w.stride + b;
                for (int p = 0; p < components; ++p) {
                    Vec<T> total = load(v + p * size + i);
                    for (int m = 0; m < w.slots; ++m) {
                        total += load(slopes + (p * w.slots + m) * size + i) *
                                 load(pre + (size_t(u) * w.slots + m) * w.stride + b);
                    }
                    store(v + p * size + i, total);
                }
            }
        }
    }
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
