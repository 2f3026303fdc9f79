// e ← (∂s'_u/∂s_u) e + ∂s'_u/∂a_m src_j, gradient q_u e; snaprun.rules.rflo.
#pragma once

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class RFLO final : public Rule<T> {
public:
    RFLO(const Pattern& p, const Rows& rows, const std::vector<double>& feedback, int outputs,
         int stride)
        : Rule<T>(p, stride), rows_(rows), stride_(stride), units_(p.units), slots_(p.slots),
          components_(p.components), outputs_(outputs), feedback_(feedback.size()),
          random_(size_t(p.units) * stride),
          trace_(size_t(p.parameters) * p.components * stride) {
        for (size_t i = 0; i < feedback.size(); ++i) feedback_[i] = T(feedback[i]);
    }

    void reset(const uint8_t* lanes) override {
        zero_lanes(trace_.data(), size_t(rows_.parameters) * components_, stride_, lanes);
    }

    void step(const Step<T>& s, T* gradient) override {
        const T* credit = s.has_credit ? s.at.credit : nullptr;
        if (credit && feedback_.size()) credit = random_credit(s.error);
        for (int u = 0, r = 0; u < units_; ++u) {
            for (int m = 0; m < slots_; ++m, ++r) {
                int e = rows_.begin[r];
                const int end = rows_.begin[r + 1];
                const T* q = credit ? credit + size_t(u) * stride_ : nullptr;
                for (; e + 4 <= end; e += 4) entries<4>(s.at, u, m, e, q, gradient);
                for (; e < end; ++e) entries<1>(s.at, u, m, e, q, gradient);
            }
        }
    }

    int64_t bytes() const override { return int64_t(trace_.size() * sizeof(T)); }

private:
    const T* random_credit(const T* error) {
        for (int u = 0; u < units_; ++u) {
            for (int b = 0; b < stride_; b += kWidth<T>) {
                Vec<T> total = {};
                for (int o = 0; o < outputs_; ++o) {
                    total += feedback_[size_t(o) * units_ + u] * load(error + o * stride_ + b);
                }
                store(random_.data() + size_t(u) * stride_ + b, total);
            }
        }
        return random_.data();
    }

    template <int N>
    void entries(const Place<T>& at, int u, int m, int e, const T* q, T* gradient) {
        const size_t size = size_t(units_) * stride_, first = size_t(u) * stride_;
        Vec<T> acc[N] = {};
        for (int b = 0; b < stride_; b += kWidth<T>) {
            const Vec<T> credit = q ? load(q + b) : Vec<T>{};
            for (int i = 0; i < N; ++i) {
                const Vec<T> src = load(at.src + rows_.offset[e + i] + b);
                T* trace = trace_.data() + size_t(e + i) * components_ * stride_ + b;
                Vec<T> fresh[2] = {};
                for (int p = 0; p < components_; ++p) {
                    const size_t slope = (size_t(p) * slots_ + m) * size + first + b;
                    fresh[p] = load(at.slopes + slope) * src;
                    for (int k = 0; k < components_; ++k) {
                        const size_t block = (size_t(p) * components_ + k) * size + first + b;
                        fresh[p] += load(at.blocks + block) * load(trace + k * stride_);
                    }
                }
                for (int p = 0; p < components_; ++p) store(trace + p * stride_, fresh[p]);
                acc[i] += credit * fresh[0];
            }
        }
        if (!q) return;
        if (N == 4) {
            add_sums(gradient + e, acc);
        } else {
            gradient[e] += sum<T>(acc[0]);
        }
    }

    const Rows& rows_;
    int stride_, units_, slots_, components_, outputs_;
    Buffer<T> feedback_, random_, trace_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
