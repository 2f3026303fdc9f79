// Functions that the parts of the module share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "engine.hpp"
#include "influence.hpp"

namespace snaprun {

template <class T>
using Array = nanobind::ndarray<T, nanobind::c_contig, nanobind::device::cpu>;

[[noreturn]] inline void refuse(const std::string& what) {
    throw nanobind::value_error(what.c_str());
}

inline void require(bool holds, const char* what) {
    if (!holds) refuse(what);
}

// Throws what Python sees as OverflowError: a valid size that is too large for the indices here.
inline void index(bool holds, const char* what) {
    if (!holds) throw std::overflow_error(what);
}

template <class A>
void require_shape(const A& a, const char* name, std::initializer_list<int64_t> shape) {
    bool same = a.ndim() == shape.size();
    std::string wanted;
    size_t i = 0;
    for (int64_t n : shape) {
        same = same && int64_t(a.shape(i++)) == n;
        wanted += (wanted.empty() ? "" : ", ") + std::to_string(n);
    }
    if (!same) refuse(std::string(name) + " must have the shape (" + wanted + ")");
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

// A Pattern from a dict of its fields (lists of integers). Without "rows" the dict describes only
// the layout of θ. Python sees ValueError if the dict is not a pattern.
Pattern read_pattern(nanobind::dict fields);

EngineConfig read_config(nanobind::dict fields);  // ValueError in Python if it is wrong

const Capabilities& known();  // everything that the engine can train

void bind_capabilities(nanobind::module_& m);
void bind_engine(nanobind::module_& m);
void bind_influence(nanobind::module_& m);

}  // namespace snaprun
