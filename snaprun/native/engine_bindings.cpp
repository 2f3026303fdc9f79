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

    // The arrays of a sequence.
    struct Arrays {
        Array<T> theta;
        std::vector<Array<T>> readout;
        std::optional<Array<const int64_t>> index;
        std::optional<Array<const T>> dense;
        std::optional<Array<const int64_t>> classes;
        std::optional<Array<const T>> values;
        Array<const bool> mask, resets;
        std::optional<Array<const int8_t>> noise;
        Array<T> losses;
        std::optional<Array<T>> outputs;
    };

    void run(Array<T> theta, std::vector<Array<T>> readout, std::optional<Array<const int64_t>> index,
             std::optional<Array<const T>> dense, std::optional<Array<const int64_t>> classes,
             std::optional<Array<const T>> values, Array<const bool> mask,
             Array<const bool> resets, std::optional<Array<const int8_t>> noise, Array<T> losses,
             bool ends, std::optional<Array<T>> outputs) {
        const Busy busy(busy_);
        require_settled();
        Arrays given{theta, readout, index, dense,  classes, values,
                     mask,  resets,  noise, losses, outputs};
        require(index.has_value() != dense.has_value(), "inputs are either indices or dense");
        Sequence<T> s = checked(given);
        if (index) s.indices = indices(*index, inputs_, config_.inputs, "input index");
        if (classes) s.classes = indices(*classes, targets_, config_.outputs, "target");
        s.ends = ends;
        nb::gil_scoped_release unlocked;
        engine_->run(s);
    }

    // Binds the arrays, of one step, that `predict` and `learn` read and write.
    void bind(Array<T> theta, std::vector<Array<T>> readout, Array<const int64_t> index,
              Array<const T> dense, std::optional<Array<const int64_t>> classes,
              std::optional<Array<const T>> values, Array<const bool> mask,
              Array<const bool> resets, std::optional<Array<const int8_t>> noise, Array<T> losses,
              Array<T> outputs) {
        const Busy busy(busy_);
        require_settled();
        Arrays given{theta, readout, index, dense,  classes, values,
                     mask,  resets,  noise, losses, outputs};
        const Sequence<T> step = checked(given);
        require(step.steps == 1, "the bound arrays are those of one step");
        bound_ = std::move(given);
        step_ = step;
    }

    // The inputs are the bound indices or numbers; `begins` says whether the bound resets count.
    void predict(bool by_index, bool begins) {
        const Busy busy(busy_);
        require(bound_.has_value(), "predict needs bound arrays");
        require_settled();
        Sequence<T> s = step_;
        if (by_index) s.indices = indices(*bound_->index, inputs_, config_.inputs, "input index");
        if (!begins) s.resets = nullptr;
        nb::gil_scoped_release unlocked;
        engine_->predict(s);
    }

    // Without `targets` the step has no target; with them the bound targets and mask count.
    void learn(bool targets) {
        const Busy busy(busy_);
        require(engine_->predicted(), "learn follows predict");
        Sequence<T> s = step_;
        if (targets && classes_) {
            s.classes = indices(*bound_->classes, targets_, config_.outputs, "target");
        }
        if (!targets) s.mask = nullptr;
        nb::gil_scoped_release unlocked;
        engine_->learn(s);
    }

    void undo() {
        const Busy busy(busy_);
        engine_->undo();
    }

    void update(Array<T> theta, std::vector<Array<T>> readout) {
        T* parameters[kMostParameters];
        const Busy busy(busy_);
        require_settled();
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
        require_settled();
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

    bool predicted() const {
        const Busy busy(busy_);
        return engine_->predicted();
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
    static const int64_t* indices(const Array<const int64_t>& from, std::vector<int64_t>& copy,
                                  int64_t bound, const char* name) {
        copy.assign(from.data(), from.data() + from.size());
        within(copy, bound, name);
        return copy.data();
    }

    void require_settled() const {
        require(!engine_->predicted(), "a prediction waits for learn or undo");
    }

    // The sequence in `a`, without the indices and classes, which the caller copies.
    Sequence<T> checked(Arrays& a) const {
        const Pattern& p = config_.pattern;
        Sequence<T> s;
        point(a.theta, a.readout, s.parameters);
        require(a.mask.ndim() == 2, "mask must have the shape (T, B)");
        const int64_t steps = int64_t(a.mask.shape(0)), lanes = config_.lanes;
        require_shape(a.mask, "mask", {steps, lanes});
        require_shape(a.resets, "resets", {steps, lanes});
        require_shape(a.losses, "losses", {steps, lanes});
        if (a.index) require_shape(*a.index, "indices", {steps, lanes});
        if (a.dense) {
            require_shape(*a.dense, "inputs", {steps, lanes, config_.inputs});
            s.dense = a.dense->data();
        }
        require(a.classes.has_value() == classes_ && a.values.has_value() != classes_,
                "targets are either classes or numbers, as the loss wants them");
        if (a.classes) {
            require_shape(*a.classes, "classes", {steps, lanes});
        } else {
            require_shape(*a.values, "values", {steps, lanes, config_.outputs});
            s.values = a.values->data();
        }
        if (draws_) {
            require(a.noise.has_value(), "this rule needs noise");
            require_shape(*a.noise, "noise", {steps, lanes, p.components, p.units});
            s.noise = a.noise->data();
        }
        if (a.outputs) {
            require_shape(*a.outputs, "outputs", {steps, lanes, config_.outputs});
            s.outputs = a.outputs->data();
        }
        s.steps = steps;
        s.mask = reinterpret_cast<const uint8_t*>(a.mask.data());
        s.resets = reinterpret_cast<const uint8_t*>(a.resets.data());
        s.losses = a.losses.data();
        Apart arrays = written(a.theta, a.readout);
        arrays.writes(a.losses, "losses");
        if (a.outputs) arrays.writes(*a.outputs, "outputs");
        if (a.dense) arrays.reads(*a.dense, "dense");
        if (a.values) arrays.reads(*a.values, "values");
        if (a.noise) arrays.reads(*a.noise, "noise");
        arrays.reads(a.mask, "mask");
        arrays.reads(a.resets, "resets");
        arrays.require();
        return s;
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
        const int widths[3] = {p.layers.back(), config_.hidden ? config_.hidden : config_.outputs,
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
    std::optional<Arrays> bound_;
    Sequence<T> step_;  // in the bound arrays
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
        .def("bind", &E::bind, "theta"_a.noconvert(), "readout"_a.noconvert(),
             "index"_a.noconvert(), "dense"_a.noconvert(), "classes"_a.noconvert().none(),
             "values"_a.noconvert().none(), "mask"_a.noconvert(), "resets"_a.noconvert(),
             "noise"_a.noconvert().none(), "losses"_a.noconvert(), "outputs"_a.noconvert())
        .def("predict", &E::predict, "by_index"_a, "begins"_a)
        .def("learn", &E::learn, "targets"_a)
        .def("undo", &E::undo)
        .def("measure", &E::measure)
        .def("update", &E::update, "theta"_a.noconvert(), "readout"_a.noconvert())
        .def("resume", &E::resume, "steps"_a, "targets"_a, "updates"_a, "longest_window"_a,
             "rule_bytes"_a)
        .def("buffers", &E::buffers)
        .def("fill", &E::fill, "buffers"_a)
        .def_prop_ro("predicted", &E::predicted)
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

}  // namespace

const Capabilities& known() {
    static const Capabilities all = capabilities();
    return all;
}

void bind_engine(nb::module_& m) {
    bind<float>(m, "Engine32");
    bind<double>(m, "Engine64");
    m.def("isa", &isa_name, "The instruction set in use.");
    m.def("isas", &isas, "The words for SNAPRUN_ISA that this CPU can follow, the least first.");
}

}  // namespace snaprun
