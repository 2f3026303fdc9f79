// A reminder of the core: sparse attention over memories of the past h of the uppermost layer, the
// twin of snaprun.core.reminder.
//
// Units are innermost here, (…, B, width), so that a memory of a lane is contiguous wherever the
// lane's indices lead; `width` is k padded to whole vectors, and what is padded has no effect.
// Suffixes as there: N memories, R = k_top + 1 rows, the threshold's first.
#pragma once

#include <algorithm>

#include "dense.hpp"
#include "math.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// What a step recalled: all that the derivatives of the attention need.
template <class T>
struct Recall {
    T* proposed;     // (B, width): ĥ
    T* credit;       // (B, width): ∂L/∂s through the readout
    int64_t* index;  // (R, B)
    T* weights;      // (R, B)
    T* slope;        // (B)
};

template <class T>
class Reminder {
public:
    // W₁, W₂ and w₃ are parameters `first`, and the two that follow.
    Reminder(const EngineConfig& c, int stride, int first)
        : every_(c.k_att), first_(first), rows_(c.k_top + 1), lanes_(c.lanes),
          units_(c.pattern.layers.back()), width_((units_ + 7) / 8 * 8), stride_(stride),
          size_(size_t(lanes_) * width_), memory_KW_(size_t(units_) * width_),
          query_KW_(size_t(units_) * width_), score_W_(width_), query_(size_), summary_(size_),
          seen_(2 * size_t(units_) * stride), credit_(seen_.size()),
          proposed_(size_), of_summary_(size_), weights_(size_t(rows_) * lanes_), slope_(lanes_),
          index_(weights_.size()), best_(rows_), order_(rows_) {
        for (int i = 0; i < 3; ++i) gradient_[i].resize(sizes()[i]);
        grow(1);
    }

    int rows() const { return rows_; }
    int lanes() const { return lanes_; }
    int units() const { return units_; }
    int width() const { return width_; }
    size_t size() const { return size_; }  // of a memory of all lanes
    int64_t every() const { return every_; }
    int64_t count() const { return count_; }  // N, m_0 included
    int64_t older() const { return older_; }  // from before the window, which take no credit
    int64_t bytes() const { return 2 * count_ * int64_t(size_ * sizeof(T)); }
    std::vector<size_t> sizes() const {  // of W₁, W₂ and w₃
        const size_t square = size_t(units_) * units_;
        return {square, square, size_t(units_)};
    }
    T* gradient(int i) { return gradient_[i].data(); }  // of these
    void clear() {
        for (Buffer<T>& gradient : gradient_) gradient.zero();
    }
    const T* seen() const { return seen_.data(); }  // [h; s] (2 k, stride), for the readout
    T* credit() { return credit_.data(); }          // on it
    Recall<T> newest() {
        return {proposed_.data(), of_summary_.data(), index_.data(), weights_.data(),
                slope_.data()};
    }
    const T* memories() const { return memories_.data(); }  // (N, B, width)
    const T* keys() const { return keys_.data(); }          // (N, B, width): W₁ m
    const T* score() const { return score_W_.data(); }      // w₃
    // W₁ᵀ or W₂ᵀ (k, width).
    const T* memory_weights() const { return memory_KW_.data(); }
    const T* query_weights() const { return query_KW_.data(); }

    // Called before so many steps, of any number of windows.
    void reserve(int64_t steps) { grow(count_ + (steps_ % every_ + steps) / every_); }

    // Takes the memories from `lanes` (stride) but m_0. Between two windows, whose tapes name memories
    // by their place, those that no lane has any more are dropped.
    void reset(const uint8_t* lanes) {
        for (int64_t n = 1; n < count_; ++n) {
            for (int b = 0; b < lanes_; ++b) absent_[n * lanes_ + b] |= lanes[b] != 0;
        }
        if (steps_) return;
        int64_t held = 1;
        for (int64_t n = 1; n < count_; ++n) {
            const uint8_t* const absent = absent_.data() + n * lanes_;
            if (std::find(absent, absent + lanes_, 0) == absent + lanes_) continue;
            if (held < n) {
                std::memcpy(absent_.data() + held * lanes_, absent, lanes_);
                std::memcpy(memories_.data() + held * size_, memories_.data() + n * size_,
                            size_ * sizeof(T));
            }
            ++held;
        }
        count_ = older_ = held;
    }

    // A window begins, in which the parameters may differ.
    void open() {
        older_ = count_;
        steps_ = 0;
        stale_ = true;
    }

    // Takes the parameters, and computes the keys of all memories, if they may have changed.
    void prepare(T* const* parameters) {
        if (!stale_) return;
        transpose(parameters[first_], units_, units_, units_, memory_KW_.data(), width_);
        transpose(parameters[first_ + 1], units_, units_, units_, query_KW_.data(), width_);
        std::memcpy(score_W_.data(), parameters[first_ + 2], units_ * sizeof(T));
        for (int64_t n = 1; n < count_; ++n) key(n);
        stale_ = false;
    }

    // The step of the reminder; h (k, stride) is ĥ, and becomes ĥ + s.
    void step(T* const* parameters, T* h) {
        stale_ |= !steps_;
        prepare(parameters);
        transpose(h, units_, stride_, lanes_, proposed_.data(), width_);
        through(proposed_.data(), query_KW_.data(), query_.data());
        for (int64_t n = 0; n < count_; ++n) score(n);
        for (int b = 0; b < lanes_; ++b) sparsify(b);
        for (int b = 0; b < lanes_; ++b) summarise(b);
        const size_t all = size_t(units_) * stride_;
        T* const s = seen_.data() + all;
        transpose(summary_.data(), lanes_, width_, units_, s, stride_);
        for (size_t i = 0; i < all; i += kWidth<T>) store(h + i, load(h + i) + load(s + i));
        std::memcpy(seen_.data(), h, all * sizeof(T));
        if (++steps_ % every_ == 0) join();
    }

    // Returns to the bank before the last step.
    void undo() {
        if (steps_-- % every_ == 0) --count_;
    }

    // Hands the credit on [h; s] to h (k, stride) and to the newest recall.
    void hand(T* of_h) {
        const size_t all = size_t(units_) * stride_;
        std::memcpy(of_h, credit_.data(), all * sizeof(T));
        transpose(credit_.data() + all, units_, stride_, lanes_, of_summary_.data(), width_);
    }

    // out (B, width) = in (B, width) times a matrix (k, width).
    void through(const T* in, const T* matrix, T* out) const {
        product<T>(in, width_, 1, lanes_, units_, nullptr, matrix, out, width_);
    }

    void resume(int64_t steps, int64_t count, int64_t older) {
        grow(count);
        steps_ = steps;
        count_ = count;
        older_ = older;
        stale_ = true;
    }
    void list(std::vector<Named<T>>& buffers) {
        buffers.push_back({"memories", memories_.data(), {count_, lanes_, width_}});
        buffers.push_back({"absent", absent_.data(), {count_, lanes_}, 2});
    }

private:
    void grow(int64_t rows) {
        if (rows <= room_) return;
        const int64_t wanted = std::max(rows, room_ > 1 ? 2 * room_ : 1);
        memories_.resize(wanted * size_);
        keys_.resize(wanted * size_);
        absent_.resize(wanted * lanes_);
        scores_.resize(wanted * lanes_);
        room_ = wanted;  // set last, because any allocation may fail
    }

    void key(int64_t n) {
        through(memories_.data() + n * size_, memory_KW_.data(), keys_.data() + n * size_);
    }

    // m_0 is in every lane.
    bool absent(int64_t n, int b) const { return n && absent_[n * lanes_ + b]; }

    // The scores of memory n.
    void score(int64_t n) {
        for (int b = 0; b < lanes_; ++b) {
            if (absent(n, b)) continue;
            const T* const key = keys_.data() + n * size_ + size_t(b) * width_;
            const T* const query = query_.data() + size_t(b) * width_;
            Vec<T> total = {};
            for (int k = 0; k < width_; k += kWidth<T>) {
                total += load(score_W_.data() + k) * tanh<T>(load(key + k) + load(query + k));
            }
            scores_[n * lanes_ + b] = sum<T>(total);
        }
    }

    // Finds the weights of a lane. A score that is NaN makes all weights NaN.
    void sparsify(int b) {
        const int most = rows_ - 1;
        int held = 0;
        T nothing = 0;
        for (int64_t n = 0; n < count_; ++n) {
            if (absent(n, b)) continue;
            const T a = scores_[n * lanes_ + b];
            nothing += a * 0;
            if (held == rows_ && !(a > best_[most])) continue;
            int at = held < rows_ ? held++ : most;
            for (; at && a > best_[at - 1]; --at) {
                best_[at] = best_[at - 1];
                order_[at] = order_[at - 1];
            }
            best_[at] = a;
            order_[at] = n;
        }
        const bool all = held <= most;
        const int last = all ? held - 1 : most, kept = std::min(held, most);
        const T threshold = best_[last] - T(all) + nothing;
        T total = 0;
        for (int r = 0; r < kept; ++r) total += best_[r] - threshold;
        const bool tied = total == 0;
        index_[b] = order_[last];
        for (int r = 0; r < most; ++r) {
            const size_t i = size_t(r + 1) * lanes_ + b;
            index_[i] = r < kept ? order_[r] : 0;
            weights_[i] = tied ? 1 / T(most) : r < kept ? (best_[r] - threshold) / total : T(0);
        }
        slope_[b] = tied ? T(0) : 1 / total;
    }

    void summarise(int b) {
        T* const s = summary_.data() + size_t(b) * width_;
        std::memset(s, 0, width_ * sizeof(T));
        for (int r = 1; r < rows_; ++r) {
            const size_t i = size_t(r) * lanes_ + b;
            const T weight = weights_[i];
            if (weight == 0) continue;
            const T* const memory = memories_.data() + index_[i] * size_ + size_t(b) * width_;
            for (int k = 0; k < width_; k += kWidth<T>) {
                store(s + k, load(s + k) + weight * load(memory + k));
            }
        }
    }

    void join() {
        T* const memory = memories_.data() + count_ * size_;
        for (size_t i = 0; i < size_; i += kWidth<T>) {
            store(memory + i, load(proposed_.data() + i) + load(summary_.data() + i));
        }
        std::memset(absent_.data() + count_ * lanes_, 0, lanes_);
        key(count_++);
    }

    const int64_t every_;
    const int first_;
    const int rows_, lanes_, units_, width_, stride_;
    const size_t size_;
    Buffer<T> memory_KW_, query_KW_, score_W_, query_, summary_, seen_, credit_;
    Buffer<T> proposed_, of_summary_, weights_, slope_;  // of the newest step
    Buffer<int64_t> index_;
    Buffer<T> best_;  // of a lane
    Buffer<int64_t> order_;
    Buffer<T> gradient_[3];
    Buffer<T> memories_, keys_, scores_;
    Buffer<uint8_t> absent_;  // (N, B)
    int64_t room_ = 0, count_ = 1, older_ = 1;
    int64_t steps_ = 0;  // t, since the window began
    bool stale_ = true;  // whether the parameters or the memories may have changed
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
