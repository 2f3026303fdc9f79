// SnAp-1: J_u ← D_uu J_u + I_u with the unit's own c × c block of D; snaprun.rules.snap with n = 1.
#pragma once

#include "trace.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class SnAp1 final : public TraceRule<T> {
    using TraceRule<T>::stride_, TraceRule<T>::units_, TraceRule<T>::traces_;

public:
    static RuleInfo info() { return {"snap1", false, false, true}; }
    explicit SnAp1(const RuleSetup& s)
        : TraceRule<T>(s), slots_(s.config.pattern.slots), components_(s.config.pattern.components),
          self_(size_t(units_) * slots_),
          D_(size_t(components_) * components_ * units_ * stride_) {
        for (size_t i = 0; i < self_.size(); ++i) self_[i] = -1;
        const Pattern& p = s.config.pattern;
        for (int e = 0; e < p.parameters; ++e) {
            if (p.source_P[e] == p.unit_P[e]) self_[p.unit_P[e] * slots_ + p.slot_P[e]] = e;
        }
    }

    void step(const Step<T>& s, T* gradient) override {
        const size_t size = size_t(units_) * stride_;
        std::memcpy(D_.data(), s.at.blocks, D_.size() * sizeof(T));
        for (int p = 0; p < components_; ++p) {
            T* const D = D_.data() + size_t(p) * components_ * size;
            for (int u = 0; u < units_; ++u) {
                for (int m = 0; m < slots_; ++m) {
                    const int e = self_[u * slots_ + m];
                    if (e < 0) continue;
                    const T* slope = s.at.slopes + (size_t(p) * slots_ + m) * size;
                    for (int b = u * stride_; b < (u + 1) * stride_; b += kWidth<T>) {
                        store(D + b, load(D + b) + s.theta[e] * load(slope + b));
                    }
                }
            }
        }
        traces_.step(s, D_.data(), s.credit, gradient);
    }

private:
    int slots_, components_;
    Buffer<int32_t> self_;  // the parameter of h_u in slot m of unit u; -1: not live
    Buffer<T> D_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
