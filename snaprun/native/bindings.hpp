// What the parts of the module share.
#pragma once

#include <nanobind/nanobind.h>

#include "influence.hpp"

namespace snaprun {

// A Pattern from a dict of its fields (lists of integers); ValueError where it is not one. Without
// "rows" only the layout of θ.
Pattern read_pattern(nanobind::dict fields);

void bind_engine(nanobind::module_& m);
void bind_influence(nanobind::module_& m);

}  // namespace snaprun
