// Follows a plan of snaprun.rules.schedule without its numbers: positions, stack and size.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace snaprun {

// The instructions; a positive number n is n forward steps without slopes.
enum Instruction : int32_t { kHold = -1, kTape = -2, kBack = -3, kRestore = -4, kDrop = -5 };

constexpr int kChunk = 4;  // reversed steps whose gradient is summed at once

// A state on the stack: after how many steps of the window, and whether it is internal.
struct Kept {
    int64_t step;
    bool internal;
};

// The numbers of a hidden and of an internal state.
struct StateSizes {
    int64_t hidden = 0, internal = 0;
    int64_t of(const Kept& kept) const { return kept.internal ? internal : hidden; }
};

class Walk {
public:
    explicit Walk(const StateSizes& sizes = {}) : sizes_(sizes) {}

    // Starts a window of `steps` steps.
    void start(std::vector<int32_t> plan, int64_t steps) {
        plan_ = std::move(plan);
        steps_ = steps;
        restart();
    }
    void restart() {
        stack_.clear();
        at_ = part_ = cursor_ = ascended_ = used_ = peak_ = 0;
        left_ = steps_;
    }
    // The window ends here, with this plan for its reverse pass. Its own plan is returned.
    std::vector<int32_t> close(std::vector<int32_t> plan) {
        std::swap(plan_, plan);
        at_ = part_ = 0;
        left_ = steps_ = ascended_;
        return plan;
    }

    // Takes the next instruction, of an advance up to `most` steps. Returns null, or why the plan
    // cannot be followed.
    const char* take(int64_t most = 1) {
        const bool ascends = ascended_ < steps_;
        switch (const int32_t next = plan_[at_]) {
            case kHold:
                push({cursor_, false});
                break;
            case kTape:
                if (const char* wrong = advance(1)) return wrong;
                push({cursor_, true});
                break;
            case kBack:
                if (ascends) return "reverses a step before all are passed";
                if (!on_top(true) || stack_.back().step != left_) return "reverses a missing step";
                pop();
                --left_;
                break;
            case kRestore:
                if (ascends) return "goes back before all steps are passed";
                if (stack_.empty()) return "restores a missing state";
                cursor_ = stack_.back().step;
                break;
            case kDrop:
                if (ascends || !on_top(false)) return "drops a missing state";
                pop();
                break;
            default: {
                if (next <= 0) return "has an unknown instruction";
                const int64_t taken = std::min(most, next - part_);
                if (const char* wrong = advance(taken)) return wrong;
                part_ += taken;
                if (part_ < next) return nullptr;
                part_ = 0;
            }
        }
        ++at_;
        return nullptr;
    }
    // Takes all instructions up to `at`, and `part` steps of the next. Returns as `take`.
    const char* follow(int64_t at, int64_t part) {
        while (at_ < at) {
            if (const char* wrong = take(INT64_MAX)) return wrong;
        }
        if (!part) return nullptr;
        if (at == length() || part >= plan_[at]) return "has no such part of an instruction";
        return take(part);
    }
    // Takes all instructions, to the end of the window. Returns as `take`.
    const char* finish() {
        if (const char* wrong = follow(length(), 0)) return wrong;
        if (ascended_ < steps_ || left_ > 0) return "does not reverse all steps";
        return stack_.empty() ? nullptr : "leaves states behind";
    }

    bool done() const { return at_ == length(); }
    int32_t next() const { return plan_[at_]; }
    int64_t length() const { return int64_t(plan_.size()); }
    int64_t steps() const { return steps_; }        // of the window
    int64_t at() const { return at_; }              // whole instructions taken
    int64_t part() const { return part_; }          // steps taken of the next one
    int64_t cursor() const { return cursor_; }      // steps before the state that moves
    int64_t ascended() const { return ascended_; }  // steps passed in the first pass
    int64_t left() const { return left_; }          // steps not reversed
    int64_t used() const { return used_; }          // numbers on the stack
    int64_t peak() const { return peak_; }          // the most so far
    const std::vector<Kept>& stack() const { return stack_; }

private:
    bool on_top(bool internal) const {
        return !stack_.empty() && stack_.back().internal == internal;
    }
    void push(Kept kept) {
        stack_.push_back(kept);
        used_ += sizes_.of(kept);
        peak_ = std::max(peak_, used_);
    }
    void pop() {
        used_ -= sizes_.of(stack_.back());
        stack_.pop_back();
    }
    const char* advance(int64_t steps) {
        if (steps > left_ - cursor_) return "passes the end";
        cursor_ += steps;
        ascended_ = std::max(ascended_, cursor_);
        return nullptr;
    }

    StateSizes sizes_;
    std::vector<int32_t> plan_;
    std::vector<Kept> stack_;
    int64_t steps_ = 0, at_ = 0, part_ = 0, cursor_ = 0, ascended_ = 0, left_ = 0;
    int64_t used_ = 0, peak_ = 0;
};

}  // namespace snaprun
