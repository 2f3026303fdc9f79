// The arrays of a sequence, as Python gives them.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "bindings.hpp"
#include "overlap.hpp"

namespace snaprun {

// Points `to` at θ and the other parameters.
template <class T>
void point(const EngineConfig& config, const Array<T>& theta, const std::vector<Array<T>>& others,
           T** to) {
    const Pattern& p = config.pattern;
    require_shape(theta, "theta", {p.parameters});
    to[0] = theta.data();
    const int widths[3] = {config.seen(), config.hidden ? config.hidden : config.outputs,
                           config.outputs};
    const size_t layers = config.hidden ? 2 : 1;
    require(others.size() == 2 * layers + (config.k_att ? 3 : 0),
            "the readout has another number of layers");
    for (size_t l = 0; l < layers; ++l) {
        require_shape(others[2 * l], "a readout weight", {widths[l + 1], widths[l]});
        require_shape(others[2 * l + 1], "a readout bias", {widths[l + 1]});
    }
    if (config.k_att) {
        const int64_t units = p.layers.back();
        require_shape(others[2 * layers], "W1", {units, units});
        require_shape(others[2 * layers + 1], "W2", {units, units});
        require_shape(others[2 * layers + 2], "w3", {units});
    }
    for (size_t i = 0; i < others.size(); ++i) to[1 + i] = others[i].data();
}

template <class T>
Apart written(const Array<T>& theta, const std::vector<Array<T>>& others) {
    Apart arrays;
    arrays.writes(theta, "theta");
    for (const Array<T>& parameter : others) arrays.writes(parameter, "a readout parameter");
    return arrays;
}

template <class T>
struct Arrays {
    Array<T> theta;
    std::vector<Array<T>> others;
    std::optional<Array<const int64_t>> index;
    std::optional<Array<const T>> dense;
    std::optional<Array<const int64_t>> classes;
    std::optional<Array<const T>> values;
    Array<const bool> mask, resets;
    std::optional<Array<const int8_t>> noise;
    Array<T> losses;
    std::optional<Array<T>> outputs;

    // The sequence, without the indices and classes, which the caller copies. Its first step has
    // row `first` of losses and outputs.
    Sequence<T> checked(const EngineConfig& config, int64_t first) const {
        const Pattern& p = config.pattern;
        Sequence<T> s;
        point(config, theta, others, s.parameters);
        require(mask.ndim() == 2, "mask must have the shape (T, B)");
        const int64_t steps = int64_t(mask.shape(0)), lanes = config.lanes;
        require(first >= 0 && first <= int64_t(1) << 40, "no such first step");
        const int64_t rows = losses.ndim() ? std::max(int64_t(losses.shape(0)), first + steps) : 0;
        require_shape(mask, "mask", {steps, lanes});
        require_shape(resets, "resets", {steps, lanes});
        require_shape(losses, "losses", {rows, lanes});
        if (index) require_shape(*index, "indices", {steps, lanes});
        if (dense) {
            require_shape(*dense, "inputs", {steps, lanes, config.inputs});
            s.dense = dense->data();
        }
        const bool of_classes = find(known().losses, config.loss)->classes;
        require(classes.has_value() == of_classes && values.has_value() != of_classes,
                "targets are either classes or numbers, as the loss wants them");
        if (classes) {
            require_shape(*classes, "classes", {steps, lanes});
        } else {
            require_shape(*values, "values", {steps, lanes, config.outputs});
            s.values = values->data();
        }
        if (find(known().rules, config.rule)->noise) {
            require(noise.has_value(), "this rule needs noise");
            require_shape(*noise, "noise", {steps, lanes, p.components, p.units});
            s.noise = noise->data();
        }
        if (outputs) {
            require_shape(*outputs, "outputs", {rows, lanes, config.outputs});
            s.outputs = outputs->data() + first * lanes * config.outputs;
        }
        s.steps = steps;
        s.before = first;
        s.left = rows - first;
        s.mask = reinterpret_cast<const uint8_t*>(mask.data());
        s.resets = reinterpret_cast<const uint8_t*>(resets.data());
        s.losses = losses.data() + first * lanes;
        Apart arrays = written(theta, others);
        arrays.writes(losses, "losses");
        if (outputs) arrays.writes(*outputs, "outputs");
        if (dense) arrays.reads(*dense, "dense");
        if (values) arrays.reads(*values, "values");
        if (noise) arrays.reads(*noise, "noise");
        arrays.reads(mask, "mask");
        arrays.reads(resets, "resets");
        arrays.require();
        return s;
    }
};

}  // namespace snaprun
