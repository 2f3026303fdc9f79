// Sparse attentive backtracking: the reverse pass of BPTT in blocks of k_trunc steps, in which credit
// also skips to the memories that a step recalled. The twin of snaprun.rules.sab.
#pragma once

#include "bptt.hpp"
#include "pending.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class SAB final : public BPTT<T> {
public:
    static RuleInfo info() { return {"sab", false, false, false, Attends::always}; }
    explicit SAB(const RuleSetup& s)
        : BPTT<T>(s), stride_(s.stride), detach_(s.config.detach),
          top_(size_t(layers_of(s.config.pattern).back().first) * s.stride) {}

    void attend(Reminder<T>& reminder) override {
        bank_ = &reminder;
        query_.resize(bank_->size());
        of_h_.resize(bank_->size());
        of_summary_.resize(bank_->size());
    }

    void reserve(int64_t steps) override {
        BPTT<T>::reserve(steps);
        const size_t all = this->capacity_, rows = size_t(bank_->rows()) * bank_->lanes();
        if (slope_.size() >= all * bank_->lanes()) return;
        proposed_.resize(all * bank_->size());
        credit_.resize(all * bank_->size());
        index_.resize(all * rows);
        weights_.resize(all * rows);
        slope_.resize(all * bank_->lanes());
    }

    void step(const Step<T>& s, T* gradient) override {
        const Recall<T> from = bank_->newest(), to = recall(this->length_);
        const size_t size = bank_->size(), lanes = bank_->lanes(), rows = bank_->rows() * lanes;
        std::memcpy(to.proposed, from.proposed, size * sizeof(T));
        if (s.has_credit) std::memcpy(to.credit, from.credit, size * sizeof(T));
        std::memcpy(to.index, from.index, rows * sizeof(int64_t));
        std::memcpy(to.weights, from.weights, rows * sizeof(T));
        std::memcpy(to.slope, from.slope, lanes * sizeof(T));
        BPTT<T>::step(s, gradient);
    }

    void list(std::vector<Named<T>>& buffers) override {
        BPTT<T>::list(buffers);
        const int64_t steps = this->length_, lanes = bank_->lanes(), width = bank_->width();
        const int64_t rows = bank_->rows();
        buffers.push_back({"proposed", proposed_.data(), {steps, lanes, width}});
        buffers.push_back({"recall credit", credit_.data(), {steps, lanes, width}});
        buffers.push_back({"index", index_.data(), {steps, rows, lanes}, bank_->count()});
        buffers.push_back({"weights", weights_.data(), {steps, rows, lanes}});
        buffers.push_back({"slope", slope_.data(), {steps, lanes}});
    }

    // Without steps nothing, whatever is remembered: it belongs to the state.
    int64_t bytes() const override {
        if (!this->length_) return 0;
        const size_t size = bank_->size(), lanes = bank_->lanes(), rows = bank_->rows() * lanes;
        const size_t step = (2 * size + rows + lanes) * sizeof(T) + rows * sizeof(int64_t);
        return BPTT<T>::bytes() + this->length_ * int64_t(step) + bank_->bytes();
    }

protected:
    // The credit on h_t is the readout's, λ_(t+1), and what later steps have sent to h_t as a
    // memory; it flows through the recall to ĥ_t, and through the cell to λ_t.
    void backward(const T* theta, T* gradient) override {
        int64_t t = this->last();
        const int64_t taken = (t + 1) * bank_->lanes();
        this->reverse_.begin(theta, t);
        pending_.begin(*bank_);
        const int units = bank_->units(), width = bank_->width(), lanes = bank_->lanes();
        T* const of_h = of_h_.data();
        for (; t >= 0; --t) {
            const Place<T> at = this->at(t);
            const Recall<T> r = recall(t);
            T* const lambda = this->reverse_.lambda().data() + top_;
            if (this->has_credit_[t]) this->reverse_.add(at.credit);
            transpose(lambda, units, stride_, lanes, of_h, width);
            if ((t + 1) % bank_->every() == 0 && !detach_) {
                pending_.hand(bank_->older() + (t + 1) / bank_->every() - 1, of_h);
            }
            std::memcpy(of_summary_.data(), of_h, bank_->size() * sizeof(T));
            if (this->has_credit_[t]) pending_.add(r.credit, of_summary_.data());
            bank_->through(r.proposed, bank_->query_weights(), query_.data());
            // The credit on s is not needed any more: that on the query takes its place.
            pending_.recall(r, query_.data(), of_summary_.data(), detach_, r.credit);
            pending_.through_query(r.credit, of_h);
            transpose(of_h, lanes, width, units, lambda, stride_);
            this->reverse_.pass(t, at, this->begins(t), gradient);
        }
        pending_.finish(credit_.data(), proposed_.data(), taken);
    }

private:
    Recall<T> recall(int64_t t) {
        const size_t size = bank_->size(), lanes = bank_->lanes(), rows = bank_->rows() * lanes;
        return {proposed_.data() + t * size, credit_.data() + t * size, index_.data() + t * rows,
                weights_.data() + t * rows, slope_.data() + t * lanes};
    }

    const int stride_;
    const bool detach_;
    const size_t top_;  // where the uppermost layer begins
    Reminder<T>* bank_ = nullptr;
    Pending<T> pending_;
    Buffer<T> query_, of_h_, of_summary_;
    Buffer<T> proposed_, credit_, weights_, slope_;  // of each step, as in Recall
    Buffer<int64_t> index_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
