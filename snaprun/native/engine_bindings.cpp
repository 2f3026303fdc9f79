// The engine for Python: all arguments are checked here, so that a step checks nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "bindings.hpp"
#include "dispatch.hpp"
#include "overlap.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace snaprun {

#define SNAPRUN_DECLARE(ns)                                                   \
    namespace ns {                                                            \
    Capabilities capabilities();                                              \
    template <class T>                                                        \
    std::unique_ptr<EngineBase<T>> make_engine(const EngineConfig& config);   \
    }
SNAPRUN_DECLARE(portable)
SNAPRUN_DECLARE(v3)
SNAPRUN_DECLARE(v4)

namespace {

template <class T>
std::unique_ptr<EngineBase<T>> make(const EngineConfig& config) {
    SNAPRUN_DISPATCH(make_engine<T>(config))
}

Capabilities capabilities() { SNAPRUN_DISPATCH(capabilities()) }

template <class T>
class PyEngine {
public:
    explicit PyEngine(nb::dict config)
        : config_(read_config(config)), draws_(find(known().rules, config_.rule)->noise),
          classes_(find(known().losses, config_.loss)->classes),
          engine_(make<T>(config_)) {}

    void run(Array<T> theta, std::vector<Array<T>> readout, std::optional<Array<const int64_t>> index,
             std::optional<Array<const T>> dense, std::optional<Array<const int64_t>> classes,
             std::optional<Array<const T>> values, Array<const bool> mask,
             Array<const bool> resets, std::optional<Array<const int8_t>> noise, Array<T> losses,
             bool ends, std::optional<Array<T>> outputs) {
        const Pattern& p = config_.pattern;
        Sequence<T> s;
        const Busy busy(busy_);
        point(theta, readout, s.parameters);
        require(mask.ndim() == 2, "mask must have the shape (T, B)");
        const int64_t steps = int64_t(mask.shape(0)), lanes = config_.lanes;
        require_shape(mask, "mask", {steps, lanes});
        require_shape(resets, "resets", {steps, lanes});
        require_shape(losses, "losses", {steps, lanes});
        require(index.has_value() != dense.has_value(), "inputs are either indices or dense");
        if (index) {
            require_shape(*index, "indices", {steps, lanes});
            copy(*index, inputs_);
            within(inputs_, config_.inputs, "input index");
            s.indices = inputs_.data();
        } else {
            require_shape(*dense, "inputs", {steps, lanes, config_.inputs});
            s.dense = dense->data();
        }
        require(classes.has_value() == classes_ && values.has_value() != classes_,
                "targets are either classes or numbers, as the loss wants them");
        if (classes) {
            require_shape(*classes, "classes", {steps, lanes});
            copy(*classes, targets_);
            within(targets_, config_.outputs, "target");
            s.classes = targets_.data();
        } else {
            require_shape(*values, "values", {steps, lanes, config_.outputs});
            s.values = values->data();
        }
        if (draws_) {
            require(noise.has_value(), "this rule needs noise");
            require_shape(*noise, "noise", {steps, lanes, p.components, p.units});
            s.noise = noise->data();
        }
        s.steps = steps;
        s.ends = ends;
        s.mask = reinterpret_cast<const uint8_t*>(mask.data());
        s.resets = reinterpret_cast<const uint8_t*>(resets.data());
        s.losses = losses.data();
        if (outputs) {
            require_shape(*outputs, "outputs", {steps, lanes, config_.outputs});
            s.outputs = outputs->data();
        }
        Apart arrays = written(theta, readout);
        arrays.writes(losses, "losses");
        if (outputs) arrays.writes(*outputs, "outputs");
        if (dense) arrays.reads(*dense, "dense");
        if (values) arrays.reads(*values, "values");
        if (noise) arrays.reads(*noise, "noise");
        arrays.reads(mask, "mask");
        arrays.reads(resets, "resets");
        arrays.require();
        nb::gil_scoped_release unlocked;
        engine_->run(s);
    }

    void update(Array<T> theta, std::vector<Array<T>> readout) {
        T* parameters[kMostParameters];
        const Busy busy(busy_);
        point(theta, readout, parameters);
        written(theta, readout).require();
        nb::gil_scoped_release unlocked;
        engine_->update(parameters);
    }

    void resume(int64_t steps, int64_t targets, int64_t updates, int64_t longest_window,
                int64_t rule_bytes) {
        const int64_t every = config_.update_every;
        require(steps >= 0 && steps < (every ? every : int64_t(1) << 30), "no such steps");
        require(targets >= 0 && updates >= 0 && longest_window >= 0 && rule_bytes >= 0,
                "counters must be at least 0");
        const Busy busy(busy_);
        engine_->resume({steps, targets, updates, longest_window, rule_bytes});
    }

    // Returns copies of the engine's memory as tensors.
    nb::dict buffers() {
        const Busy busy(busy_);
        nb::dict all;
        for (const Named<T>& b : engine_->buffers()) {
            const std::vector<size_t> shape(b.shape.begin(), b.shape.end());
            std::visit(
                [&](const auto* data) {
                    using E = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
                    E* const own = new E[std::max<size_t>(count(b), 1)];
                    nb::capsule owner(own, [](void* p) noexcept { delete[] static_cast<E*>(p); });
                    std::copy(data, data + count(b), own);
                    all[b.name.c_str()] = nb::cast(nb::ndarray<nb::pytorch, E>(
                        own, shape.size(), shape.data(), owner));
                },
                b.data);
        }
        return all;
    }

    // Fills the engine's memory from all the tensors that `buffers` returns.
    void fill(nb::dict all) {
        const Busy busy(busy_);
        for (const bool checked : {false, true}) {  // check all before copying the first
            for (const Named<T>& b : engine_->buffers()) {
                require(all.contains(b.name.c_str()), (b.name + " is missing").c_str());
                std::visit(
                    [&](auto* data) {
                        using E = std::remove_pointer_t<decltype(data)>;
                        Array<const E> from;
                        bool same = nb::try_cast(all[b.name.c_str()], from, false);
                        same = same && from.ndim() == b.shape.size();
                        for (size_t i = 0; same && i < b.shape.size(); ++i) {
                            same = int64_t(from.shape(i)) == b.shape[i];
                        }
                        require(same, (b.name + " has another shape or type").c_str());
                        if (checked) std::copy(from.data(), from.data() + count(b), data);
                    },
                    b.data);
            }
        }
    }

    void read(Array<T> out) const {
        require(int64_t(out.size()) == config_.lanes * engine_->entries(), "another size");
        const Busy busy(busy_);
        engine_->read(out.data());
    }

    void assign(Array<const T> in) {
        require(int64_t(in.size()) == config_.lanes * engine_->entries(), "another size");
        const Busy busy(busy_);
        engine_->assign(in.data());
    }

    int64_t entries() const { return engine_->entries(); }
    int threads() const { return engine_->threads(); }
    void measure() {
        const Busy busy(busy_);
        engine_->measure();
    }
    bool finite() const {
        const Busy busy(busy_);
        return engine_->finite();
    }

    template <int64_t Counters::* counter>
    int64_t count() const {
        const Busy busy(busy_);
        return engine_->counters().*counter;
    }

private:
    static size_t count(const Named<T>& b) {
        size_t all = 1;
        for (int64_t n : b.shape) all *= size_t(n);
        return all;
    }

    // Copies of the indices, which must stay within bounds: another Python thread may change the
    // tensors while the engine runs without the GIL.
    template <class A>
    static void copy(const A& from, std::vector<int64_t>& to) {
        to.assign(from.data(), from.data() + from.size());
    }

    static Apart written(const Array<T>& theta, const std::vector<Array<T>>& readout) {
        Apart arrays;
        arrays.writes(theta, "theta");
        for (const Array<T>& parameter : readout) arrays.writes(parameter, "a readout parameter");
        return arrays;
    }

    void point(Array<T>& theta, std::vector<Array<T>>& readout, T** parameters) const {
        const Pattern& p = config_.pattern;
        require_shape(theta, "theta", {p.parameters});
        parameters[0] = theta.data();
        const int widths[3] = {p.units, config_.hidden ? config_.hidden : config_.outputs,
                               config_.outputs};
        const size_t layers = config_.hidden ? 2 : 1;
        require(readout.size() == 2 * layers, "the readout has another number of layers");
        for (size_t l = 0; l < layers; ++l) {
            require_shape(readout[2 * l], "a readout weight", {widths[l + 1], widths[l]});
            require_shape(readout[2 * l + 1], "a readout bias", {widths[l + 1]});
            parameters[1 + 2 * l] = readout[2 * l].data();
            parameters[2 + 2 * l] = readout[2 * l + 1].data();
        }
    }

    struct Busy {
        std::atomic_flag& flag;
        explicit Busy(std::atomic_flag& flag_) : flag(flag_) {
            if (flag.test_and_set()) throw std::runtime_error("this engine runs in another thread");
        }
        ~Busy() { flag.clear(); }
    };

    EngineConfig config_;
    bool draws_;    // whether the rule needs noise
    bool classes_;  // whether the targets are classes
    std::unique_ptr<EngineBase<T>> engine_;
    std::vector<int64_t> inputs_, targets_;  // of the running sequence
    mutable std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

template <class T>
void bind(nb::module_& m, const char* name) {
    using E = PyEngine<T>;
    nb::class_<E>(m, name)
        .def(nb::init<nb::dict>(), "config"_a)
        .def("run", &E::run, "theta"_a.noconvert(), "readout"_a.noconvert(),
             "index"_a.noconvert().none(), "dense"_a.noconvert().none(),
             "classes"_a.noconvert().none(), "values"_a.noconvert().none(), "mask"_a.noconvert(),
             "resets"_a.noconvert(), "noise"_a.noconvert().none(), "losses"_a.noconvert(),
             "ends"_a = true, "outputs"_a.noconvert().none() = nb::none())
        .def("measure", &E::measure)
        .def("update", &E::update, "theta"_a.noconvert(), "readout"_a.noconvert())
        .def("resume", &E::resume, "steps"_a, "targets"_a, "updates"_a, "longest_window"_a,
             "rule_bytes"_a)
        .def("buffers", &E::buffers)
        .def("fill", &E::fill, "buffers"_a)
        .def_prop_ro("entries", &E::entries)
        .def_prop_ro("threads", &E::threads, "That a step takes, at most those asked for.")
        .def_prop_ro("finite", &E::finite)
        .def("read", &E::read, "out"_a.noconvert())
        .def("assign", &E::assign, "in"_a.noconvert())
        .def_prop_ro("steps", &E::template count<&Counters::steps>)
        .def_prop_ro("targets", &E::template count<&Counters::targets>)
        .def_prop_ro("updates", &E::template count<&Counters::updates>)
        .def_prop_ro("longest_window", &E::template count<&Counters::longest_window>)
        .def_prop_ro("rule_bytes", &E::template count<&Counters::rule_bytes>);
}

// Returns by name: a cell's components, slots, constants and one word per component with '1' for
// every slot that reaches it; whether a rule needs blocks or noise; an optimiser's constants;
// whether a loss has classes as targets.
template <class Info, class Describe>
nb::dict by_name(const std::vector<Info>& table, Describe describe) {
    nb::dict all;
    for (const Info& info : table) {
        nb::dict entry;
        describe(entry, info);
        all[info.name.c_str()] = entry;
    }
    return all;
}

nb::dict described() {
    nb::dict all;
    all["cells"] = by_name(known().cells, [](nb::dict& entry, const CellInfo& cell) {
        entry["components"] = cell.components();
        entry["slots"] = cell.slots();
        entry["reach"] = cell.reach;
        entry["constants"] = cell.constants;
    });
    all["rules"] = by_name(known().rules, [](nb::dict& entry, const RuleInfo& rule) {
        entry["blocks"] = rule.blocks;
        entry["noise"] = rule.noise;
        entry["traces"] = rule.traces;
    });
    all["optimisers"] = by_name(known().optimisers, [](nb::dict& entry, const OptimiserInfo& o) {
        entry["constants"] = o.constants;
    });
    all["losses"] = by_name(known().losses, [](nb::dict& entry, const LossInfo& loss) {
        entry["classes"] = loss.classes;
    });
    return all;
}

}  // namespace

const Capabilities& known() {
    static const Capabilities all = capabilities();
    return all;
}

void bind_engine(nb::module_& m) {
    bind<float>(m, "Engine32");
    bind<double>(m, "Engine64");
    m.def("capabilities", &described, "The cells, rules, optimisers and losses that the engine knows.");
    m.def("isa", &isa_name, "The instruction set in use.");
    m.def("isas", &isas, "The words for SNAPRUN_ISA that this CPU can follow, the least first.");
}

}  // namespace snaprun
