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

enum class CellKind { vanilla, gru, lstm };
enum class RuleKind { influence, snap1, bptt, rflo, uoro, frozen };
enum class OptimiserKind { adam, sgd };

struct EngineConfig {
    CellKind cell = CellKind::gru;
    double alpha = 1.0;     // leak of the vanilla cell
    Pattern pattern;        // the layout of θ always; its blocks for RuleKind::influence
    int inputs = 0, outputs = 0, hidden = 0, lanes = 0, threads = 1;
    int64_t update_every = 1;  // 0: at the end of a batch
    RuleKind rule = RuleKind::frozen;
    std::vector<double> feedback;  // (O, k) of RFLO, empty: the readout's own
    OptimiserKind optimiser = OptimiserKind::adam;
    double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, momentum = 0.0;
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
    const int64_t* targets = nullptr;  // (T, B)
    const uint8_t* mask = nullptr;     // (T, B)
    const uint8_t* resets = nullptr;   // (T, B)
    const int8_t* noise = nullptr;     // (T, B, c, k) for UORO
    T* nats = nullptr;                 // (T, B)
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

namespace SNAPRUN_NS {
template <class T>
std::unique_ptr<EngineBase<T>> make_engine(const EngineConfig& config);
}  // namespace SNAPRUN_NS

}  // namespace snaprun
