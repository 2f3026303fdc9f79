// BPTT over the tape of the steps since the last update.
#pragma once

#include "reverse.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class BPTT : public Rule<T> {
public:
    static RuleInfo info() { return {"bptt", false, false, false}; }
    explicit BPTT(const RuleSetup& s)
        : Rule<T>(s), reverse_(s), step_(s), stride_(s.stride) {}

    void reserve(int64_t steps) override {
        if (steps <= capacity_) return;
        // Reserve more than asked for, so that a batch in pieces does not copy the tape every time.
        const int64_t wanted = capacity_ ? std::max(steps, capacity_ / 2 * 3) : steps;
        tape_.resize(wanted * step_.size());
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
        // A step that was undone may have left its resets after the last one.
        std::memset(begins_.data(), 0, std::min(length_ + 1, capacity_) * stride_);
        length_ = 0;
    }

    void resume(int64_t steps) override {
        reserve(steps);
        begins_.zero();
        length_ = steps;
    }
    void list(std::vector<Named<T>>& buffers) override {
        buffers.push_back({"tape", tape_.data(), {length_, int64_t(step_.size())}});
        buffers.push_back({"begins", begins_.data(), {length_, stride_}});
        buffers.push_back({"has_credit", has_credit_.data(), {length_}});
    }

    int64_t bytes() const override { return length_ * step_.size() * sizeof(T); }

protected:
    virtual void backward(const T* theta, T* gradient) {
        int64_t t = last();
        reverse_.begin(theta, t);
        for (; t >= 0; --t) reverse_.step(t, at(t), has_credit_[t], begins(t), gradient);
    }

    // The last step with credit, or -1.
    int64_t last() const {
        int64_t t = length_ - 1;
        while (t >= 0 && !has_credit_[t]) --t;
        return t;
    }
    Place<T> at(int64_t t) { return step_.place(tape_.data() + t * step_.size()); }
    const uint8_t* begins(int64_t t) const { return begins_.data() + t * stride_; }

    Reverse<T> reverse_;
    int64_t length_ = 0, capacity_ = 0;
    Buffer<uint8_t> has_credit_;

private:
    const Taped<T> step_;
    int stride_;
    Buffer<T> tape_;
    Buffer<uint8_t> begins_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
