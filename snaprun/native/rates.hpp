// The cost c Σ_u (mean h_u − f0)² of firing rates; the twin of snaprun.engine.rates.
#pragma once

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class RateCost {
public:
    RateCost(const EngineConfig& config, const CellInfo& cell, int stride, size_t top)
        : cost_(config.rate_cost), target_(config.rate_target), units_(config.pattern.units),
          lanes_(config.lanes), stride_(stride), read_(cell.read), top_(top), mean_(units_),
          summed_(units_) {
        for (int u = 0; u < units_; ++u) mean_[u] = target_;
    }

    void count(const T* h) {
        for (int u = 0; u < units_; ++u) {
            for (int b = 0; b < lanes_; ++b) summed_[u] += h[size_t(u) * stride_ + b];
        }
    }

    // Adds the credit of h to δ (c, k, stride), in which the readout's stands if there are targets.
    void add(bool targets, T* credit) const {
        const size_t size = size_t(units_) * stride_;
        if (!targets) std::memset(credit + read_ * size + top_, 0, (size - top_) * sizeof(T));
        for (int u = 0; u < units_; ++u) {
            const T own = 2 * cost_ * (mean_[u] - target_);
            const bool holds = read_ == 0 && size_t(u) * stride_ >= top_;
            T* const to = credit + size_t(u) * stride_;
            for (int b = 0; b < lanes_; ++b) to[b] = holds ? to[b] + own : own;
        }
    }

    // Ends a window of so many (lane, step) pairs.
    void follow(int64_t pairs) {
        if (!pairs) return;
        const T weight = T(pairs) / T(pairs + kRemembered);
        for (int u = 0; u < units_; ++u) {
            mean_[u] += weight * (summed_[u] / T(pairs) - mean_[u]);
            summed_[u] = 0;
        }
    }

    void list(std::vector<Named<T>>& buffers) {
        buffers.push_back({"rates mean", mean_.data(), {units_}});
        buffers.push_back({"rates summed", summed_.data(), {units_}});
    }

private:
    static constexpr int64_t kRemembered = 1000;

    T cost_, target_;
    int units_, lanes_, stride_, read_;
    size_t top_;
    Buffer<T> mean_, summed_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
