// The forward step of the recurrent core, from any state.
#pragma once

#include "cell.hpp"
#include "stack.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// The inputs of one step.
template <class T>
struct Inputs {
    const int64_t* indices;  // (B) of one-hot inputs, or
    const T* dense;          // (B, a)
};

// The memory to which a step is written: src (J, stride), slopes (c, m, k, stride),
// blocks (c, c, k, stride), credit (c, k, stride).
template <class T>
struct Place {
    T *src, *slopes, *blocks, *credit;
};

template <class T>
class Core {
public:
    Core(const EngineConfig& config, int stride)
        : c_(config), p_(config.pattern), stride_(stride), layers_(layers_of(p_)),
          rows_(p_, stride), pre_(p_.slots * unit_size()), ones_(stride),
          gathered_(c_.lanes == 1 ? p_.parameters : 0), cell_(*find(cells<T>(), c_.cell)),
          constants_(c_.cell_constants.begin(), c_.cell_constants.end()) {
        for (int b = 0; b < c_.lanes; ++b) ones_[b] = 1;
        // Adding a column to single lanes is slow, so few inputs are cheaper as a dense product.
        sparse_ = c_.lanes == 1 && cell_.read != 0 && c_.traces.empty();
        by_index_ = c_.inputs * (stride_ / kWidth<T>) > 4 * c_.lanes;
    }

    const std::vector<Layer>& layers() const { return layers_; }
    const Rows& rows() const { return rows_; }
    const CellEntry<T>& cell() const { return cell_; }
    size_t unit_size() const { return size_t(p_.units) * stride_; }
    size_t state_size() const { return p_.components * unit_size(); }
    // The src_j of every parameter (P) in the last step if there is a single lane, else null.
    const T* gathered() const { return c_.lanes == 1 ? gathered_.data() : nullptr; }
    // Where the h of the uppermost layer begins, and what the readout sees of that layer.
    size_t top() const { return size_t(layers_.back().first) * stride_; }
    size_t read() const { return cell_.read * unit_size() + top(); }

    // Replaces the state (c, k, stride). Writes src, slopes and blocks; only src if slopes is null,
    // and the same state bit by bit.
    void step(const T* theta, const Inputs<T>& inputs, T* state, const Place<T>& at) {
        fill_sources(inputs, state, at.src);
        const Layer* below = nullptr;
        for (const Layer& layer : layers_) {
            if (below) {
                std::memcpy(at.src + size_t(layer.source) * stride_,
                            state + size_t(below->first) * stride_,
                            size_t(layer.inputs) * stride_ * sizeof(T));
            }
            const bool by_index = !below && inputs.indices && by_index_ && c_.lanes > 1;
            const int first = layer.first * p_.slots, last = layer.last * p_.slots;
            if (sparse_ && few(layer, at.src)) {
                add_columns(layer, theta, at.src);
            } else if (c_.lanes == 1) {
                gather(rows_, first, last, at.src, gathered_.data());
                single_forward(rows_, first, last, theta, gathered_.data(), pre_.data());
            } else {
                forward(rows_, first, last, theta, at.src, pre_.data(),
                        by_index ? Entries::without_inputs : Entries::all);
            }
            if (by_index) add_inputs(rows_, theta, inputs.indices, c_.lanes, pre_.data());
            const size_t unit = size_t(layer.first) * stride_;
            const CellStep<T> cell{pre_.data() + unit * p_.slots,
                                   state + unit,
                                   at.slopes ? at.slopes + unit : nullptr,
                                   at.slopes ? at.blocks + unit : nullptr,
                                   ones_.data(),
                                   constants_.data(),
                                   layer.last - layer.first,
                                   stride_,
                                   int(unit_size())};
            (at.slopes ? cell_.step : cell_.plain)(cell);
            below = &layer;
        }
    }

private:
    // Whether so few of a layer's sources differ from 0 in a single lane that their columns are
    // quicker than all rows.
    bool few(const Layer& layer, const T* src) const {
        int active = 0;
        each_source(layer, [&](int j) { active += src[size_t(j) * stride_] != 0; });
        return kFew * active <= layer.last - layer.first + layer.inputs;
    }

    // pre = θ src of a layer's rows in a single lane, from the columns of its sources that are not 0.
    void add_columns(const Layer& layer, const T* theta, const T* src) {
        for (int r = layer.first * p_.slots; r < layer.last * p_.slots; ++r) {
            const bool biased = rows_.bias[r] < rows_.begin[r + 1];
            pre_[size_t(r) * stride_] = biased ? theta[rows_.bias[r]] : T(0);
        }
        each_source(layer, [&](int j) {
            const T x = src[size_t(j) * stride_];
            if (x == 0) return;
            for (int i = rows_.column[j]; i < rows_.column[j + 1]; ++i) {
                pre_[size_t(rows_.column_row[i]) * stride_] += theta[rows_.column_entry[i]] * x;
            }
        });
    }

    template <class Visit>
    static void each_source(const Layer& layer, Visit visit) {
        for (int j = layer.first; j < layer.last; ++j) visit(j);
        for (int j = layer.source; j < layer.source + layer.inputs; ++j) visit(j);
    }

    static constexpr int kFew = 4;  // up to a quarter the columns won, measured on 128 dense units

    void fill_sources(const Inputs<T>& inputs, const T* state, T* src) const {
        std::memcpy(src, state, unit_size() * sizeof(T));
        T* x = src + unit_size();
        const size_t size = size_t(c_.inputs) * stride_;
        if (inputs.indices) {
            std::memset(x, 0, size * sizeof(T));
            for (int b = 0; b < c_.lanes; ++b) x[inputs.indices[b] * stride_ + b] = 1;
        } else {
            // A vector of all lanes at a time: its cache lines serve the next inputs, too.
            for (int j = 0; j < c_.inputs; ++j) {
                const T* const from = inputs.dense + j;
                T* const to = x + size_t(j) * stride_;
                for (int b = 0; b < c_.lanes; ++b) to[b] = from[size_t(b) * c_.inputs];
            }
        }
        // The sources h(t) of the lower layers, between x and 1, follow as the layers step.
        std::memcpy(src + size_t(p_.sources - 1) * stride_, ones_.data(), stride_ * sizeof(T));
    }

    const EngineConfig& c_;
    const Pattern& p_;
    int stride_;
    const std::vector<Layer> layers_;
    Rows rows_;
    Buffer<T> pre_, ones_, gathered_;
    const CellEntry<T>& cell_;
    const std::vector<T> constants_;
    bool by_index_, sparse_;  // sparse_: h is a spike, and no rule asks for `gathered`
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
