// What the engine can train, for Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.hpp"

namespace nb = nanobind;

namespace snaprun {
namespace {

// Returns by name: a cell's components, slots, constants and one word per component with '1' for
// every slot that reaches it; whether a rule needs blocks or noise, and whether it trains a core with
// a reminder; an optimiser's constants;
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
        entry["attends"] = rule.attends != Attends::never;
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

void bind_capabilities(nb::module_& m) {
    m.def("capabilities", &described, "The cells, rules, optimisers and losses of the engine.");
}

}  // namespace snaprun
