// The engine for Python: all arguments are checked here, so that a step checks nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "dispatch.hpp"
#include "memory_bindings.hpp"
#include "sequence_bindings.hpp"
#include "window_bindings.hpp"

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
        : config_(read_config(config)), classes_(find(known().losses, config_.loss)->classes),
          engine_(make<T>(config_)) {}

    // The first step of the arrays has row `first` of losses and outputs. Returns how many steps are
    // done, and how much work.
    std::pair<int64_t, int64_t> run(
        Array<T> theta, std::vector<Array<T>> others, std::optional<Array<const int64_t>> index,
        std::optional<Array<const T>> dense, std::optional<Array<const int64_t>> classes,
        std::optional<Array<const T>> values, Array<const bool> mask, Array<const bool> resets,
        std::optional<Array<const int8_t>> noise, Array<T> losses, bool ends,
        std::optional<Array<T>> outputs, int64_t first, int64_t work) {
        const Busy busy(busy_);
        require_settled();
        const Arrays<T> given{theta, others, index, dense,  classes, values,
                              mask,  resets,  noise, losses, outputs};
        require(index.has_value() != dense.has_value(), "inputs are either indices or dense");
        Sequence<T> s = given.checked(config_, first);
        if (s.steps) require_planned(index.has_value());
        if (index) s.indices = indices(*index, inputs_, config_.inputs, "input index");
        if (classes) s.classes = indices(*classes, targets_, config_.outputs, "target");
        s.ends = ends;
        nb::gil_scoped_release unlocked;
        const Done done = engine_->run(s, work);
        return {done.steps, done.work};
    }

    // Binds the arrays, of one step, that `predict` and `learn` read and write.
    void bind(Array<T> theta, std::vector<Array<T>> others, Array<const int64_t> index,
              Array<const T> dense, std::optional<Array<const int64_t>> classes,
              std::optional<Array<const T>> values, Array<const bool> mask,
              Array<const bool> resets, std::optional<Array<const int8_t>> noise, Array<T> losses,
              Array<T> outputs) {
        const Busy busy(busy_);
        require_settled();
        Arrays<T> given{theta, others, index, dense,  classes, values,
                        mask,  resets,  noise, losses, outputs};
        const Sequence<T> step = given.checked(config_, 0);
        require(step.steps == 1, "the bound arrays are those of one step");
        bound_ = std::move(given);
        step_ = step;
    }

    // The inputs are the bound indices or numbers; `begins` says whether the bound resets count.
    void predict(bool by_index, bool begins) {
        const Busy busy(busy_);
        require(bound_.has_value(), "predict needs bound arrays");
        require_settled();
        require(!engine_->owes(), "the reverse pass of a window is not finished");
        require_planned(by_index);
        Sequence<T> s = step_;
        if (by_index) s.indices = indices(*bound_->index, inputs_, config_.inputs, "input index");
        by_index_ = by_index;
        if (!begins) s.resets = nullptr;
        nb::gil_scoped_release unlocked;
        engine_->predict(s);
    }

    // Without `targets` the step has no target; with them the bound targets and mask count.
    void learn(bool targets) {
        const Busy busy(busy_);
        require(engine_->predicted(), "learn follows predict");
        Sequence<T> s = step_;
        if (by_index_) s.indices = inputs_.data();
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

    void update(Array<T> theta, std::vector<Array<T>> others) {
        T* parameters[kMostParameters];
        const Busy busy(busy_);
        require_settled();
        point(config_, theta, others, parameters);
        written(theta, others).require();
        require(!engine_->walk() || !engine_->counters().targets || engine_->owes(),
                "the window needs a plan to close with");
        nb::gil_scoped_release unlocked;
        engine_->update(parameters);
    }

    // Ends the first pass of the open window, which has targets; the reverse pass is then owed.
    void close(PlanArray plan) {
        const Busy busy(busy_);
        require_settled();
        require(engine_->walk() && engine_->counters().targets && !engine_->owes(),
                "there is no window to close");
        std::vector<int32_t> own = copied(plan);
        Walk trial = *engine_->walk();
        trial.close(own);
        require_followed(std::move(trial), most_);
        engine_->close(std::move(own));
    }

    // Windows of `steps` steps follow the plan, with at most `bytes` on their stack.
    void plan(PlanArray plan, int64_t steps, int64_t bytes) {
        const Busy busy(busy_);
        require_settled();
        require(engine_->walk(), "this rule follows no plan");
        require(!engine_->counters().steps, "a window is open");
        const int64_t every = config_.update_every;
        require(steps >= 1 && steps <= INT32_MAX && (!every || steps == every), "no such steps");
        require(bytes >= 0, "bytes must be at least 0");
        const StateSizes sizes = engine_->state_sizes();
        const int64_t most = numbers(bytes, sizeof(T), steps, sizes);
        std::vector<int32_t> own = copied(plan);
        Walk trial(sizes);
        trial.start(own, steps);
        require_followed(std::move(trial), most);
        engine_->plan(std::move(own), steps, most);
        most_ = most;
    }

    // Returns the plan's steps, the place in the plan, and the states on the stack, bottom first:
    // after how many steps, and whether internal.
    nb::dict window() const {
        const Busy busy(busy_);
        nb::dict all;
        const Walk* const walk = engine_->walk();
        require(walk, "this rule follows no plan");
        const WindowState w = engine_->window();
        all["steps"] = walk->steps();
        all["at"] = w.at;
        all["part"] = w.part;
        all["forwards"] = w.forwards;
        all["pending"] = w.pending;
        std::vector<std::pair<int64_t, bool>> kept;
        for (const Kept& state : walk->stack()) kept.emplace_back(state.step, state.internal);
        all["kept"] = kept;
        return all;
    }
    bool owes() const {
        const Busy busy(busy_);
        return engine_->owes();
    }
    // The bytes of a hidden and of an internal state on the stack; 0 for rules without one.
    std::pair<int64_t, int64_t> state_bytes() const {
        const StateSizes sizes = engine_->state_sizes();
        return {sizes.hidden * sizeof(T), sizes.internal * sizeof(T)};
    }

    void resume(int64_t steps, int64_t targets, int64_t updates, int64_t longest_window,
                int64_t rule_bytes, int64_t at, int64_t part, int64_t forwards, int64_t pending,
                bool indexed, int64_t memories, int64_t older) {
        const int64_t every = config_.update_every;
        require(targets >= 0 && updates >= 0 && longest_window >= 0 && rule_bytes >= 0,
                "counters must be at least 0");
        const Busy busy(busy_);
        require_settled();
        const Counters counters{steps, targets, updates, longest_window, rule_bytes};
        const WindowState window{at, part, forwards, pending, indexed};
        if (const Walk* const walk = engine_->walk()) {
            require_place(*walk, window, counters);
        } else {
            require(steps >= 0 && steps < (every ? every : int64_t(1) << 30), "no such steps");
        }
        const int64_t joined = config_.k_att ? steps / config_.k_att : 0;
        require(older >= 1 && memories >= older && memories - older == joined,
                "the memories do not fit the steps since the window began");
        engine_->resume(counters, window, {memories, older});
    }
    int64_t older() const {
        const Busy busy(busy_);
        return engine_->remembered().older;
    }
    int64_t memories() const {
        const Busy busy(busy_);
        return engine_->remembered().count;
    }

    nb::dict buffers() {
        const Busy busy(busy_);
        return copies(engine_->buffers());
    }
    void fill(nb::dict all) {
        const Busy busy(busy_);
        snaprun::fill(engine_->buffers(), all);
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

    // Whether the next step can be one of a plan's.
    void require_planned(bool indexed) const {
        const Walk* const walk = engine_->walk();
        if (!walk) return;
        require(walk->steps(), "a window needs a plan");
        require(!engine_->counters().steps || engine_->window().indexed == indexed,
                "the inputs of a window are either indices or numbers");
    }

    struct Busy {
        std::atomic_flag& flag;
        explicit Busy(std::atomic_flag& flag_) : flag(flag_) {
            if (flag.test_and_set()) throw std::runtime_error("this engine runs in another thread");
        }
        ~Busy() { flag.clear(); }
    };

    EngineConfig config_;
    bool classes_;  // whether the targets are classes
    std::unique_ptr<EngineBase<T>> engine_;
    std::vector<int64_t> inputs_, targets_;  // of the running sequence
    std::optional<Arrays<T>> bound_;
    Sequence<T> step_;  // in the bound arrays
    bool by_index_ = false;  // whether the inputs of the predicted step are indices
    int64_t most_ = 0;  // numbers on the stack
    mutable std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

template <class T>
void bind(nb::module_& m, const char* name) {
    using E = PyEngine<T>;
    nb::class_<E>(m, name)
        .def(nb::init<nb::dict>(), "config"_a)
        .def("run", &E::run, "theta"_a.noconvert(), "others"_a.noconvert(),
             "index"_a.noconvert().none(), "dense"_a.noconvert().none(),
             "classes"_a.noconvert().none(), "values"_a.noconvert().none(), "mask"_a.noconvert(),
             "resets"_a.noconvert(), "noise"_a.noconvert().none(), "losses"_a.noconvert(),
             "ends"_a = true, "outputs"_a.noconvert().none() = nb::none(), "first"_a = 0,
             "work"_a = std::numeric_limits<int64_t>::max())
        .def("bind", &E::bind, "theta"_a.noconvert(), "others"_a.noconvert(),
             "index"_a.noconvert(), "dense"_a.noconvert(), "classes"_a.noconvert().none(),
             "values"_a.noconvert().none(), "mask"_a.noconvert(), "resets"_a.noconvert(),
             "noise"_a.noconvert().none(), "losses"_a.noconvert(), "outputs"_a.noconvert())
        .def("predict", &E::predict, "by_index"_a, "begins"_a)
        .def("learn", &E::learn, "targets"_a)
        .def("undo", &E::undo)
        .def("measure", &E::measure)
        .def("update", &E::update, "theta"_a.noconvert(), "others"_a.noconvert())
        .def("plan", &E::plan, "plan"_a.noconvert(), "steps"_a, "bytes"_a)
        .def("close", &E::close, "plan"_a.noconvert())
        .def("window", &E::window)
        .def_prop_ro("owes", &E::owes, "Whether a window's reverse pass is not finished.")
        .def_prop_ro("state_bytes", &E::state_bytes)
        .def("resume", &E::resume, "steps"_a, "targets"_a, "updates"_a, "longest_window"_a,
             "rule_bytes"_a, "at"_a = 0, "part"_a = 0, "forwards"_a = 0, "pending"_a = 0,
             "indexed"_a = true, "memories"_a = 1, "older"_a = 1)
        .def_prop_ro("memories", &E::memories, "Of the reminder, m_0 included.")
        .def_prop_ro("older", &E::older, "Those from before the window.")
        .def("buffers", &E::buffers, "Copies of the engine's memory as tensors.")
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
