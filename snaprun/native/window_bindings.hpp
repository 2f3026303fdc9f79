// Checks a plan before the engine follows it, and a place in one before the engine goes on there.
#pragma once

#include "bindings.hpp"

namespace snaprun {

using PlanArray = Array<const int32_t>;

inline std::vector<int32_t> copied(const PlanArray& plan) {
    require(plan.ndim() == 1, "a plan must have one dimension");
    return {plan.data(), plan.data() + plan.size()};
}

// Throws unless the walk can be followed from where it is to its end, with `most` numbers.
inline void require_followed(Walk trial, int64_t most) {
    if (const char* wrong = trial.finish()) refuse(std::string("the plan ") + wrong);
    require(trial.peak() <= most, "the plan keeps more than the bytes given");
}

// Returns the numbers that a stack of `bytes` holds, at most those of the full tape.
inline int64_t numbers(int64_t bytes, int64_t size, int64_t steps, const StateSizes& sizes) {
    const int64_t most = bytes / size;
    return most / sizes.internal > steps ? steps * sizes.internal + sizes.hidden : most;
}

// Throws unless a window of the plan of `walk` can stand at `w` with these counters.
inline void require_place(const Walk& walk, const WindowState& w, const Counters& counters) {
    Walk trial = walk;
    trial.restart();
    require(w.at >= 0 && w.at < std::max<int64_t>(trial.length(), 1) && w.part >= 0,
            "the plan has no such instruction");
    const char* wrong = trial.length() || w.part ? trial.follow(w.at, w.part) : nullptr;
    if (wrong) refuse(std::string("the plan ") + wrong);
    require(counters.steps == trial.ascended(), "the steps do not fit the place in the plan");
    const bool reverses = trial.steps() && trial.ascended() == trial.steps();
    require(counters.targets > 0 || !reverses, "a window without targets has no reverse pass");
    require(w.pending >= 0 && w.pending < kChunk && w.pending <= trial.steps() - trial.left(),
            "more steps are pending than were reversed");
    require(w.forwards >= 0, "forwards must be at least 0");
}

}  // namespace snaprun
