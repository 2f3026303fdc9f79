// The online step (forward, loss, credit, rule, update) is the twin of snaprun.engine.torch.
#include "engine.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cell.hpp"
#include "denormals.hpp"
#include "readout.hpp"
#include "rules.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class Engine final : public EngineBase<T> {
public:
    explicit Engine(const EngineConfig& config)
        : c_(config), p_(c_.pattern), stride_((c_.lanes + 7) / 8 * 8), rows_(p_, stride_),
          readout_(c_, stride_),
          optimiser_(c_, sizes(p_, readout_)), state_(p_.components * unit_size()),
          pre_(p_.slots * unit_size()), ones_(stride_),
          gradient_(p_.parameters), gathered_(c_.lanes == 1 ? p_.parameters : 0),
          begins_(stride_), cell_(*find(cells<T>(), c_.cell)),
          constants_(c_.cell_constants.begin(), c_.cell_constants.end()),
          rule_(find(rules<T>(), c_.rule)->make({c_, cell_, rows_, stride_})) {
        for (int b = 0; b < c_.lanes; ++b) ones_[b] = 1;
        // Adding a column to single lanes is slow, so few inputs are cheaper as a dense product.
        by_index_ = c_.inputs * (stride_ / kWidth<T>) > 4 * c_.lanes;
    }

    void run(const Sequence<T>& s) override {
        const FlushDenormals flushed;
        const int64_t every = c_.update_every;
        const int64_t most = now_.steps + s.steps;
        rule_->reserve(every ? std::min(every, most) : most);
        for (int64_t t = 0; t < s.steps; ++t) {
            const bool last = every ? now_.steps + 1 == every : s.ends && t + 1 == s.steps;
            begin(s.resets + t * c_.lanes);
            step(s, t, last);
        }
        finite_ = all_finite(s.parameters[0], p_.parameters);
        for (int i = 0; i < 2 * readout_.layers(); ++i) {
            finite_ &= all_finite(s.parameters[1 + i], readout_sizes_[i]);
        }
    }

    void update(T* const* parameters) override {
        const FlushDenormals flushed;
        update(parameters, false);
    }
    bool finite() const override { return finite_; }

    const Counters& counters() const override { return now_; }
    void measure() override {
        now_.longest_window = std::max(now_.longest_window, now_.steps);
        now_.rule_bytes = std::max(now_.rule_bytes, rule_->bytes());
    }

    void resume(const Counters& counters) override {
        now_ = counters;
        optimiser_.resume(now_.updates);
        readout_.resume(now_.targets != 0);
        rule_->resume(now_.steps);
    }

    std::vector<Named<T>> buffers() override {
        std::vector<Named<T>> all;
        all.push_back({"state", state_.data(), {p_.components, p_.units, stride_}});
        all.push_back({"gradient 0", gradient_.data(), {p_.parameters}});
        for (int i = 0; i < 2 * readout_.layers(); ++i) {
            all.push_back({"gradient " + std::to_string(1 + i), readout_.gradient(i),
                           {int64_t(readout_sizes_[i])}});
        }
        optimiser_.list(all);
        rule_->list(all);
        return all;
    }

    int64_t entries() const override { return rule_->entries(); }
    int threads() const override { return rule_->threads(); }
    void read(T* out) const override { rule_->read(out); }
    void assign(const T* in) override { rule_->assign(in); }

private:
    size_t unit_size() const { return size_t(p_.units) * stride_; }

    static std::vector<size_t> sizes(const Pattern& p, const Readout<T>& readout) {
        std::vector<size_t> sizes = readout.sizes();
        sizes.insert(sizes.begin(), size_t(p.parameters));
        return sizes;
    }

    void begin(const uint8_t* resets) {
        bool any = false;
        for (int b = 0; b < c_.lanes; ++b) any |= begins_[b] = resets[b] != 0;
        if (!any) return;
        zero_lanes(state_.data(), size_t(p_.components) * p_.units, stride_, begins_.data());
        rule_->reset(begins_.data());
    }

    void fill_sources(const Sequence<T>& s, int64_t t, T* src) const {
        std::memcpy(src, state_.data(), unit_size() * sizeof(T));
        T* x = src + unit_size();
        const size_t size = size_t(c_.inputs) * stride_;
        if (s.indices) {
            std::memset(x, 0, size * sizeof(T));
            for (int b = 0; b < c_.lanes; ++b) x[s.indices[t * c_.lanes + b] * stride_ + b] = 1;
        } else {
            const T* from = s.dense + t * c_.lanes * c_.inputs;
            for (int b = 0; b < c_.lanes; ++b) {
                for (int j = 0; j < c_.inputs; ++j) x[size_t(j) * stride_ + b] = *from++;
            }
        }
        std::memcpy(x + size, ones_.data(), stride_ * sizeof(T));
    }

    void step(const Sequence<T>& s, int64_t t, bool last) {
        T* const theta = s.parameters[0];
        const Place<T> at = rule_->place();
        fill_sources(s, t, at.src);
        const bool by_index = s.indices && by_index_ && c_.lanes > 1;
        if (c_.lanes == 1) {
            gather(rows_, at.src, gathered_.data());
            single_forward(rows_, theta, gathered_.data(), pre_.data());
        } else {
            forward(rows_, theta, at.src, pre_.data(),
                    by_index ? Entries::without_inputs : Entries::all);
        }
        if (by_index) {
            add_inputs(rows_, theta, s.indices + t * c_.lanes, c_.lanes, pre_.data());
        }
        cell_.step({pre_.data(), state_.data(), at.slopes, at.blocks, ones_.data(),
                    constants_.data(), p_.units, stride_});
        const uint8_t* mask = s.mask + t * c_.lanes;
        const int64_t targets = c_.lanes - std::count(mask, mask + c_.lanes, 0);
        now_.targets += targets;
        ++now_.steps;
        T* const losses = s.losses + t * c_.lanes;
        std::fill(losses, losses + c_.lanes, T(0));
        const bool stepped = last && targets && c_.clip < 0;
        if (targets) {
            if (stepped) optimiser_.begin();
            readout_.learn({s.parameters, state_.data(), s.classes ? s.classes + t * c_.lanes : nullptr,
                            s.values ? s.values + t * c_.lanes * c_.outputs : nullptr, mask, losses,
                            at.credit, stepped ? &optimiser_ : nullptr, T(1) / T(now_.targets)});
            if (s.outputs) readout_.copy_outputs(s.outputs + t * c_.lanes * c_.outputs);
        }
        const int8_t* noise =
            s.noise ? s.noise + t * c_.lanes * p_.components * p_.units : nullptr;
        const T* gathered = c_.lanes == 1 ? gathered_.data() : nullptr;
        rule_->step({at, targets != 0, theta, gathered, readout_.error(), noise}, gradient_.data());
        if (last) update(s.parameters, stepped);
    }

    // If `stepped` is true, the optimiser has already stepped for the readout's parameters.
    void update(T* const* parameters, bool stepped) {
        measure();
        rule_->finish(parameters[0], now_.targets ? gradient_.data() : nullptr);
        if (now_.targets) {
            T scale = T(1) / T(now_.targets);
            if (c_.clip >= 0) scale *= clipping(scale);
            if (!stepped) {
                optimiser_.begin();
                const std::vector<size_t>& sizes = readout_sizes_;
                for (int i = 0; i < 2 * readout_.layers(); ++i) {
                    optimiser_.apply(1 + i, 0, sizes[i], parameters[1 + i],
                                     readout_.gradient(i), scale);
                }
            }
            if (rule_->moves()) {
                optimiser_.apply(0, 0, p_.parameters, parameters[0], gradient_.data(), scale);
            }
            optimiser_.follow(parameters);
            ++now_.updates;
        }
        gradient_.zero();
        readout_.resume(false);
        now_.steps = now_.targets = 0;
    }

    // The factor of torch.nn.utils.clip_grad_norm_; NaN stays NaN.
    T clipping(T scale) {
        T squares = square_sum(gradient_.data(), gradient_.size());
        for (int i = 0; i < 2 * readout_.layers(); ++i) {
            squares += square_sum(readout_.gradient(i), readout_sizes_[i]);
        }
        const T factor = T(c_.clip) / (std::sqrt(squares) * scale + T(1e-6));
        return factor > 1 ? T(1) : factor;
    }

    // Tests for an exponent bit that is 0; no compiler option removes this test, unlike isfinite.
    static bool all_finite(const T* values, size_t count) {
        using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
        constexpr U infinity = sizeof(T) == 4 ? U(0x7f800000) : U(0x7ff0000000000000);
        U most = 0;
        for (size_t i = 0; i < count; ++i) {
            U bits;
            std::memcpy(&bits, values + i, sizeof bits);
            most = std::max<U>(most, bits & infinity);
        }
        return most != infinity;
    }

    static T square_sum(const T* values, size_t count) {
        Vec<T> total = {};
        size_t i = 0;
        for (; i + kWidth<T> <= count; i += kWidth<T>) total += load(values + i) * load(values + i);
        T rest = sum<T>(total);
        for (; i < count; ++i) rest += values[i] * values[i];
        return rest;
    }

    const EngineConfig c_;
    const Pattern& p_;
    int stride_;
    Rows rows_;
    Readout<T> readout_;
    Optimiser<T> optimiser_;
    Buffer<T> state_, pre_, ones_, gradient_, gathered_;
    Buffer<uint8_t> begins_;
    const std::vector<size_t> readout_sizes_ = readout_.sizes();
    const CellEntry<T>& cell_;
    const std::vector<T> constants_;
    std::unique_ptr<Rule<T>> rule_;
    bool by_index_ = false, finite_ = true;
    Counters now_;
};

Capabilities capabilities() {
    Capabilities all;
    for (const auto& cell : cells<float>()) all.cells.push_back(cell);
    for (const auto& rule : rules<float>()) all.rules.push_back(rule);
    for (const auto& optimiser : optimisers<float>()) all.optimisers.push_back(optimiser);
    for (const auto& loss : losses<float>()) all.losses.push_back(loss);
    return all;
}

template <class T>
std::unique_ptr<EngineBase<T>> make_engine(const EngineConfig& config) {
    return std::make_unique<Engine<T>>(config);
}

template std::unique_ptr<EngineBase<float>> make_engine<float>(const EngineConfig&);
template std::unique_ptr<EngineBase<double>> make_engine<double>(const EngineConfig&);

}  // namespace SNAPRUN_NS
}  // namespace snaprun
