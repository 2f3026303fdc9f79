// All rules. To add one, write a file for it and a line here.
#pragma once

#include "bptt.hpp"
#include "budget.hpp"
#include "rate.hpp"
#include "rflo.hpp"
#include "sab.hpp"
#include "snap1.hpp"
#include "uoro.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
const auto& rules() {
    using E = Entry<RuleInfo, Rule<T>, RuleSetup>;
    static const std::vector<E> all{
        E::template of<InfluenceRule<T>>(), E::template of<SnAp1<T>>(), E::template of<BPTT<T>>(),
        E::template of<Budget<T>>(),        E::template of<RFLO<T>>(),  E::template of<UORO<T>>(),
        E::template of<SAB<T>>(),           E::template of<Rate<T>>(),   E::template of<Frozen<T>>(),
    };
    return all;
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
