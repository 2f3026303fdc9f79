// Whole sequences of online training without Python, allocation or lock inside a step.
//
// Suffixes: T steps, B lanes, k units, c state components, m slots, a inputs, J = k + a + 1
// sources [h; x; 1], P live recurrent parameters, O outputs.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "influence.hpp"

namespace snaprun {

// What there is, by name: the tables in cell.hpp, rules.hpp, optim.hpp and loss.hpp.
struct CellInfo {
    std::string name;
    std::vector<std::string> reach;  // a word a component, '1' for every slot that reaches it
    std::vector<std::string> constants;
    int components() const { return int(reach.size()); }
    int slots() const { return int(reach[0].size()); }
};
struct RuleInfo {
    std::string name;
    bool blocks, noise;  // whether it needs the blocks of the pattern, or noise
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

// A line of a table: what a class is called, and how one is made.
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

struct EngineConfig {
    std::string cell, rule, optimiser, loss;
    std::vector<double> cell_constants, optimiser_constants;  // as the tables list them
    Pattern pattern;  // the layout of θ always; its blocks for a rule that needs them
    int inputs = 0, outputs = 0, hidden = 0, lanes = 0, threads = 1;
    int64_t update_every = 1;  // 0: at the end of a batch
    std::vector<double> feedback;  // (O, k) of RFLO, empty: the readout's own
    double lr = 1e-3;
    double clip = -1.0;  // < 0: none
    double average = 0.0;  // decay of the average of the parameters; 0: none is kept
    double half_life = std::numeric_limits<double>::infinity();  // of lr, in updates
};

// θ (P), then weight (out, in) and bias (out) of every layer of the readout.
constexpr int kMostParameters = 5;

template <class T>
struct Sequence {
    int64_t steps = 0;
    bool ends = true;  // with its last step the batch ends: it is not a piece of a longer one
    T* parameters[kMostParameters] = {};
    const int64_t* indices = nullptr;  // (T, B), or
    const T* dense = nullptr;          // (T, B, a)
    const int64_t* classes = nullptr;  // (T, B): the targets, or
    const T* values = nullptr;         // (T, B, O)
    const uint8_t* mask = nullptr;     // (T, B)
    const uint8_t* resets = nullptr;   // (T, B)
    const int8_t* noise = nullptr;     // (T, B, c, k) for UORO
    T* losses = nullptr;               // (T, B)
};

// Counters from which training goes on.
struct Counters {
    int64_t steps = 0, targets = 0;  // since the last update; targets are (lane, step) pairs
    int64_t updates = 0;
    int64_t longest_window = 0, rule_bytes = 0;  // at the end of a window, at most so far
};

// Memory from which training goes on.
template <class T>
struct Named {
    std::string name;
    std::variant<T*, uint8_t*> data;
    std::vector<int64_t> shape;
};

template <class T>
class EngineBase {
public:
    virtual ~EngineBase() = default;
    // All sizes and indices must have been checked.
    virtual void run(const Sequence<T>& sequence) = 0;
    virtual void update(T* const* parameters) = 0;  // ends the window here
    virtual void measure() = 0;  // the open window, too
    virtual bool finite() const = 0;  // all parameters, when `run` last returned
    virtual const Counters& counters() const = 0;
    // What a stopped run needs to go on: first `resume`, then all that `buffers` names is filled in
    // (a run may move it), and J or the traces assigned, `entries` numbers of every lane.
    virtual void resume(const Counters& counters) = 0;
    virtual std::vector<Named<T>> buffers() = 0;
    virtual int64_t entries() const = 0;
    virtual int threads() const = 0;
    virtual void read(T* out) const = 0;
    virtual void assign(const T* in) = 0;
};

// The entry of a table, or of what Capabilities lists, with this name; null where there is none.
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
