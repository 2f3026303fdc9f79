// Trains online on whole sequences; no step calls Python, allocates memory or takes a lock.
//
// Suffixes: T steps, B lanes, k units, c state components, m slots, a inputs, J = k + a + 1
// sources [h; x; 1], P live recurrent parameters, O outputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "influence.hpp"
#include "plan.hpp"

namespace snaprun {

// Describes by name the tables in cell.hpp, rules.hpp, optim.hpp and loss.hpp.
struct CellInfo {
    std::string name;
    std::vector<std::string> reach;  // one word per component, '1' for every slot that reaches it
    std::vector<std::string> constants;
    int read = 0;  // the component that the readout sees
    int components() const { return int(reach.size()); }
    int slots() const { return int(reach[0].size()); }
};
enum class Attends { never, either, always };  // whether a rule's core has a reminder
struct RuleInfo {
    std::string name;
    bool blocks, noise, traces;  // whether it needs the pattern's blocks, noise, or traces
    Attends attends = Attends::never;
};
struct OptimiserInfo {
    std::string name;
    std::vector<std::string> constants;
};
struct LossInfo {
    std::string name;
    bool classes;  // whether targets are classes (T, B), or numbers (T, B, O)
};
struct Capabilities {
    std::vector<CellInfo> cells;
    std::vector<RuleInfo> rules;
    std::vector<OptimiserInfo> optimisers;
    std::vector<LossInfo> losses;
};

// A line of a table: the description of a class, and a function that makes an object of it.
template <class Info, class Base, class Setup>
struct Entry : Info {
    std::unique_ptr<Base> (*make)(const Setup&);

    template <class Made>
    static Entry of() {
        return {Made::info(), [](const Setup& setup) -> std::unique_ptr<Base> {
                    return std::make_unique<Made>(setup);
                }};
    }
};

// The learning rate as a function of the updates so far (Optimiser.rate in Python).
struct Schedule {
    static constexpr double kNever = std::numeric_limits<double>::infinity();
    double lr = 1e-3, warmup = 0, half_life = kNever, cosine = kNever, floor = 0;

    double rate(double updates) const {
        const double warm = updates + 1 < warmup ? (updates + 1) / warmup : 1;
        const double after = std::max(0.0, updates - warmup);
        const double share = std::min(1.0, after / (cosine - warmup));
        // Without a half-life or without a cosine, its factor is exactly 1.
        const double fall = std::exp2(-after / half_life) * ((1 + std::cos(kPi * share)) / 2);
        return lr * warm * (floor + (1 - floor) * fall);
    }

private:
    static constexpr double kPi = 3.14159265358979323846;
};

struct EngineConfig {
    std::string cell, rule, optimiser, loss;
    std::vector<double> cell_constants, optimiser_constants;  // in the order of the tables
    Pattern pattern;  // the layout of θ, and the blocks if the rule needs them
    int inputs = 0, outputs = 0, hidden = 0, lanes = 0, threads = 1;
    int64_t update_every = 1;  // 0: at the end of a batch
    // BPTT and SAB cut λ before every step t with (t + 1) mod truncate = 0; 0: never.
    int64_t truncate = 0;
    int64_t k_att = 0;  // of the reminder, h joins its memories every k_att steps; 0: there is none
    int k_top = 0;      // memories that a step recalls
    bool detach = false;  // SAB sends no credit to memories
    std::vector<std::string> traces;  // as CellInfo::reach, of the components that a rule traces
    std::vector<double> feedback;  // (O, k) for RFLO; empty: the readout's weights
    double feedback_decay = -1;    // of feedback that follows the readout's weights; < 0: it is fixed
    bool drop_spikes = false;      // whether the h of a step acts on nothing in RFLO's traces
    double rate_cost = 0, rate_target = 0;  // c and f0 of c Σ_u (mean h_u − f0)²
    Schedule schedule;
    double clip = -1.0;  // < 0: none
    double average = 0.0;  // decay of the average of the parameters; 0: none is kept

    // The width of what the readout sees: h of the uppermost layer, or [h; s].
    int seen() const { return pattern.layers.back() * (k_att ? 2 : 1); }
};

// θ (P), then weight (out, in) and bias (out) of every layer of the readout, then W₁, W₂ (k, k) and
// w₃ (k) of the reminder.
constexpr int kMostParameters = 8;

template <class T>
struct Sequence {
    int64_t steps = 0;
    bool ends = true;  // whether the batch ends here; false for a piece before its end
    // The batch's rows of losses and outputs before the first step here, and from it on.
    int64_t before = 0, left = 0;
    T* parameters[kMostParameters] = {};
    const int64_t* indices = nullptr;  // (T, B), or
    const T* dense = nullptr;          // (T, B, a)
    const int64_t* classes = nullptr;  // (T, B): the targets, or
    const T* values = nullptr;         // (T, B, O)
    const uint8_t* mask = nullptr;     // (T, B)
    const uint8_t* resets = nullptr;   // (T, B)
    const int8_t* noise = nullptr;     // (T, B, c, k) for UORO
    T* losses = nullptr;               // (T, B)
    T* outputs = nullptr;  // (T, B, O) or null; `run` writes a step with a target in any lane
};

// The counters that a resumed run needs.
struct Counters {
    int64_t steps = 0, targets = 0;  // since the last update; targets are (lane, step) pairs
    int64_t updates = 0;
    int64_t longest_window = 0, rule_bytes = 0;  // the largest at the end of a window so far
};

// Where memory-bounded BPTT stands in its plan, and what a resumed run needs.
struct WindowState {
    int64_t at = 0, part = 0;  // whole instructions taken, and steps of the next one
    int64_t forwards = 0;      // forward steps so far, in all windows
    int64_t pending = 0;       // reversed steps whose part of the gradient is not added yet
    bool indexed = true;       // whether the inputs are indices
};

// The memories of the reminder, m_0 included, and those from before the window.
struct Remembered {
    int64_t count = 1, older = 1;
};

// What `run` has done: steps of the sequence, and those, replayed and reversed steps together.
struct Done {
    int64_t steps = 0, work = 0;
};

// A buffer that a resumed run needs.
template <class T>
struct Named {
    std::string name;
    std::variant<T*, uint8_t*, int64_t*> data;
    std::vector<int64_t> shape;
    int64_t bound = 0;  // integers lie in [0, bound)
};

template <class T>
class EngineBase {
public:
    virtual ~EngineBase() = default;
    // The caller must have checked all sizes and indices. All rules but memory-bounded BPTT do all
    // steps, and as much work; it stops after `work`. While it `owes` work, it goes on with that.
    virtual Done run(const Sequence<T>& sequence, int64_t work) = 0;
    virtual bool owes() const = 0;
    // A sequence of one step in two halves: the outputs, then the rest. `resets` and `mask` may be
    // null. `undo` returns to the state before `predict`, with lanes that were reset still reset.
    virtual void predict(const Sequence<T>& step) = 0;
    virtual void learn(const Sequence<T>& step) = 0;
    virtual void undo() = 0;
    virtual bool predicted() const = 0;  // whether a prediction waits for `learn` or `undo`
    // Ends the window here. Of an owed reverse pass, which `run` would write, the losses are lost.
    virtual void update(T* const* parameters) = 0;
    virtual void measure() = 0;  // counts the open window, too
    virtual bool finite() const = 0;  // of all parameters, when `run` last returned
    virtual const Counters& counters() const = 0;
    // To resume a run, call `resume`, then fill every buffer that `buffers` names (`run` may move
    // them), then `assign` J or the traces, `entries` numbers per lane.
    virtual void resume(const Counters& counters, const WindowState& window,
                        const Remembered& memories) = 0;
    virtual Remembered remembered() const = 0;
    virtual std::vector<Named<T>> buffers() = 0;
    // Of memory-bounded BPTT: its place in the plan, or null for other rules; the sizes of states;
    // and a plan, which the caller has followed to its end, for windows of `steps` steps, with
    // at most `most` numbers on the stack. No window may be open.
    virtual const Walk* walk() const = 0;
    virtual StateSizes state_sizes() const = 0;
    virtual WindowState window() const = 0;
    virtual void plan(std::vector<int32_t> plan, int64_t steps, int64_t most) = 0;
    // Ends the first pass of the open window here, with this plan for its reverse pass.
    virtual void close(std::vector<int32_t> plan) = 0;
    virtual int64_t entries() const = 0;
    virtual int threads() const = 0;
    virtual void read(T* out) const = 0;
    virtual void assign(const T* in) = 0;
};

// The entry with this name in a table or a list of Capabilities, or null.
template <class Table>
const typename Table::value_type* find(const Table& table, const std::string& name) {
    for (const auto& entry : table) {
        if (entry.name == name) return &entry;
    }
    return nullptr;
}

namespace SNAPRUN_NS {
Capabilities capabilities();
template <class T>
std::unique_ptr<EngineBase<T>> make_engine(const EngineConfig& config);
}  // namespace SNAPRUN_NS

}  // namespace snaprun
