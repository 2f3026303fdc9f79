// Maps h to the loss and back, as snaprun.model.readout, with lanes innermost.
#pragma once

#include "dense.hpp"
#include "loss.hpp"
#include "optim.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// The data of one step. Parameter 0 is θ; 1 + 2l and 2 + 2l are weight and bias of layer l.
template <class T>
struct ReadoutStep {
    T* const* parameters;
    const int64_t* classes;  // (B), or
    const T* values;         // (B, O): the targets
    const uint8_t* mask;     // (B)
    T* losses;               // (B)
    T* credit;               // (k, stride): δ, or that on [h; s] (2 k, stride)
    // If this step ends a window and the gradient is not clipped, the optimiser steps on `scale`
    // times the gradient as soon as the gradient of a few rows of a layer is known.
    Optimiser<T>* optimiser;
    T scale;
};

template <class T>
class Readout {
public:
    Readout(const EngineConfig& c, int stride)
        : layers_(c.hidden ? 2 : 1), lanes_(c.lanes), stride_(stride),
          loss_(find(losses<T>(), c.loss)->make({c.outputs, c.lanes, stride})),
          rows_(size_t(kOuterRows) * std::max(c.seen(), c.hidden)) {
        const int widths[3] = {c.seen(), c.hidden ? c.hidden : c.outputs, c.outputs};
        for (int l = 0; l < layers_; ++l) {
            in_[l] = widths[l];
            out_[l] = widths[l + 1];
            across_[l].resize(size_t(lanes_) * pad(in_[l]));
            value_[l].resize(size_t(out_[l]) * stride);
            credit_[l].resize(size_t(out_[l]) * stride);
            weight_gradient_[l].resize(size_t(in_[l]) * out_[l]);
            bias_gradient_[l].resize(out_[l]);
        }
    }

    int layers() const { return layers_; }
    std::vector<size_t> sizes() const {
        std::vector<size_t> sizes;
        for (int l = 0; l < layers_; ++l) {
            sizes.push_back(size_t(in_[l]) * out_[l]);
            sizes.push_back(out_[l]);
        }
        return sizes;
    }
    T* gradient(int i) {
        return i % 2 ? bias_gradient_[i / 2].data() : weight_gradient_[i / 2].data();
    }
    const T* error() const { return credit_[layers_ - 1].data(); }  // ∂L/∂outputs (O, stride)
    // Copies the outputs of the last call of `forward` to `to` (B, O).
    void copy_outputs(T* to) const {
        const T* const from = value_[layers_ - 1].data();
        const int outputs = out_[layers_ - 1];
        for (int b = 0; b < lanes_; ++b) {
            for (int o = 0; o < outputs; ++o) *to++ = from[size_t(o) * stride_ + b];
        }
    }
    // Called at the end of a window, or to resume one that has gradients already.
    void resume(bool with_gradients) { fresh_ = !with_gradients; }
    // Sets the gradients to 0; the next step adds to them.
    void clear() {
        for (int i = 0; i < 2 * layers_; ++i) {
            (i % 2 ? bias_gradient_[i / 2] : weight_gradient_[i / 2]).zero();
        }
        fresh_ = false;
    }

    // Computes the outputs of what the readout sees.
    void forward(T* const* parameters, const T* h) {
        for (int l = 0; l < layers_; ++l) {
            if (l) rectify(value_[l - 1]);
            const T *W = parameters[1 + 2 * l], *bias = parameters[2 + 2 * l];
            const T* const source = l ? value_[l - 1].data() : h;
            transpose(source, in_[l], stride_, lanes_, across_[l].data(), pad(in_[l]));
            if (lanes_ == 1) {
                single_product(W, out_[l], in_[l], bias, across_[l].data(), value_[l].data(),
                               stride_);
            } else {
                product<T>(W, in_[l], 1, out_[l], in_[l], bias, source, value_[l].data(), stride_);
            }
        }
    }

    // After `forward`: computes the loss of the lanes in `mask`.
    void loss(const ReadoutStep<T>& s) {
        const int top = layers_ - 1;
        loss_->value_and_error({value_[top].data(), s.classes, s.values, s.mask, s.losses,
                                credit_[top].data()});
    }

    // After `forward`: computes the loss, the credit, and the parameters' gradients.
    void learn(const ReadoutStep<T>& s) {
        const int top = layers_ - 1;
        loss(s);
        for (int l = top; l >= 0; --l) {
            T* below = l ? credit_[l - 1].data() : s.credit;
            const T* W = s.parameters[1 + 2 * l];
            if (lanes_ == 1) {
                single_transposed(W, out_[l], in_[l], credit_[l].data(), below, stride_);
            } else {
                product<T>(W, 1, in_[l], in_[l], out_[l], nullptr, credit_[l].data(), below,
                           stride_);
            }
            if (l) gate(value_[l - 1], below);
            accumulate(s, l);
        }
        fresh_ = false;
    }

private:
    static size_t pad(size_t count) { return (count + 23) / 8 * 8; }

    // NaN stays NaN, as in torch.
    static void rectify(Buffer<T>& values) {
        for (size_t i = 0; i < values.size(); i += kWidth<T>) {
            const Vec<T> v = load(values.data() + i);
            store(values.data() + i, v < T(0) ? Vec<T>{} : v);
        }
    }

    static void gate(const Buffer<T>& values, T* credit) {
        for (size_t i = 0; i < values.size(); i += kWidth<T>) {
            const Vec<T> v = load(values.data() + i), c = load(credit + i);
            store(credit + i, c * (v > T(0) ? splat(T(1)) : Vec<T>{}));
        }
    }

    void accumulate(const ReadoutStep<T>& s, int l) {
        const int rows = out_[l], columns = in_[l];
        const size_t width = pad(columns);
        const T* const credit = credit_[l].data();
        T* const gradient = weight_gradient_[l].data();
        for (int r = 0; r < rows; r += kOuterRows) {
            const int count = std::min(kOuterRows, rows - r);
            const size_t first = size_t(r) * columns;
            // A gradient that is used at once is not stored.
            T* const here = fresh_ && s.optimiser ? rows_.data() : gradient + first;
            outer(credit + size_t(r) * stride_, stride_, across_[l].data(), width, lanes_, here,
                  count, columns, !fresh_);
            if (s.optimiser) {
                s.optimiser->apply(1 + 2 * l, first, size_t(count) * columns,
                                   s.parameters[1 + 2 * l], here, s.scale);
            }
        }
        T* const bias = bias_gradient_[l].data();
        for (int r = 0; r < rows; ++r) {
            Vec<T> total = {};
            for (int b = 0; b < stride_; b += kWidth<T>) {
                total += load(credit + size_t(r) * stride_ + b);
            }
            bias[r] = (fresh_ ? T(0) : bias[r]) + sum<T>(total);
        }
        if (s.optimiser) {
            s.optimiser->apply(2 + 2 * l, 0, rows, s.parameters[2 + 2 * l], bias, s.scale);
        }
    }

    int layers_, lanes_, stride_;
    int in_[2] = {}, out_[2] = {};
    bool fresh_ = true;
    std::unique_ptr<Loss<T>> loss_;
    Buffer<T> rows_;
    Buffer<T> across_[2];  // the input of each layer as (lanes, width)
    Buffer<T> value_[2], credit_[2], weight_gradient_[2], bias_gradient_[2];
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
