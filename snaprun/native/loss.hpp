// The losses are the twins of snaprun.losses, with lanes innermost.
#pragma once

#include <cmath>

#include "buffer.hpp"
#include "engine.hpp"
#include "math.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

struct LossSetup {
    int outputs, lanes, stride;
};

// One step of all lanes. The loss and error of a lane without a target are zero.
template <class T>
struct LossStep {
    const T* outputs;        // (O, stride), of the readout
    const int64_t* classes;  // (B), or
    const T* values;         // (B, O): the targets
    const uint8_t* mask;     // (B)
    T* losses;               // (B)
    T* error;                // (O, stride): ∂loss/∂outputs
};

template <class T>
class Loss {
public:
    virtual ~Loss() = default;
    virtual void value_and_error(const LossStep<T>& s) = 0;
};

// −log softmax(outputs)_target, in nats.
template <class T>
class SoftmaxCrossEntropy final : public Loss<T> {
public:
    static LossInfo info() { return {"softmax", true}; }
    explicit SoftmaxCrossEntropy(const LossSetup& s)
        : outputs_(s.outputs), lanes_(s.lanes), stride_(s.stride), greatest_(s.stride),
          total_(s.stride) {}

    void value_and_error(const LossStep<T>& s) override {
        for (int b = 0; b < stride_; b += kWidth<T>) {
            Vec<T> greatest = load(s.outputs + b), total = {};
            for (int o = 1; o < outputs_; ++o) {
                const Vec<T> v = load(s.outputs + o * stride_ + b);
                greatest = v > greatest ? v : greatest;
            }
            for (int o = 0; o < outputs_; ++o) {
                const Vec<T> e = exp<T>(load(s.outputs + o * stride_ + b) - greatest);
                store(s.error + o * stride_ + b, e);
                total += e;
            }
            for (int o = 0; o < outputs_; ++o) {
                T* const p = s.error + o * stride_ + b;
                store(p, load(p) / total);
            }
            store(greatest_.data() + b, greatest);
            store(total_.data() + b, total);
        }
        for (int b = 0; b < stride_; ++b) {
            const T kept = b < lanes_ && s.mask[b] ? T(1) : T(0);
            if (b < lanes_) {
                const int64_t y = s.classes[b];
                const T log_p = s.outputs[y * stride_ + b] - greatest_[b] - std::log(total_[b]);
                s.losses[b] = -log_p * kept;
                s.error[y * stride_ + b] -= 1;
            }
            if (kept == 0) {
                for (int o = 0; o < outputs_; ++o) s.error[o * stride_ + b] *= kept;
            }
        }
    }

private:
    int outputs_, lanes_, stride_;
    Buffer<T> greatest_, total_;
};

// Σ_o −[y log σ(x) + (1 − y) log(1 − σ(x))] of outputs x and bits y, in nats.
template <class T>
class SigmoidCrossEntropy final : public Loss<T> {
public:
    static LossInfo info() { return {"sigmoid", false}; }
    explicit SigmoidCrossEntropy(const LossSetup& s)
        : outputs_(s.outputs), lanes_(s.lanes), stride_(s.stride) {}

    void value_and_error(const LossStep<T>& s) override {
        const size_t size = size_t(outputs_) * stride_;
        for (size_t i = 0; i < size; i += kWidth<T>) {
            const Vec<T> x = load(s.outputs + i);
            store(s.error + i, exp<T>(x > T(0) ? -x : x));  // at most 1: nothing overflows
        }
        for (int b = 0; b < lanes_; ++b) s.losses[b] = 0;
        for (int o = 0; o < outputs_; ++o) {
            T* const error = s.error + size_t(o) * stride_;
            for (int b = 0; b < stride_; ++b) {
                if (b >= lanes_ || !s.mask[b]) {
                    error[b] = 0;
                    continue;
                }
                const T x = s.outputs[size_t(o) * stride_ + b];
                const T y = s.values[size_t(b) * outputs_ + o];
                const T small = error[b];
                s.losses[b] += (x > 0 ? x : T(0)) - x * y + std::log1p(small);
                error[b] = (x > 0 ? T(1) : small) / (1 + small) - y;
            }
        }
    }

private:
    int outputs_, lanes_, stride_;
};

// Σ_o (outputs_o − y_o)² / O.
template <class T>
class MeanSquaredError final : public Loss<T> {
public:
    static LossInfo info() { return {"mse", false}; }
    explicit MeanSquaredError(const LossSetup& s)
        : outputs_(s.outputs), lanes_(s.lanes), stride_(s.stride) {}

    void value_and_error(const LossStep<T>& s) override {
        for (int b = 0; b < lanes_; ++b) s.losses[b] = 0;
        for (int o = 0; o < outputs_; ++o) {
            const size_t row = size_t(o) * stride_;
            for (int b = 0; b < stride_; ++b) {
                const bool kept = b < lanes_ && s.mask[b];
                const T apart = kept ? s.outputs[row + b] - s.values[size_t(b) * outputs_ + o] : T(0);
                if (kept) s.losses[b] += apart * apart / outputs_;
                s.error[row + b] = apart * 2 / outputs_;
            }
        }
    }

private:
    int outputs_, lanes_, stride_;
};

// All losses. To add one, write a class above and a line here.
template <class T>
const auto& losses() {
    using E = Entry<LossInfo, Loss<T>, LossSetup>;
    static const std::vector<E> all{E::template of<SoftmaxCrossEntropy<T>>(),
                                    E::template of<SigmoidCrossEntropy<T>>(),
                                    E::template of<MeanSquaredError<T>>()};
    return all;
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
