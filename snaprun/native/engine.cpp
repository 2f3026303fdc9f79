// The online step (forward, loss, credit, rule, update) is the twin of snaprun.engine.torch.
#include "engine.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "denormals.hpp"
#include "rates.hpp"
#include "readout.hpp"
#include "rules.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class Engine final : public EngineBase<T> {
public:
    explicit Engine(const EngineConfig& config)
        : c_(config), p_(c_.pattern), stride_((c_.lanes + 7) / 8 * 8), core_(c_, stride_),
          readout_(c_, stride_),
          reminder_(c_.k_att ? new Reminder<T>(c_, stride_, attention()) : nullptr),
          sizes_(sizes()), optimiser_(c_, sizes_), state_(core_.state_size()),
          before_(core_.state_size()), gradient_(p_.parameters), begins_(stride_),
          rule_(find(rules<T>(), c_.rule)->make({c_, core_.cell(), core_.rows(), stride_})),
          budget_(rule_->budget()),
          rates_(c_.rate_cost > 0 ? new RateCost<T>(c_, core_.cell(), stride_, core_.top()) : nullptr),
          passes_(core_.layers().size() > 1 && rule_->passes_down()),
          passed_(passes_ ? core_.state_size() : 0),
          slot_credit_(passes_ ? p_.slots * core_.unit_size() : 0),
          read_before_(rule_->adapts() ? sizes_[1] : 0) {
        if (budget_) readout_.clear();
        if (reminder_) rule_->attend(*reminder_);
    }

    Done run(const Sequence<T>& s, int64_t work) override {
        const FlushDenormals flushed;
        const Done done = budget_ ? within_budget(s, work) : all(s);
        finite_ = true;
        for (size_t i = 0; i < sizes_.size(); ++i) {
            finite_ &= all_finite(s.parameters[i], sizes_[i]);
        }
        return done;
    }
    bool owes() const override { return budget_ && budget_->owes(); }

    void predict(const Sequence<T>& s) override {
        const FlushDenormals flushed;
        rule_->reserve(now_.steps + 1);
        if (reminder_) reminder_->reserve(1);
        if (budget_) budget_->hold(state_.data());
        if (s.resets) begin(s.resets);
        std::memcpy(before_.data(), state_.data(), state_.size() * sizeof(T));
        advance(s, 0, rule_->place());
        readout_.forward(s.parameters, output());
        readout_.copy_outputs(s.outputs);
        predicted_ = true;
    }

    void learn(const Sequence<T>& s) override {
        const FlushDenormals flushed;
        predicted_ = false;
        const int64_t targets = s.mask ? count(s.mask) : 0;
        if (budget_) {
            pass(s, 0, targets);
            if (targets) readout_.loss(of_readout(s, 0));
            if (owes()) {
                if (now_.targets) budget_->reverse(lent(s.parameters), kAll);
                update(s.parameters, false);
            }
        } else {
            finish(s, 0, rule_->place(), targets, now_.steps + 1 == c_.update_every);
        }
    }

    void undo() override {
        if (predicted_) {
            std::memcpy(state_.data(), before_.data(), state_.size() * sizeof(T));
            if (reminder_) reminder_->undo();
        }
        predicted_ = false;
    }
    bool predicted() const override { return predicted_; }

    void update(T* const* parameters) override {
        const FlushDenormals flushed;
        if (owes()) budget_->reverse(lent(parameters), kAll);
        update(parameters, false);
    }
    bool finite() const override { return finite_; }

    const Counters& counters() const override { return now_; }
    void measure() override {
        now_.longest_window = std::max(now_.longest_window, now_.steps);
        now_.rule_bytes = std::max(now_.rule_bytes, rule_->bytes());
    }

    void resume(const Counters& counters, const WindowState& window,
                const Remembered& memories) override {
        now_ = counters;
        optimiser_.resume(now_.updates);
        readout_.resume(budget_ || now_.targets != 0);
        rule_->resume(now_.steps);
        if (budget_) budget_->resume_window(window);
        if (reminder_) reminder_->resume(now_.steps, memories.count, memories.older);
    }
    Remembered remembered() const override {
        return reminder_ ? Remembered{reminder_->count(), reminder_->older()} : Remembered{};
    }
    void close(std::vector<int32_t> plan) override {
        budget_->close(std::move(plan), state_.data());
    }
    const Walk* walk() const override { return budget_ ? &budget_->walk() : nullptr; }
    StateSizes state_sizes() const override { return budget_ ? budget_->sizes() : StateSizes{}; }
    WindowState window() const override { return budget_ ? budget_->window() : WindowState{}; }
    void plan(std::vector<int32_t> plan, int64_t steps, int64_t most) override {
        budget_->plan(std::move(plan), steps, most);
    }

    std::vector<Named<T>> buffers() override {
        std::vector<Named<T>> all;
        all.push_back({"state", state_.data(), {p_.components, p_.units, stride_}});
        for (size_t i = 0; i < sizes_.size(); ++i) {
            all.push_back({"gradient " + std::to_string(i), gradient(i), {int64_t(sizes_[i])}});
        }
        if (reminder_) reminder_->list(all);
        if (rates_) rates_->list(all);
        optimiser_.list(all);
        rule_->list(all);
        return all;
    }

    int64_t entries() const override { return rule_->entries(); }
    int threads() const override { return rule_->threads(); }
    void read(T* out) const override { rule_->read(out); }
    void assign(const T* in) override { rule_->assign(in); }

private:
    static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

    std::vector<size_t> sizes() const {
        std::vector<size_t> all{size_t(p_.parameters)};
        for (size_t size : readout_.sizes()) all.push_back(size);
        if (!reminder_) return all;
        for (size_t size : reminder_->sizes()) all.push_back(size);
        return all;
    }

    // The place of W₁ among the parameters, after those of the readout.
    int attention() const { return 1 + 2 * readout_.layers(); }

    T* gradient(size_t i) {
        const int at = int(i), first = attention();
        if (!at) return gradient_.data();
        return at < first ? readout_.gradient(at - 1) : reminder_->gradient(at - first);
    }

    void begin(const uint8_t* resets) {
        bool any = false;
        for (int b = 0; b < c_.lanes; ++b) any |= begins_[b] = resets[b] != 0;
        if (!any) return;
        zero_lanes(state_.data(), size_t(p_.components) * p_.units, stride_, begins_.data());
        rule_->reset(begins_.data());
        if (reminder_) reminder_->reset(begins_.data());
    }

    int64_t count(const uint8_t* mask) const {
        return c_.lanes - std::count(mask, mask + c_.lanes, 0);
    }

    void advance(const Sequence<T>& s, int64_t t, const Place<T>& at) {
        core_.step(s.parameters[0],
                   {s.indices ? s.indices + t * c_.lanes : nullptr,
                    s.indices ? nullptr : s.dense + t * c_.lanes * c_.inputs},
                   state_.data(), at);
        if (reminder_) reminder_->step(s.parameters, state_.data() + core_.top());
    }

    const T* output() const {
        return reminder_ ? reminder_->seen() : state_.data() + core_.read();
    }

    void outputs(const Sequence<T>& s, int64_t t) {
        readout_.forward(s.parameters, output());
        if (s.outputs) readout_.copy_outputs(s.outputs + t * c_.lanes * c_.outputs);
    }

    Done all(const Sequence<T>& s) {
        const int64_t every = c_.update_every;
        const int64_t most = now_.steps + s.steps;
        rule_->reserve(every ? std::min(every, most) : most);
        if (reminder_) reminder_->reserve(s.steps);
        for (int64_t t = 0; t < s.steps; ++t) {
            const bool last = every ? now_.steps + 1 == every : s.ends && t + 1 == s.steps;
            begin(s.resets + t * c_.lanes);
            const Place<T> at = rule_->place();
            const int64_t targets = count(s.mask + t * c_.lanes);
            advance(s, t, at);
            if (targets) outputs(s, t);
            finish(s, t, at, targets, last);
        }
        // Also where no update ends the window, as in an evaluation.
        if (reminder_ && every && s.ends) reminder_->open();
        return {s.steps, s.steps};
    }

    Done within_budget(const Sequence<T>& s, int64_t work) {
        Done done;
        while (done.work < work) {
            const int64_t t = done.steps;
            if (owes()) {
                Lent<T> l = lent(s.parameters);
                const int64_t first = t - now_.steps;  // the window's first step in the arrays
                l.skipped = std::max<int64_t>(0, -s.before - first);
                l.losses = s.losses + (first + l.skipped) * c_.lanes;
                if (s.outputs) {
                    l.outputs = s.outputs + (first + l.skipped) * c_.lanes * c_.outputs;
                }
                done.work += budget_->reverse(l, work - done.work);
                if (budget_->walk().done()) update(s.parameters, false);
            } else if (t < s.steps) {
                budget_->hold(state_.data());
                begin(s.resets + t * c_.lanes);
                advance(s, t, rule_->place());
                // The reverse pass can write to this batch alone.
                const bool now = budget_->walk().steps() - now_.steps > s.left - t;
                const int64_t targets = count(s.mask + t * c_.lanes);
                pass(s, t, targets);
                if (now && targets) {
                    outputs(s, t);
                    readout_.loss(of_readout(s, t));
                }
                if (owes() && !now_.targets) update(s.parameters, false);
                ++done.steps;
                ++done.work;
            } else {
                break;
            }
        }
        return done;
    }

    // A step of the first pass within a budget, without its loss.
    void pass(const Sequence<T>& s, int64_t t, int64_t targets) {
        now_.targets += targets;
        ++now_.steps;
        std::fill_n(s.losses + t * c_.lanes, c_.lanes, T(0));
        if (rates_) rates_->count(state_.data());
        budget_->passed(state_.data(), s, t);
    }

    Lent<T> lent(T* const* parameters) {
        return {core_, readout_, rates_.get(), parameters, gradient_.data(), nullptr, nullptr, 0};
    }

    ReadoutStep<T> of_readout(const Sequence<T>& s, int64_t t) const {
        return {s.parameters, s.classes ? s.classes + t * c_.lanes : nullptr,
                s.values ? s.values + t * c_.lanes * c_.outputs : nullptr, s.mask + t * c_.lanes,
                s.losses + t * c_.lanes, nullptr, nullptr, T(1)};
    }

    // Returns the credit that the rule takes.
    const T* credit(const Sequence<T>& s, const Place<T>& at) {
        if (!passes_) return at.credit;
        std::memcpy(passed_.data(), at.credit, passed_.size() * sizeof(T));
        auto of_column = [&](int i) { return s.parameters[0][core_.rows().column_entry[i]]; };
        pass_down(core_.rows(), core_.layers(), p_.components, at.slopes, of_column, passed_.data(),
                  slot_credit_.data());
        return passed_.data();
    }

    // The rest of a step: loss, credit, rule, and the update if the step is the last of a window.
    void finish(const Sequence<T>& s, int64_t t, const Place<T>& at, int64_t targets, bool last) {
        now_.targets += targets;
        ++now_.steps;
        T* const losses = s.losses + t * c_.lanes;
        std::fill(losses, losses + c_.lanes, T(0));
        const bool stepped = last && targets && c_.clip < 0 && !rule_->adapts();
        if (targets) {
            if (stepped) optimiser_.begin();
            ReadoutStep<T> step = of_readout(s, t);
            step.credit = reminder_ ? reminder_->credit() : at.credit + core_.read();
            step.optimiser = stepped ? &optimiser_ : nullptr;
            step.scale = T(1) / T(now_.targets);
            readout_.learn(step);
            if (reminder_) reminder_->hand(at.credit + core_.top());
        }
        const bool has_credit = targets || rates_;
        if (rates_) {
            rates_->add(targets != 0, at.credit);
            rates_->count(state_.data());
        }
        const int8_t* noise =
            s.noise ? s.noise + t * c_.lanes * p_.components * p_.units : nullptr;
        rule_->step({at, has_credit, has_credit ? credit(s, at) : nullptr, s.parameters[0],
                     core_.gathered(), targets ? readout_.error() : nullptr, noise},
                    gradient_.data());
        if (last) update(s.parameters, stepped);
    }

    // If `stepped` is true, the optimiser has already stepped for the readout's parameters.
    void update(T* const* parameters, bool stepped) {
        measure();
        if (reminder_) reminder_->prepare(parameters);
        rule_->finish(parameters[0], now_.targets ? gradient_.data() : nullptr);
        if (now_.targets) {
            T scale = T(1) / T(now_.targets);
            if (c_.clip >= 0) scale *= clipping(scale);
            if (!stepped) optimiser_.begin();
            if (rule_->adapts()) std::copy_n(parameters[1], sizes_[1], read_before_.data());
            for (size_t i = stepped ? attention() : 1; i < sizes_.size(); ++i) {
                optimiser_.apply(i, 0, sizes_[i], parameters[i], gradient(i), scale);
            }
            if (rule_->moves()) {
                optimiser_.apply(0, 0, p_.parameters, parameters[0], gradient_.data(), scale);
            }
            if (rule_->adapts()) rule_->follow(parameters[1], read_before_.data());
            optimiser_.follow(parameters);
            ++now_.updates;
        }
        gradient_.zero();
        readout_.resume(false);
        if (budget_) readout_.clear();
        if (reminder_) {
            reminder_->clear();
            reminder_->open();
        }
        if (rates_) rates_->follow(now_.steps * c_.lanes);
        now_.steps = now_.targets = 0;
    }

    // The factor of torch.nn.utils.clip_grad_norm_; NaN stays NaN.
    T clipping(T scale) {
        T squares = 0;
        for (size_t i = 0; i < sizes_.size(); ++i) squares += square_sum(gradient(i), sizes_[i]);
        const T factor = T(c_.clip) / (std::sqrt(squares) * scale + T(1e-6));
        return factor > 1 ? T(1) : factor;
    }

    // Tests for an exponent bit that is 0; no compiler option removes this test, unlike isfinite.
    static bool all_finite(const T* values, size_t count) {
        using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
        constexpr U infinity = sizeof(T) == 4 ? U(0x7f800000) : U(0x7ff0000000000000);
        U most = 0;
        for (size_t i = 0; i < count; ++i) {
            U bits;
            std::memcpy(&bits, values + i, sizeof bits);
            most = std::max<U>(most, bits & infinity);
        }
        return most != infinity;
    }

    static T square_sum(const T* values, size_t count) {
        Vec<T> total = {};
        size_t i = 0;
        for (; i + kWidth<T> <= count; i += kWidth<T>) total += load(values + i) * load(values + i);
        T rest = sum<T>(total);
        for (; i < count; ++i) rest += values[i] * values[i];
        return rest;
    }

    const EngineConfig c_;
    const Pattern& p_;
    int stride_;
    Core<T> core_;
    Readout<T> readout_;
    std::unique_ptr<Reminder<T>> reminder_;
    const std::vector<size_t> sizes_;  // of all parameters
    Optimiser<T> optimiser_;
    Buffer<T> state_, before_, gradient_;
    Buffer<uint8_t> begins_;
    std::unique_ptr<Rule<T>> rule_;
    Budget<T>* const budget_;  // the rule, if it repeats forward steps
    std::unique_ptr<RateCost<T>> rates_;
    bool passes_;  // whether the rule takes δ (1 − E)^-1
    Buffer<T> passed_, slot_credit_, read_before_;
    bool finite_ = true, predicted_ = false;
    Counters now_;
};

Capabilities capabilities() {
    Capabilities all;
    for (const auto& cell : cells<float>()) all.cells.push_back(cell);
    for (const auto& rule : rules<float>()) all.rules.push_back(rule);
    for (const auto& optimiser : optimisers<float>()) all.optimisers.push_back(optimiser);
    for (const auto& loss : losses<float>()) all.losses.push_back(loss);
    return all;
}

template <class T>
std::unique_ptr<EngineBase<T>> make_engine(const EngineConfig& config) {
    return std::make_unique<Engine<T>>(config);
}

template std::unique_ptr<EngineBase<float>> make_engine<float>(const EngineConfig&);
template std::unique_ptr<EngineBase<double>> make_engine<double>(const EngineConfig&);

}  // namespace SNAPRUN_NS
}  // namespace snaprun
