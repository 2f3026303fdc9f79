// λ_t = δ_t + λ_(t+1) D_(t+1), g = Σ_t λ_t I_t, equation (6), over the tape since the last update.
#pragma once

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class BPTT final : public Rule<T> {
public:
    static RuleInfo info() { return {"bptt", false, false, false}; }
    explicit BPTT(const RuleSetup& s)
        : Rule<T>(s), rows_(s.rows), stride_(s.stride), units_(rows_.units), slots_(rows_.slots),
          components_(s.config.pattern.components), layers_(layers_of(s.config.pattern)),
          src_size_(size_t(rows_.sources) * stride_),
          unit_size_(size_t(units_) * stride_), lambda_(components_ * unit_size_),
          next_(components_ * unit_size_), slot_credit_(kChunk * slots_ * unit_size_),
          by_column_(rows_.parameters) {}

    void reserve(int64_t steps) override {
        if (steps <= capacity_) return;
        // Reserve more than asked for, so that a batch in pieces does not copy the tape every time.
        const int64_t wanted = capacity_ ? std::max(steps, capacity_ / 2 * 3) : steps;
        tape_.resize(wanted * step_size());
        begins_.resize(wanted * stride_);
        has_credit_.resize(wanted);
        capacity_ = wanted;  // set last, because any allocation may fail
    }

    void reset(const uint8_t* lanes) override {
        uint8_t* begins = begins_.data() + length_ * stride_;
        for (int b = 0; b < stride_; ++b) begins[b] |= lanes[b];
    }

    Place<T> place() override { return at(length_); }

    void step(const Step<T>& s, T*) override { has_credit_[length_++] = s.has_credit; }

    void finish(const T* theta, T* gradient) override {
        if (gradient) backward(theta, gradient);
        std::memset(begins_.data(), 0, length_ * stride_);
        length_ = 0;
    }

    void resume(int64_t steps) override {
        reserve(steps);
        begins_.zero();
        length_ = steps;
    }
    void list(std::vector<Named<T>>& buffers) override {
        buffers.push_back({"tape", tape_.data(), {length_, int64_t(step_size())}});
        buffers.push_back({"begins", begins_.data(), {length_, stride_}});
        buffers.push_back({"has_credit", has_credit_.data(), {length_}});
    }

    int64_t bytes() const override { return length_ * step_size() * sizeof(T); }

private:
    static constexpr int kChunk = 4;  // steps summed at once, so that their src stay in L1

    size_t step_size() const {
        const size_t c = components_;
        return src_size_ + (c * slots_ + c * c + c) * unit_size_;
    }

    Place<T> at(int64_t t) {
        T* src = tape_.data() + t * step_size();
        T* slopes = src + src_size_;
        T* blocks = slopes + components_ * slots_ * unit_size_;
        return {src, slopes, blocks, blocks + components_ * components_ * unit_size_};
    }

    void backward(const T* theta, T* gradient) {
        int64_t t = length_ - 1;
        while (t >= 0 && !has_credit_[t]) --t;
        if (t > 0 || layers_.size() > 1) {
            for (int i = 0; i < rows_.parameters; ++i) by_column_[i] = theta[rows_.column_entry[i]];
        }
        lambda_.zero();
        auto of_column = [weights = by_column_.data()](int i) { return weights[i]; };
        const T* sources[kChunk];
        int filled = 0;
        for (; t >= 0; --t) {
            const Place<T> p = at(t);
            if (has_credit_[t]) {
                for (size_t i = 0; i < unit_size_; ++i) lambda_[i] += p.credit[i];
            }
            T* slot_credit = slot_credit_.data() + filled * slots_ * unit_size_;
            pass_down(rows_, layers_, components_, p.slopes, of_column, lambda_.data(),
                      slot_credit);
            sources[filled++] = p.src;
            if (filled == kChunk || t == 0) {
                add_gradient(sources, filled, gradient);
                filled = 0;
            }
            if (t) back(p, of_column, slot_credit);
            zero_lanes(lambda_.data(), size_t(components_) * units_, stride_,
                       begins_.data() + t * stride_);
        }
    }

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

    // gradient += Σ_t λ_t I_t over the steps of a chunk.
    void add_gradient(const T* const* sources, int steps, T* gradient) const {
        for (int r = 0; r < rows_.rows; ++r) {
            const T* credit = slot_credit_.data() + size_t(r) * stride_;
            int e = rows_.begin[r];
            const int end = rows_.begin[r + 1];
            for (; e + 4 <= end; e += 4) entries<4>(sources, steps, credit, e, gradient);
            for (; e < end; ++e) entries<1>(sources, steps, credit, e, gradient);
        }
    }

    template <int N>
    void entries(const T* const* sources, int steps, const T* credit, int e, T* gradient) const {
        Vec<T> acc[N] = {};
        for (int t = 0; t < steps; ++t, credit += slots_ * unit_size_) {
            const T* from = sources[t];
            for (int b = 0; b < stride_; b += kWidth<T>) {
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
    const std::vector<Layer> layers_;
    size_t src_size_, unit_size_;
    int64_t length_ = 0, capacity_ = 0;
    Buffer<T> lambda_, next_, slot_credit_, by_column_, tape_;
    Buffer<uint8_t> begins_, has_credit_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
