// BPTT within a budget of memory: follows a plan that says which states to keep, and repeats the
// steps between them. The twin of snaprun.rules.replay.
#pragma once

#include "rates.hpp"
#include "readout.hpp"
#include "reverse.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// What the engine lends for the reverse pass.
template <class T>
struct Lent {
    Core<T>& core;
    Readout<T>& readout;
    const RateCost<T>* rates;  // or null
    T* const* parameters;
    T* gradient;  // (P)
    // Of the window's steps from `skipped` on; null: nobody asks for them.
    T* losses;   // (·, B)
    T* outputs;  // (·, B, O)
    int64_t skipped;
};

template <class T>
class Budget final : public Rule<T> {
public:
    static RuleInfo info() { return {"budget", false, false, false}; }
    explicit Budget(const RuleSetup& s)
        : Rule<T>(s), c_(s.config), cell_(s.cell), stride_(s.stride), step_(s),
          src_size_(size_t(s.rows.sources) * stride_), unit_size_(size_t(s.rows.units) * stride_),
          sizes_{int64_t(cell_.components() * unit_size_), int64_t(step_.size())}, walk_(sizes_),
          cursor_(sizes_.hidden), delta_(sizes_.hidden),
          sources_(kChunk * src_size_), losses_(c_.lanes), begins_(stride_),
          reverse_(s) {}

    Budget<T>* budget() override { return this; }
    const Walk& walk() const { return walk_; }
    const StateSizes& sizes() const { return sizes_; }
    WindowState window() const {
        return {walk_.at(), walk_.part(), forwards_, reverse_.filled(), indexed_};
    }
    int64_t bytes() const override { return peak() * int64_t(sizeof(T)); }  // the most so far

    void plan(std::vector<int32_t> plan, int64_t steps, int64_t most) {
        restart();
        walk_.start({}, 0);
        if (size_t(most) != arena_.size()) arena_.replace(most);
        walk_.start(std::move(plan), steps);
    }

    // Called before the first step of a window, and by `passed` after every step.
    void hold(const T* state) {
        while (!walk_.done() && walk_.next() == kHold) push(state);
    }

    // Of the next step of the first pass: its resets, its place, and the end of the step.
    void reset(const uint8_t* lanes) override {
        for (int b = 0; b < stride_; ++b) begins_[b] |= lanes[b];
    }
    Place<T> place() override { return place_of(walk_.next()); }
    void passed(const T* state, const Sequence<T>& s, int64_t t) {
        keep(s, t);
        pass(state);
        hold(state);
        if (owes()) std::memcpy(cursor_.data(), state, sizes_.hidden * sizeof(T));
    }

    // Whether all steps are passed, so that the reverse pass is due.
    bool owes() const { return walk_.steps() && walk_.ascended() == walk_.steps(); }

    // Replays and reverses up to `work` steps; returns how many. The pass is over when the walk is.
    int64_t reverse(const Lent<T>& lent, int64_t work) {
        if (!ready_) {
            reverse_.begin(lent.parameters[0], walk_.left() - 1);
            const auto after = mask_.begin() + walk_.left() * c_.lanes;
            live_ = std::find(after, mask_.end(), 1) != mask_.end();
            ready_ = true;
        }
        int64_t done = 0;
        while (!walk_.done()) {
            const int32_t next = walk_.next();
            const bool works = next > 0 || next == kTape || next == kBack;
            if (works && done == work) break;
            done += works;
            if (next == kHold) {
                push(cursor_.data());
            } else if (next == kRestore) {
                const Kept& kept = walk_.stack().back();
                T* const item = top(kept);
                std::memcpy(cursor_.data(), kept.internal ? step_.place(item).credit : item,
                            sizes_.hidden * sizeof(T));
                walk_.take();
            } else if (next == kDrop) {
                walk_.take();
            } else if (next == kBack) {
                back(lent);
                walk_.take();
            } else {
                const int64_t t = walk_.cursor();
                zero_lanes(cursor_.data(), size_t(cell_.components()) * c_.pattern.units, stride_,
                           resets_.data() + t * stride_);
                lent.core.step(lent.parameters[0], inputs(t), cursor_.data(), place_of(next));
                pass(cursor_.data());
            }
        }
        return done;
    }

    // The window ends here, with this plan for its reverse pass.
    void close(std::vector<int32_t> plan, const T* state) {
        planned_ = walk_.steps();
        standing_ = walk_.close(std::move(plan));
        std::memcpy(cursor_.data(), state, sizes_.hidden * sizeof(T));
    }

    void step(const Step<T>&, T*) override {}
    void finish(const T*, T*) override { restart(); }

    void resume_window(const WindowState& w) {
        restart();
        walk_.follow(w.at, w.part);
        if (walk_.used()) std::memset(arena_.data(), 0, walk_.used() * sizeof(T));  // and padding
        forwards_ = w.forwards;
        indexed_ = w.indexed;
        const T* sources[kChunk];
        for (int i = 0; i < w.pending; ++i) sources[i] = sources_.data() + i * src_size_;
        reverse_.resume(int(w.pending), sources);
        const size_t rows = size_t(walk_.ascended()) * c_.lanes;
        indices_.resize(indexed_ ? rows : 0);
        numbers_.resize(indexed_ ? 0 : rows * c_.inputs);
        classes_.resize(has_classes() ? rows : 0);
        values_.resize(has_classes() ? 0 : rows * c_.outputs);
        mask_.resize(rows);
        resets_.resize(size_t(walk_.ascended()) * stride_);
    }

    void list(std::vector<Named<T>>& buffers) override {
        const int64_t n = walk_.ascended(), lanes = c_.lanes, c = cell_.components();
        const int64_t units = c_.pattern.units, slots = c_.pattern.slots, pending = reverse_.filled();
        kinds_.clear();
        for (const Kept& kept : walk_.stack()) kinds_.push_back(kept.internal);
        buffers.push_back({"stack", arena_.data(), {walk_.used()}});
        buffers.push_back({"kinds", kinds_.data(), {int64_t(kinds_.size())}, 2});
        buffers.push_back({"cursor", cursor_.data(), {c, units, stride_}});
        buffers.push_back({"lambda", reverse_.lambda().data(), {c, units, stride_}});
        buffers.push_back({"sources", sources_.data(), {pending, c_.pattern.sources, stride_}});
        buffers.push_back(
            {"slot credit", reverse_.slot_credit().data(), {pending, units, slots, stride_}});
        if (indexed_) {
            buffers.push_back({"inputs", indices_.data(), {n, lanes}, c_.inputs});
        } else {
            buffers.push_back({"inputs", numbers_.data(), {n, lanes, c_.inputs}});
        }
        if (has_classes()) {
            buffers.push_back({"targets", classes_.data(), {n, lanes}, c_.outputs});
        } else {
            buffers.push_back({"targets", values_.data(), {n, lanes, c_.outputs}});
        }
        buffers.push_back({"mask", mask_.data(), {n, lanes}, 2});
        buffers.push_back({"resets", resets_.data(), {n, stride_}, 2});
    }

private:
    bool has_classes() const { return find(losses<T>(), c_.loss)->classes; }
    int64_t peak() const { return std::max(peak_, walk_.peak()); }
    T* top() { return arena_.data() + walk_.used(); }
    T* top(const Kept& kept) { return top() - sizes_.of(kept); }

    void restart() {
        peak_ = peak();
        if (planned_) walk_.start(std::move(standing_), std::exchange(planned_, 0));
        walk_.restart();
        indices_.clear();
        classes_.clear();
        numbers_.clear();
        values_.clear();
        mask_.clear();
        resets_.clear();
        begins_.zero();
        cursor_.zero();
        ready_ = false;
    }

    void push(const T* state) {
        std::memcpy(top(), state, sizes_.hidden * sizeof(T));
        walk_.take();
    }

    // A step without slopes writes to scratch. A step does not write the entries that are always 0;
    // they are set here, because an internal state lies where other numbers have been.
    Place<T> place_of(int32_t next) {
        if (next != kTape) return {Rule<T>::place().src, nullptr, nullptr, nullptr};
        const Place<T> at = step_.place(top());
        const int c = cell_.components();
        if (c_.lanes < stride_) std::memset(at.src, 0, src_size_ * sizeof(T));
        if (c == 1) return at;
        for (int p = 0; p < c; ++p) {
            for (int m = 0; m < cell_.slots(); ++m) {
                if (cell_.reach[p][m] == '1') continue;
                std::memset(at.slopes + (p * cell_.slots() + m) * unit_size_, 0,
                            unit_size_ * sizeof(T));
            }
        }
        std::memset(at.blocks, 0, c * c * unit_size_ * sizeof(T));
        return at;
    }

    // Takes the step that has led to `state`.
    void pass(const T* state) {
        ++forwards_;
        if (walk_.next() == kTape) {
            std::memcpy(step_.place(top()).credit, state, sizes_.hidden * sizeof(T));
        }
        walk_.take();
    }

    // Appends the data of a step.
    void keep(const Sequence<T>& s, int64_t t) {
        const size_t lanes = c_.lanes, rows = walk_.steps() * lanes;
        auto append = [&](auto& to, const auto* from, size_t count) {
            if (to.empty()) to.reserve(rows * (count / lanes));
            if (from) {
                to.insert(to.end(), from + t * count, from + (t + 1) * count);
            } else {
                to.resize(to.size() + count);
            }
        };
        indexed_ = s.indices;
        if (indexed_) {
            append(indices_, s.indices, lanes);
        } else {
            append(numbers_, s.dense, lanes * c_.inputs);
        }
        if (has_classes()) {
            append(classes_, s.classes, lanes);
        } else {
            append(values_, s.mask ? s.values : nullptr, lanes * c_.outputs);
        }
        append(mask_, s.mask, lanes);
        for (size_t b = mask_.size() - lanes; b < mask_.size(); ++b) mask_[b] = mask_[b] != 0;
        resets_.insert(resets_.end(), begins_.data(), begins_.data() + stride_);
        begins_.zero();
    }

    Inputs<T> inputs(int64_t t) const {
        const size_t row = size_t(t) * c_.lanes;
        return {indexed_ ? indices_.data() + row : nullptr,
                indexed_ ? nullptr : numbers_.data() + row * c_.inputs};
    }

    // Reverses the step whose internal state is on top of the stack.
    void back(const Lent<T>& lent) {
        const int64_t t = walk_.left() - 1;
        const size_t lanes = c_.lanes, row = size_t(t) * lanes;
        const uint8_t* const mask = mask_.data() + row;
        const bool targets = std::find(mask, mask + lanes, 1) != mask + lanes;
        live_ |= targets || lent.rates;
        if (!live_) return;  // λ is 0
        Place<T> at = step_.place(top(walk_.stack().back()));
        if (targets) {
            const bool told = lent.losses && t >= lent.skipped;
            const size_t to = size_t(t - lent.skipped) * lanes;
            lent.readout.forward(lent.parameters, at.credit + lent.core.read());
            if (told && lent.outputs) lent.readout.copy_outputs(lent.outputs + to * c_.outputs);
            lent.readout.learn({lent.parameters, classes_.empty() ? nullptr : classes_.data() + row,
                                values_.empty() ? nullptr : values_.data() + row * c_.outputs, mask,
                                told ? lent.losses + to : losses_.data(),
                                delta_.data() + lent.core.read(), nullptr, T(1)});
        }
        T* const src = sources_.data() + reverse_.filled() * src_size_;
        std::memcpy(src, at.src, src_size_ * sizeof(T));
        at.src = src;
        at.credit = delta_.data();
        if (lent.rates) lent.rates->add(targets, delta_.data());
        reverse_.step(t, at, targets || lent.rates, resets_.data() + t * stride_, lent.gradient);
    }

    const EngineConfig& c_;
    const CellInfo& cell_;
    int stride_;
    const Taped<T> step_;
    size_t src_size_, unit_size_;
    const StateSizes sizes_;
    Walk walk_;
    std::vector<int32_t> standing_;  // the plan and the steps of windows, while one closes early
    int64_t planned_ = 0;
    Buffer<T> arena_, cursor_, delta_, sources_, losses_;
    Buffer<uint8_t> begins_;  // lanes that begin at the next step
    Reverse<T> reverse_;
    // The data of the window, which no pointer of a call outlives.
    std::vector<int64_t> indices_, classes_;
    std::vector<T> numbers_, values_;
    std::vector<uint8_t> mask_, resets_, kinds_;  // resets (T, stride)
    int64_t forwards_ = 0, peak_ = 0;
    bool indexed_ = true, ready_ = false, live_ = false;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
