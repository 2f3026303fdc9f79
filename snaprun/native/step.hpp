// What a cell reads and writes in a step.
#pragma once

#include "engine.hpp"
#include "math.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// pre (k, m, stride); state (c, k, stride), replaced; slopes (c, m, k, stride);
// blocks (c, c, k, stride); ones (stride): 1 in real lanes, 0 in padded ones, whose slopes are 0.
// A step without kSlopes writes the state alone, with the same bits.
// The step is that of `units` units of one layer; `size` numbers lie between components or slots.
template <class T>
struct CellStep {
    const T* pre;
    T* state;
    T* slopes;
    T* blocks;
    const T* ones;
    const T* constants;
    int units, stride, size;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
