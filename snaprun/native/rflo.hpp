// e ← (∂s'_u/∂s_u) e + ∂s'_u/∂a_m src_j, gradient q_u e; snaprun.rules.rflo.
#pragma once

#include "trace.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class RFLO final : public TraceRule<T> {
    using TraceRule<T>::stride_, TraceRule<T>::units_, TraceRule<T>::traces_;

public:
    static RuleInfo info() { return {"rflo", false, false, true}; }
    explicit RFLO(const RuleSetup& s)
        : TraceRule<T>(s), outputs_(s.config.outputs), read_(s.cell.read),
          top_(s.config.pattern.layers.back()), decay_(s.config.feedback_decay),
          feedback_(s.config.feedback.size()), random_(size_t(s.cell.components()) * units_ * stride_) {
        const std::vector<double>& from = s.config.feedback;
        for (size_t i = 0; i < from.size(); ++i) feedback_[i] = T(from[i]);
    }

    void step(const Step<T>& s, T* gradient) override {
        const bool random = s.error && feedback_.size();
        traces_.step(s, s.at.blocks, random ? random_credit(s) : s.credit, gradient);
    }

    // Feedback that does not come through the readout feeds every layer.
    bool passes_down() const override { return feedback_.size() == 0; }

    bool adapts() const override { return decay_ >= 0; }
    void follow(T* weight, const T* before) override {
        for (int o = 0; o < outputs_; ++o) {
            T* const own = feedback_.data() + size_t(o) * units_ + units_ - top_;
            for (int u = 0; u < top_; ++u) {
                T& now = weight[size_t(o) * top_ + u];
                own[u] = (own[u] + (now - before[size_t(o) * top_ + u])) * (1 - decay_);
                now *= 1 - decay_;
            }
        }
    }

    void list(std::vector<Named<T>>& buffers) override {
        if (feedback_.size()) {
            buffers.push_back({"feedback", feedback_.data(), {outputs_, units_}});
        }
    }

private:
    // (∂L/∂outputs) B on the component that the readout sees, shape (c, k, stride).
    const T* random_credit(const Step<T>& s) {
        std::memcpy(random_.data(), s.credit, random_.size() * sizeof(T));
        for (int u = 0; u < units_; ++u) {
            for (int b = 0; b < stride_; b += kWidth<T>) {
                Vec<T> total = {};
                for (int o = 0; o < outputs_; ++o) {
                    total += feedback_[size_t(o) * units_ + u] * load(s.error + o * stride_ + b);
                }
                store(random_.data() + (size_t(read_) * units_ + u) * stride_ + b, total);
            }
        }
        return random_.data();
    }

    int outputs_, read_, top_;
    T decay_;
    Buffer<T> feedback_, random_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
