// All rules: a new one is a file of its own and a line here.
#pragma once

#include "bptt.hpp"
#include "rflo.hpp"
#include "snap1.hpp"
#include "uoro.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
struct RuleEntry : RuleInfo {
    std::unique_ptr<Rule<T>> (*make)(const RuleSetup&);
};

template <class T, template <class> class R>
RuleEntry<T> entry() {
    return {R<T>::info(), [](const RuleSetup& setup) -> std::unique_ptr<Rule<T>> {
                return std::make_unique<R<T>>(setup);
            }};
}

template <class T>
const std::vector<RuleEntry<T>>& rules() {
    static const std::vector<RuleEntry<T>> all{
        entry<T, InfluenceRule>(), entry<T, SnAp1>(), entry<T, BPTT>(),
        entry<T, RFLO>(),          entry<T, UORO>(),  entry<T, Frozen>(),
    };
    return all;
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
