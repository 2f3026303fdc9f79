// The interface of a learning rule for the engine; the twin of snaprun.rules.base.
#pragma once

#include "core.hpp"
#include "reminder.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
struct Step {
    Place<T> at;
    bool has_credit;
    const T* credit;      // (c, k, stride): that of the rule's layers, if there is credit
    const T* theta;
    const T* gathered;    // src_j of every parameter (P) if there is a single lane, else null
    const T* error;       // ∂L/∂outputs (O, stride), or null without a target
    const int8_t* noise;  // (B, c, k) for UORO
};

// The data from which a rule is built.
struct RuleSetup {
    const EngineConfig& config;
    const CellInfo& cell;
    const Rows& rows;
    int stride;
    // The components that δ may meet, ascending: the one that the readout sees, and h if it has a
    // cost or if a layer above reads it.
    std::vector<int> credited() const {
        if (cell.read == 0) return {0};
        if (config.rate_cost == 0 && config.pattern.layers.size() == 1) return {cell.read};
        return {0, cell.read};
    }
};

template <class T>
class Budget;

template <class T>
class Rule {
public:
    explicit Rule(const RuleSetup& setup) : Rule(setup.config.pattern, setup.stride) {}
    virtual ~Rule() = default;

    // Called before a batch: a window will have at most so many steps, earlier ones included.
    virtual void reserve(int64_t steps) { (void)steps; }
    // Zeroes the state in `lanes` (stride), where a sequence begins.
    virtual void reset(const uint8_t* lanes) = 0;
    virtual Place<T> place() {
        return {src_.data(), slopes_.data(), blocks_.data(), credit_.data()};
    }
    // Adds the part of the gradient (P) that is known at once.
    virtual void step(const Step<T>& step, T* gradient) = 0;
    // Called at the end of a window: adds the rest of the gradient, unless it is null.
    virtual void finish(const T* theta, T* gradient) { (void)theta, (void)gradient; }
    virtual int64_t bytes() const = 0;  // kept from step to step
    // As in the engine; `steps` counts from the last update.
    virtual void resume(int64_t steps) { (void)steps; }
    virtual void list(std::vector<Named<T>>& buffers) { (void)buffers; }
    virtual int64_t entries() const { return 0; }
    virtual void read(T* out) const { (void)out; }
    virtual void assign(const T* in) { (void)in; }
    virtual int threads() const { return 1; }
    virtual bool moves() const { return true; }  // false: the gradient is always 0
    // Whether the credit of a step is δ (1 − E)^-1, because J keeps to the rows of each layer.
    virtual bool passes_down() const { return false; }
    // Whether `follow` is to be called after every update of a linear readout, with its weight
    // (O, k), which it may change, and the weight before.
    virtual bool adapts() const { return false; }
    virtual void follow(T* weight, const T* before) { (void)weight, (void)before; }
    // Called once, before all else, if the core has a reminder.
    virtual void attend(Reminder<T>& reminder) { (void)reminder; }
    // Itself if the rule repeats forward steps: the engine then calls its methods, not these.
    virtual Budget<T>* budget() { return nullptr; }

private:
    Rule(const Pattern& p, int stride)
        : src_(size_t(p.sources) * stride),
          slopes_(size_t(p.components) * p.slots * p.units * stride),
          blocks_(size_t(p.components) * p.components * p.units * stride),
          credit_(size_t(p.components) * p.units * stride) {}

    Buffer<T> src_, slopes_, blocks_, credit_;
};

template <class T>
class Frozen final : public Rule<T> {
public:
    static RuleInfo info() { return {"frozen", false, false, false, Attends::either}; }
    using Rule<T>::Rule;
    void reset(const uint8_t*) override {}
    void step(const Step<T>&, T*) override {}
    int64_t bytes() const override { return 0; }
    bool moves() const override { return false; }
};

// SnAp-n and RTRL, equation (5).
template <class T>
class InfluenceRule final : public Rule<T> {
public:
    static RuleInfo info() { return {"influence", true, false, false}; }
    explicit InfluenceRule(const RuleSetup& s)
        : Rule<T>(s), within_(s.config.pattern.link_row.empty()),
          J_(s.config.pattern, s.config.lanes, s.stride, s.config.threads) {}
    void reset(const uint8_t* lanes) override { J_.reset(lanes); }
    void step(const Step<T>& s, T* gradient) override {
        J_.step(s.theta, s.at.slopes, s.at.blocks, s.at.src, s.credit, gradient);
    }
    int64_t bytes() const override { return J_.stored() * int64_t(sizeof(T)); }
    int64_t entries() const override { return J_.entries(); }
    void read(T* out) const override { J_.read(out); }
    void assign(const T* in) override { J_.assign(in); }
    int threads() const override { return J_.threads(); }
    bool passes_down() const override { return within_; }

private:
    bool within_;  // whether J keeps to the rows of each layer
    Influence<T> J_;
};

// Lays out a step on a tape: src, slopes, blocks, credit.
template <class T>
class Taped {
public:
    explicit Taped(const RuleSetup& s)
        : src_(size_t(s.rows.sources) * s.stride),
          states_(size_t(s.config.pattern.components) * s.rows.units * s.stride),
          slopes_(states_ * s.rows.slots), blocks_(states_ * s.config.pattern.components) {}
    size_t size() const { return src_ + slopes_ + blocks_ + states_; }
    Place<T> place(T* at) const {
        return {at, at + src_, at + src_ + slopes_, at + src_ + slopes_ + blocks_};
    }

private:
    size_t src_, states_, slopes_, blocks_;
};

// Zeroes the lanes in `lanes` of all `count` rows of length `stride`.
template <class T>
inline void zero_lanes(T* values, size_t count, int stride, const uint8_t* lanes) {
    for (int b = 0; b < stride; ++b) {
        if (!lanes[b]) continue;
        for (size_t i = 0; i < count; ++i) values[i * stride + b] = 0;
    }
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
