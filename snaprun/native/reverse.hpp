// A reverse step of BPTT: λ_t = δ_t + λ_(t+1) D_(t+1), g = Σ_t λ_t I_t, equation (6). The gradient
// is added for kChunk steps at once, so few that their src stay in L1.
#pragma once

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class Reverse {
public:
    explicit Reverse(const RuleSetup& s)
        : rows_(s.rows), stride_(s.stride), units_(rows_.units), slots_(rows_.slots),
          components_(s.config.pattern.components), truncate_(s.config.truncate),
          layers_(layers_of(s.config.pattern)), credited_(s.credited()), unit_size_(size_t(units_) * stride_),
          lambda_(components_ * unit_size_), next_(components_ * unit_size_),
          slot_credit_(kChunk * slots_ * unit_size_), by_column_(rows_.parameters) {}

    // Called before the last step of a window, which is step `t`, and before a resumed step.
    void begin(const T* theta, int64_t t) {
        if (!t && layers_.size() == 1) return;
        for (int i = 0; i < rows_.parameters; ++i) by_column_[i] = theta[rows_.column_entry[i]];
    }

    // Takes step t with δ_t, if it has one. The src of `at` must stay until the gradient of the chunk
    // is added: when it is full, and at t = 0.
    void step(int64_t t, const Place<T>& at, bool has_credit, const uint8_t* begins, T* gradient) {
        if (has_credit) add(at.credit);
        pass(t, at, begins, gradient);
    }

    // The two parts of `step`, between which a rule may change λ.
    void add(const T* credit) {
        for (int p : credited_) {
            const size_t first = p * unit_size_;
            for (size_t i = first; i < first + unit_size_; ++i) lambda_[i] += credit[i];
        }
    }
    void pass(int64_t t, const Place<T>& at, const uint8_t* begins, T* gradient) {
        auto of_column = [weights = by_column_.data()](int i) { return weights[i]; };
        T* slot_credit = slot_credit_.data() + filled_ * slots_ * unit_size_;
        pass_down(rows_, layers_, components_, at.slopes, of_column, lambda_.data(), slot_credit);
        sources_[filled_++] = at.src;
        if (filled_ == kChunk || t == 0) {
            add_gradient(gradient);
            filled_ = 0;
        }
        if (t == 0 || (truncate_ && (t + 1) % truncate_ == 0)) {
            lambda_.zero();
            return;
        }
        back(at, of_column, slot_credit);
        zero_lanes(lambda_.data(), size_t(components_) * units_, stride_, begins);
    }

    int filled() const { return filled_; }  // steps of the open chunk
    void resume(int filled, const T* const* sources) {
        filled_ = filled;
        std::copy(sources, sources + filled, sources_);
    }
    Buffer<T>& lambda() { return lambda_; }            // (c, k, stride); 0 between windows
    Buffer<T>& slot_credit() { return slot_credit_; }  // (kChunk, k, m, stride)

private:
    // λ ← λ D.
    template <class Weight>
    void back(const Place<T>& p, Weight weight, const T* slot_credit) {
        for (int q = 0; q < components_; ++q) {
            for (size_t i = 0; i < unit_size_; i += kWidth<T>) {
                Vec<T> total = {};
                for (int c = 0; c < components_; ++c) {
                    total += load(lambda_.data() + c * unit_size_ + i) *
                             load(p.blocks + (c * components_ + q) * unit_size_ + i);
                }
                store(next_.data() + q * unit_size_ + i, total);
            }
        }
        add_transposed(rows_, 0, units_, weight, slot_credit, next_.data());
        std::memcpy(lambda_.data(), next_.data(), components_ * unit_size_ * sizeof(T));
    }

    // gradient += Σ_t λ_t I_t over the steps of the chunk.
    void add_gradient(T* gradient) const {
        for (int r = 0; r < rows_.rows; ++r) {
            const T* credit = slot_credit_.data() + size_t(r) * stride_;
            int e = rows_.begin[r];
            const int end = rows_.begin[r + 1];
            for (; e + 4 <= end; e += 4) entries<4>(credit, e, gradient);
            for (; e < end; ++e) entries<1>(credit, e, gradient);
        }
    }

    template <int N>
    void entries(const T* credit, int e, T* gradient) const {
        const int steps = filled_, stride = stride_;
        const size_t step = slots_ * unit_size_;
        Vec<T> acc[N] = {};
        for (int t = 0; t < steps; ++t, credit += step) {
            const T* from = sources_[t];
            for (int b = 0; b < stride; b += kWidth<T>) {
                const Vec<T> c = load(credit + b);
                for (int i = 0; i < N; ++i) acc[i] += c * load(from + rows_.offset[e + i] + b);
            }
        }
        if (N == 4) {
            add_sums(gradient + e, acc);
        } else {
            gradient[e] += sum<T>(acc[0]);
        }
    }

    const Rows& rows_;
    int stride_, units_, slots_, components_;
    int64_t truncate_;
    const std::vector<Layer> layers_;
    const std::vector<int> credited_;  // the components that credit meets
    size_t unit_size_;
    Buffer<T> lambda_, next_, slot_credit_, by_column_;
    const T* sources_[kChunk] = {};
    int filled_ = 0;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
