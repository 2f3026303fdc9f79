// Reads and checks the pattern and the configuration that Python passes before a run.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.hpp"

namespace nb = nanobind;

namespace snaprun {
namespace {

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

// `named` finds the table entry that d[key] names, `constants` the constants that it needs.
template <class Info>
const Info& named(nb::dict d, const char* key, const std::vector<Info>& all, std::string& name) {
    name = nb::cast<std::string>(d[key]);
    const Info* info = find(all, name);
    if (!info) refuse(std::string(key) + "=" + name + " is not known");
    return *info;
}

std::vector<double> constants(nb::dict d, const std::vector<std::string>& names) {
    std::vector<double> out;
    for (const std::string& name : names) {
        require(d.contains(name.c_str()), (name + " is missing").c_str());
        out.push_back(nb::cast<double>(d[name.c_str()]));
    }
    return out;
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
    p.layers = indices(d["layers"], "layers", int64_t(p.units) + 1);
    int64_t units = 0;
    for (int32_t layer : p.layers) {
        require(layer > 0, "a layer must have units");
        units += layer;
    }
    require(units == p.units && p.inputs() >= 0, "layers do not fit units and sources");
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
    p.link_row = indices(d["link_row"], "link_row", states);
    p.link_column = indices(d["link_column"], "link_column", p.units);
    require(p.link_row.size() == p.link_column.size(),
            "link_row and link_column must be equally long");
    auto ascend = [&](const std::vector<int32_t>& row, const std::vector<int32_t>& column) {
        for (size_t i = 1; i < row.size(); ++i) {
            require(row[i - 1] * states + column[i - 1] < row[i] * states + column[i],
                    "entries must ascend");
        }
    };
    ascend(p.entry_row, p.entry_column);
    ascend(p.link_row, p.link_column);
    for (size_t i = 0; i < p.link_row.size(); ++i) {
        require(p.link_column[i] < p.link_row[i] % p.units, "a link must lead to an upper layer");
    }
    return p;
}

EngineConfig read_config(nb::dict d) {
    EngineConfig c;
    c.pattern = read_pattern(nb::cast<nb::dict>(d["pattern"]));
    const Capabilities& all = known();
    const CellInfo& cell = named(d, "cell", all.cells, c.cell);
    const RuleInfo& rule = named(d, "rule", all.rules, c.rule);
    const OptimiserInfo& optimiser = named(d, "optimiser", all.optimisers, c.optimiser);
    named(d, "loss", all.losses, c.loss);
    c.cell_constants = constants(d, cell.constants);
    c.optimiser_constants = constants(d, optimiser.constants);
    auto number = [&](const char* key, double& to) {
        if (d.contains(key)) to = nb::cast<double>(d[key]);
    };
    number("rate_cost", c.rate_cost);
    number("rate_target", c.rate_target);
    number("lr", c.schedule.lr);
    number("warmup", c.schedule.warmup);
    number("half_life", c.schedule.half_life);
    number("cosine", c.schedule.cosine);
    number("floor", c.schedule.floor);
    number("average", c.average);
    require(c.average >= 0 && c.average < 1, "average must lie in [0, 1)");
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
    if (d.contains("truncate")) c.truncate = nb::cast<int64_t>(d["truncate"]);
    require(c.truncate >= 0, "truncate must be at least 0");
    if (d.contains("k_att")) {
        c.k_att = nb::cast<int64_t>(d["k_att"]);
        c.k_top = integer("k_top", 1);
        require(c.k_att >= 1, "k_att must be at least 1");
    }
    if (d.contains("detach")) c.detach = nb::cast<bool>(d["detach"]);
    require(rule.attends != Attends::never || !c.k_att, "this rule trains no core with a reminder");
    // Credit skips to memories of its own window, which must end with the batch.
    require(rule.attends != Attends::always || (c.k_att && !c.update_every),
            "this rule needs a reminder and an update at the end of a batch");
    const Pattern& p = c.pattern;
    c.inputs = p.inputs();
    if (d.contains("feedback")) c.feedback = nb::cast<std::vector<double>>(d["feedback"]);
    require(c.feedback.empty() || c.feedback.size() == size_t(c.outputs) * p.units,
            "feedback must be (outputs, units)");
    number("feedback_decay", c.feedback_decay);
    require(c.feedback_decay < 0 || (!c.feedback.empty() && !c.hidden && c.feedback_decay < 1),
            "feedback that adapts needs a start, a linear readout, and a decay below 1");
    if (d.contains("drop_spikes")) c.drop_spikes = nb::cast<bool>(d["drop_spikes"]);
    require(p.components == cell.components() && p.slots == cell.slots(),
            "components and slots do not fit the cell");
    if (rule.traces) {
        c.traces = nb::cast<std::vector<std::string>>(d["traces"]);
        bool fits = c.traces.size() == size_t(p.components);
        for (const std::string& word : c.traces) {
            fits = fits && word.size() == size_t(p.slots) &&
                   word.find_first_not_of("01") == std::string::npos;
        }
        require(fits, "traces must be a word of 0 and 1 a component, a letter a slot");
    }
    require(!rule.blocks || !p.row_begin.empty(), "the pattern has no blocks");
    const int64_t stride = c.lanes + 7, most = int64_t(1) << 30;
    index(int64_t(p.sources) * stride < most &&
              int64_t(p.units) * p.slots * p.components * stride < most &&
              (int64_t(c.hidden) + c.outputs) * stride < most,
          "lanes times units, inputs or outputs are 2^30 or more");
    return c;
}

}  // namespace snaprun
