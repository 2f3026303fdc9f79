// One backward pass on firing rates; snaprun.rules.rate.
#pragma once

#include <stdexcept>

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class Rate final : public Rule<T> {
public:
    static RuleInfo info() { return {"rate", false, false, true}; }
    explicit Rate(const RuleSetup& s)
        : Rule<T>(s), rows_(s.rows), stride_(s.stride), slots_(rows_.slots),
          components_(s.config.pattern.components), read_(s.cell.read),
          layers_(layers_of(s.config.pattern)), size_(size_t(rows_.units) * stride_), reached_(slots_),
          trace_(components_ * slots_ * size_), credit_(size_), slot_(slots_ * size_),
          sources_(rows_.sources * size_t(stride_) - size_), rates_(sources_.size()), steps_(stride_) {
        for (int m = 0; m < slots_; ++m) {
            for (int p = 0; p < components_; ++p) {
                if (s.config.traces[p][m] == '1') reached_[m].push_back(p);
            }
        }
    }

    void reset(const uint8_t* lanes) override {
        zero_lanes(trace_.data(), trace_.size() / stride_, stride_, lanes);
        zero_lanes(sources_.data(), sources_.size() / stride_, stride_, lanes);
        zero_lanes(steps_.data(), 1, stride_, lanes);
    }

    void step(const Step<T>& s, T* gradient) override {
        for (int m = 0; m < slots_; ++m) advance(s.at, m);
        const T* const src = s.at.src + size_;
        for (size_t i = 0; i < sources_.size(); ++i) sources_[i] += src[i];
        for (int b = 0; b < stride_; ++b) steps_[b] += T(1);
        if (!s.has_credit) return;
        std::memcpy(credit_.data(), s.credit + read_ * size_, size_ * sizeof(T));
        auto of_column = [&](int i) { return s.theta[rows_.column_entry[i]]; };
        pass_down(rows_, layers_, 1, trace_.data() + read_ * slots_ * size_, of_column,
                  credit_.data(), slot_.data());
        for (size_t i = 0; i < rates_.size(); ++i) rates_[i] = sources_[i] / steps_[i % stride_];
        add_gradient(gradient);
    }

    void list(std::vector<Named<T>>& buffers) override {
        buffers.push_back({"trace", trace_.data(), {components_, slots_, rows_.units, stride_}});
        buffers.push_back({"sources", sources_.data(), {rows_.sources - rows_.units, stride_}});
        buffers.push_back({"steps", steps_.data(), {stride_}});
    }

    int64_t bytes() const override {
        return int64_t((trace_.size() + sources_.size() + steps_.size()) * sizeof(T));
    }

private:
    void advance(const Place<T>& at, int m) {
        switch (reached_[m].size()) {
            case 1: return advance<1>(at, m);
            case 2: return advance<2>(at, m);
            case 3: return advance<3>(at, m);
            case 4: return advance<4>(at, m);
            default: throw std::logic_error("a slot reaches no component, or five");
        }
    }

    // ε ← ∂s'/∂s ε + ∂s'/∂a of slot m, which reaches C components.
    template <int C>
    void advance(const Place<T>& at, int m) {
        const T *slope[C], *block[C][C];
        T* trace[C];
        for (int i = 0; i < C; ++i) {
            const size_t p = reached_[m][i], row = (p * slots_ + m) * size_;
            slope[i] = at.slopes + row;
            trace[i] = trace_.data() + row;
            for (int k = 0; k < C; ++k) {
                block[i][k] = at.blocks + (p * components_ + reached_[m][k]) * size_;
            }
        }
        for (size_t j = 0; j < size_; j += kWidth<T>) {
            Vec<T> old[C];
            for (int k = 0; k < C; ++k) old[k] = load(trace[k] + j);
            for (int i = 0; i < C; ++i) {
                Vec<T> fresh = load(slope[i] + j);
                for (int k = 0; k < C; ++k) fresh += load(block[i][k] + j) * old[k];
                store(trace[i] + j, fresh);
            }
        }
    }

    void add_gradient(T* gradient) const {
        for (int r = 0; r < rows_.rows; ++r) {
            const T* d = slot_.data() + size_t(r) * stride_;
            int e = rows_.begin[r];
            const int end = rows_.begin[r + 1];
            for (; e + 4 <= end; e += 4) {
                const Vec<T> four[4] = {total(d, e), total(d, e + 1), total(d, e + 2), total(d, e + 3)};
                add_sums(gradient + e, four);
            }
            for (; e < end; ++e) gradient[e] += sum<T>(total(d, e));
        }
    }

    Vec<T> total(const T* d, int e) const {
        const T* const rates = rates_.data() + rows_.offset[e] - size_;
        Vec<T> all = {};
        for (int b = 0; b < stride_; b += kWidth<T>) all += load(d + b) * load(rates + b);
        return all;
    }

    const Rows& rows_;
    int stride_, slots_, components_, read_;
    const std::vector<Layer> layers_;
    size_t size_;
    std::vector<std::vector<int>> reached_;  // components, by slot
    Buffer<T> trace_, credit_, slot_;        // ε (c, m, k, stride)
    Buffer<T> sources_, rates_, steps_;      // Σ [x; h of lower layers; 1], its mean, its steps
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
