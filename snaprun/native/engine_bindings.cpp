// Python's view of the engine: everything is checked here, so that a step need not.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>

#include "bindings.hpp"
#include "dispatch.hpp"
#include "engine.hpp"
#include "overlap.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace snaprun {

#define SNAPRUN_DECLARE(ns)                                                   \
    namespace ns {                                                            \
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

template <class T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

[[noreturn]] void refuse(const std::string& what) { throw nb::value_error(what.c_str()); }

void require(bool holds, const char* what) {
    if (!holds) refuse(what);
}

// Throws what Python sees as OverflowError: a size that is right but beyond the indices here.
void index(bool holds, const char* what) {
    if (!holds) throw std::overflow_error(what);
}

template <class A>
bool has_shape(const A& a, std::initializer_list<int64_t> shape) {
    if (a.ndim() != shape.size()) return false;
    size_t i = 0;
    for (int64_t n : shape) {
        if (int64_t(a.shape(i++)) != n) return false;
    }
    return true;
}

template <class A>
void within(const A& a, int64_t bound, const char* name) {
    for (size_t i = 0; i < a.size(); ++i) {
        if (a.data()[i] < 0 || a.data()[i] >= bound) {
            refuse(std::string(name) + " must lie in [0, " + std::to_string(bound) + "), not " +
                   std::to_string(a.data()[i]));
        }
    }
}

std::vector<int32_t> indices(nb::handle values, const char* name, int64_t bound) {
    auto list = nb::cast<std::vector<int64_t>>(values);
    std::vector<int32_t> out;
    out.reserve(list.size());
    for (int64_t v : list) {
        if (v < 0 || v >= bound) {
            refuse(std::string(name) + " must lie in [0, " + std::to_string(bound) + ")");
        }
        out.push_back(int32_t(v));
    }
    return out;
}

void check_begins(const std::vector<int32_t>& begins, size_t blocks, size_t size,
                  const char* name) {
    bool good = begins.size() == blocks + 1 && begins.front() == 0 &&
                size_t(begins.back()) == size;
    for (size_t i = 1; good && i < begins.size(); ++i) good = begins[i - 1] < begins[i];
    if (!good) refuse(std::string(name) + " must rise from 0 to the number of entries");
}

bool ascending(const std::vector<int32_t>& values, int begin, int end) {
    for (int i = begin + 1; i < end; ++i) {
        if (values[i - 1] >= values[i]) return false;
    }
    return true;
}

}  // namespace

Pattern read_pattern(nb::dict d) {
    constexpr int64_t most = int64_t(1) << 30;
    Pattern p;
    auto size = [&](const char* name) {
        const int64_t value = nb::cast<int64_t>(d[name]);
        if (value < 1 || value > 1 << 24) refuse(std::string(name) + " must be at least 1");
        return int(value);
    };
    p.units = size("units");
    p.components = size("components");
    p.slots = size("slots");
    p.sources = size("sources");
    require(p.sources > p.units, "sources must be more than units");
    require(p.components <= 8 && p.slots <= 16, "too many components or slots");
    p.unit_P = indices(d["unit"], "unit", p.units);
    p.slot_P = indices(d["slot"], "slot", p.slots);
    p.source_P = indices(d["source"], "source", p.sources);
    const size_t P = p.unit_P.size();
    require(P >= 1, "there must be parameters");
    index(int64_t(P) < most, "there are 2^30 recurrent parameters or more");
    require(p.slot_P.size() == P && p.source_P.size() == P,
            "unit, slot and source must be equally long");
    p.parameters = int(P);
    for (size_t e = 1; e < P; ++e) {
        const int64_t before = (int64_t(p.unit_P[e - 1]) * p.slots + p.slot_P[e - 1]) * p.sources +
                               p.source_P[e - 1];
        const int64_t here =
            (int64_t(p.unit_P[e]) * p.slots + p.slot_P[e]) * p.sources + p.source_P[e];
        require(before < here, "parameters must be ordered by unit, slot, source");
    }
    if (!d.contains("rows")) return p;
    const int64_t states = int64_t(p.components) * p.units;
    p.row_begin = indices(d["row_begin"], "row_begin", most);
    p.rows = indices(d["rows"], "rows", states);
    p.column_begin = indices(d["column_begin"], "column_begin", most);
    p.columns = indices(d["columns"], "columns", p.parameters);
    for (int32_t own : indices(d["own"], "own", 2)) p.own.push_back(uint8_t(own));
    p.entry_row = indices(d["entry_row"], "entry_row", states);
    p.entry_column = indices(d["entry_column"], "entry_column", states);
    require(!p.row_begin.empty(), "row_begin must not be empty");
    const size_t blocks = p.row_begin.size() - 1;
    check_begins(p.row_begin, blocks, p.rows.size(), "row_begin");
    check_begins(p.column_begin, blocks, p.columns.size(), "column_begin");
    for (size_t g = 0; g < blocks; ++g) {
        index(p.row_begin[g + 1] - p.row_begin[g] <= 32767,
              "a parameter reaches more than 32,767 states");
    }
    require(p.own.size() == p.rows.size(), "own must be as long as rows");
    require(p.entry_row.size() == p.entry_column.size(),
            "entry_row and entry_column must be equally long");
    std::vector<uint8_t> seen(P);
    for (size_t g = 0; g < blocks; ++g) {
        require(ascending(p.rows, p.row_begin[g], p.row_begin[g + 1]) &&
                    ascending(p.columns, p.column_begin[g], p.column_begin[g + 1]),
                "rows and columns of a block must ascend");
        for (int i = p.column_begin[g]; i < p.column_begin[g + 1]; ++i) {
            require(!seen[p.columns[i]]++, "a parameter stands in two blocks");
            require(p.unit_P[p.columns[i]] == p.unit_P[p.columns[p.column_begin[g]]],
                    "a block must hold parameters of one unit");
        }
    }
    for (size_t i = 1; i < p.entry_row.size(); ++i) {
        const int64_t before = p.entry_row[i - 1] * states + p.entry_column[i - 1];
        require(before < p.entry_row[i] * states + p.entry_column[i], "entries must ascend");
    }
    return p;
}

namespace {

template <class E>
E named(nb::dict d, const char* key, std::initializer_list<std::pair<const char*, E>> choices) {
    const std::string name = nb::cast<std::string>(d[key]);
    for (const auto& choice : choices) {
        if (name == choice.first) return choice.second;
    }
    refuse(std::string(key) + "=" + name + " is not known");
}

EngineConfig read_config(nb::dict d) {
    EngineConfig c;
    c.pattern = read_pattern(nb::cast<nb::dict>(d["pattern"]));
    c.cell = named<CellKind>(d, "cell",
                             {{"vanilla", CellKind::vanilla}, {"gru", CellKind::gru},
                              {"lstm", CellKind::lstm}});
    c.rule = named<RuleKind>(d, "rule",
                             {{"influence", RuleKind::influence},
                              {"snap1", RuleKind::snap1}, {"bptt", RuleKind::bptt},
                              {"rflo", RuleKind::rflo}, {"uoro", RuleKind::uoro},
                              {"frozen", RuleKind::frozen}});
    c.optimiser = named<OptimiserKind>(
        d, "optimiser", {{"adam", OptimiserKind::adam}, {"sgd", OptimiserKind::sgd}});
    auto number = [&](const char* key, double& to) {
        if (d.contains(key)) to = nb::cast<double>(d[key]);
    };
    number("alpha", c.alpha);
    number("lr", c.lr);
    number("half_life", c.half_life);
    number("average", c.average);
    require(c.average >= 0 && c.average < 1, "average must lie in [0, 1)");
    number("beta1", c.beta1);
    number("beta2", c.beta2);
    number("eps", c.eps);
    number("momentum", c.momentum);
    number("clip", c.clip);
    auto integer = [&](const char* key, int64_t least) {
        const int64_t value = nb::cast<int64_t>(d[key]);
        if (value < least || value > 1 << 24) {
            refuse(std::string(key) + "=" + std::to_string(value) + " is out of range");
        }
        return int(value);
    };
    c.outputs = integer("outputs", 1);
    c.hidden = integer("hidden", 0);
    c.lanes = integer("lanes", 1);
    c.threads = integer("threads", 1);
    c.update_every = nb::cast<int64_t>(d["update_every"]);
    require(c.update_every >= 0, "update_every must be at least 0");
    const Pattern& p = c.pattern;
    c.inputs = p.sources - p.units - 1;
    if (d.contains("feedback")) c.feedback = nb::cast<std::vector<double>>(d["feedback"]);
    require(c.feedback.empty() || c.feedback.size() == size_t(c.outputs) * p.units,
            "feedback must be (outputs, units)");
    const bool lstm = c.cell == CellKind::lstm, vanilla = c.cell == CellKind::vanilla;
    require(p.components == (lstm ? 2 : 1) && p.slots == (vanilla ? 1 : 4),
            "components and slots do not fit the cell");
    require(c.rule != RuleKind::influence || !p.row_begin.empty(), "the pattern has no blocks");
    const int64_t stride = c.lanes + 7, most = int64_t(1) << 30;
    index(int64_t(p.sources) * stride < most &&
              int64_t(p.units) * p.slots * p.components * stride < most &&
              (int64_t(c.hidden) + c.outputs) * stride < most,
          "lanes times units, inputs or outputs are 2^30 or more");
    return c;
}

template <class T>
class PyEngine {
public:
    explicit PyEngine(nb::dict config)
        : config_(read_config(config)), engine_(make<T>(config_)) {}

    void run(Array<T> theta, std::vector<Array<T>> readout, std::optional<Array<const int64_t>> index,
             std::optional<Array<const T>> dense, Array<const int64_t> targets,
             Array<const bool> mask, Array<const bool> resets,
             std::optional<Array<const int8_t>> noise, Array<T> nats, bool ends) {
        const Pattern& p = config_.pattern;
        Sequence<T> s;
        const Busy busy(busy_);
        point(theta, readout, s.parameters);
        require(mask.ndim() == 2, "mask must have the shape (T, B)");
        const int64_t steps = int64_t(mask.shape(0)), lanes = config_.lanes;
        require(has_shape(mask, {steps, lanes}) && has_shape(targets, {steps, lanes}) &&
                    has_shape(resets, {steps, lanes}) && has_shape(nats, {steps, lanes}),
                "targets, mask, resets and nats must have the shape (T, lanes)");
        require(index.has_value() != dense.has_value(), "inputs are either indices or dense");
        if (index) {
            require(has_shape(*index, {steps, lanes}), "indices must have the shape (T, lanes)");
            copy(*index, inputs_);
            within(inputs_, config_.inputs, "input index");
            s.indices = inputs_.data();
        } else {
            require(has_shape(*dense, {steps, lanes, config_.inputs}),
                    "inputs must have the shape (T, lanes, a)");
            s.dense = dense->data();
        }
        copy(targets, targets_);
        within(targets_, config_.outputs, "target");
        if (config_.rule == RuleKind::uoro) {
            require(noise.has_value() && has_shape(*noise, {steps, lanes, p.components, p.units}),
                    "noise must have the shape (T, lanes, c, k)");
            s.noise = noise->data();
        }
        s.steps = steps;
        s.ends = ends;
        s.targets = targets_.data();
        s.mask = reinterpret_cast<const uint8_t*>(mask.data());
        s.resets = reinterpret_cast<const uint8_t*>(resets.data());
        s.nats = nats.data();
        Apart arrays = written(theta, readout);
        arrays.writes(nats, "nats");
        if (dense) arrays.reads(*dense, "dense");
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

    // Copies of the engine's memory, as tensors.
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

    // The engine's memory from tensors as `buffers` gives them, all of them.
    void fill(nb::dict all) {
        const Busy busy(busy_);
        for (const bool checked : {false, true}) {  // all of them before the first is copied
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

    // What another thread of Python may change while the engine runs without the GIL, and what must
    // stay within bounds.
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
        require(has_shape(theta, {p.parameters}), "theta must have the shape (P,)");
        parameters[0] = theta.data();
        const int widths[3] = {p.units, config_.hidden ? config_.hidden : config_.outputs,
                               config_.outputs};
        const size_t layers = config_.hidden ? 2 : 1;
        require(readout.size() == 2 * layers, "the readout has another number of layers");
        for (size_t l = 0; l < layers; ++l) {
            require(has_shape(readout[2 * l], {widths[l + 1], widths[l]}) &&
                        has_shape(readout[2 * l + 1], {widths[l + 1]}),
                    "a readout parameter has another shape");
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
    std::unique_ptr<EngineBase<T>> engine_;
    std::vector<int64_t> inputs_, targets_;  // of the sequence that runs
    mutable std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

template <class T>
void bind(nb::module_& m, const char* name) {
    using E = PyEngine<T>;
    nb::class_<E>(m, name)
        .def(nb::init<nb::dict>(), "config"_a)
        .def("run", &E::run, "theta"_a.noconvert(), "readout"_a.noconvert(),
             "index"_a.noconvert().none(), "dense"_a.noconvert().none(), "targets"_a.noconvert(),
             "mask"_a.noconvert(), "resets"_a.noconvert(), "noise"_a.noconvert().none(),
             "nats"_a.noconvert(), "ends"_a = true)
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

}  // namespace

void bind_engine(nb::module_& m) {
    bind<float>(m, "Engine32");
    bind<double>(m, "Engine64");
    m.def("isa", &isa_name, "The instruction set in use.");
    m.def("isas", &isas, "The words for SNAPRUN_ISA that this CPU can follow, the least first.");
}

}  // namespace snaprun
