// Traces of a unit's own state: e_p ← Σ_q D_pq e_q + ∂s'_p/∂a_m src_j, gradient Σ_p q_pu e_p, for
// every parameter (m, u, j), over the components p, q that slot m reaches; D is the unit's own c × c
// block.
// SnAp-1 and RFLO are both of this form.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// The parameters of a row are stored together, each with the components that its slot reaches,
// lanes innermost; a single lane is stored without padding, components outermost.
template <class T>
class Traces {
public:
    explicit Traces(const RuleSetup& s)
        : rows_(s.rows), single_(s.config.lanes == 1), lanes_(s.config.lanes), stride_(s.stride),
          units_(rows_.units), slots_(rows_.slots), components_(s.cell.components()),
          drop_(s.config.drop_spikes), base_(rows_.rows), reached_(slots_), meets_(slots_) {
        const std::vector<int> credited = s.credited();
        for (int m = 0; m < slots_; ++m) {
            for (int p = 0; p < components_; ++p) {
                if (s.config.traces[p][m] != '1') continue;
                for (int c : credited) {
                    if (c == p) meets_[m].push_back(int(reached_[m].size()));
                }
                reached_[m].push_back(p);
            }
            if (reached_[m].size() > 4) throw std::logic_error("a slot reaches five components");
        }
        size_t size = 0;
        for (int r = 0; r < rows_.rows; ++r) {
            base_[r] = size;
            size += size_t(rows_.begin[r + 1] - rows_.begin[r]) * reached(r).size() *
                    (single_ ? 1 : stride_);
        }
        trace_.resize(size);
    }

    int64_t bytes() const { return int64_t(trace_.size() * sizeof(T)); }

    void reset(const uint8_t* lanes) {
        if (single_) {
            if (lanes[0]) trace_.zero();
        } else {
            zero_lanes(trace_.data(), trace_.size() / stride_, stride_, lanes);
        }
    }

    // The traces as (lanes, c, P); 0 if the slot does not reach the component.
    int64_t entries() const { return int64_t(components_) * rows_.parameters; }
    void read(T* out) const {
        std::memset(out, 0, size_t(lanes_) * entries() * sizeof(T));
        each(*this, [&](int64_t entry, const T& value) { out[entry] = value; });
    }
    void assign(const T* in) {
        each(*this, [&](int64_t entry, T& value) { value = in[entry]; });
    }

    // D is (c, c, k, stride); credit is (c, k, stride), or null, which leaves the gradient unchanged.
    void step(const Step<T>& s, const T* D, const T* credit, T* gradient) {
        const Place<T>& at = s.at;
        gathered_ = s.gathered;
        for (int u = 0; u < units_; ++u) {
            for (int m = 0; m < slots_; ++m) {
                const std::vector<int>& to = reached_[m];
                const Row row{u * slots_ + m, u, m, to.data()};
                // A slot that reaches no credited component at this step adds nothing.
                const T* const q = meets_[m].empty() ? nullptr : credit;
                switch (to.size()) {
                    case 1: each_lane<1, 0>(row, at, D, q, gradient); break;
                    case 2: met<2>(row, at, D, q, gradient); break;
                    case 3: met<3>(row, at, D, q, gradient); break;
                    case 4: met<4>(row, at, D, q, gradient); break;
                }
            }
        }
    }

private:
    // Row r of Rows: slot m of unit u, and the components that it reaches, ascending.
    struct Row {
        int r, u, m;
        const int* to;
    };

    // The components reached by the slot of row r.
    const std::vector<int>& reached(int r) const { return reached_[r % slots_]; }

    // Calls visit(index into (lanes, c, P), number in storage) for every trace.
    template <class Self, class Visit>
    static void each(Self& self, Visit visit) {
        const Rows& rows = self.rows_;
        for (int r = 0; r < rows.rows; ++r) {
            const std::vector<int>& to = self.reached(r);
            const int C = int(to.size()), count = rows.begin[r + 1] - rows.begin[r];
            for (int i = 0; i < count; ++i) {
                for (int c = 0; c < C; ++c) {
                    const size_t at = self.single_ ? size_t(c) * count + i
                                                   : (size_t(i) * C + c) * self.stride_;
                    auto* trace = self.trace_.data() + self.base_[r] + at;
                    for (int b = 0; b < self.lanes_; ++b) {
                        const int64_t vector = int64_t(b) * self.components_ + to[c];
                        visit(vector * rows.parameters + rows.begin[r] + i, trace[b]);
                    }
                }
            }
        }
    }

    // The place of the only credited component among those reached is known at compile time; with
    // kSeveral it may be any.
    static constexpr int kSeveral = -1;

    template <int C>
    void met(const Row& row, const Place<T>& at, const T* D, const T* credit, T* gradient) {
        const std::vector<int>& meets = meets_[row.m];
        if (!credit || (meets.size() == 1 && meets[0] == 0)) {
            each_lane<C, 0>(row, at, D, credit, gradient);
        } else if (meets.size() == 1 && meets[0] == C - 1) {
            each_lane<C, C - 1>(row, at, D, credit, gradient);
        } else {
            each_lane<C, kSeveral>(row, at, D, credit, gradient);
        }
    }

    // Whether δ meets the component at place p of those that a row reaches.
    template <int Q>
    bool is_met(const Row& row, int p) const {
        if (Q != kSeveral) return p == Q;
        const std::vector<int>& meets = meets_[row.m];
        return std::find(meets.begin(), meets.end(), p) != meets.end();
    }

    template <int C, int Q>
    void each_lane(const Row& row, const Place<T>& at, const T* D, const T* credit, T* gradient) {
        if (single_) {
            single_lane<C, Q>(row, at, D, credit, gradient);
        } else if (C == 1 && stride_ % (2 * kWidth<T>) == 0) {
            for (int b = 0; b < stride_; b += 2 * kWidth<T>) {
                lanes<C, Q, 2>(row, b, at, D, credit, gradient);
            }
        } else {
            for (int b = 0; b < stride_; b += kWidth<T>) {
                lanes<C, Q, 1>(row, b, at, D, credit, gradient);
            }
        }
    }

    // The values that all parameters of a row share.
    template <int C, int N>
    struct Factors {
        Vec<T> D[C][C][N], slope[C][N], credit[C][N];
    };

    template <int C, int Q, int N>
    void lanes(const Row& row, int b, const Place<T>& at, const T* D, const T* credit,
               T* gradient) {
        const auto [r, u, m, to] = row;
        const size_t size = size_t(units_) * stride_, i = size_t(u) * stride_ + b;
        Factors<C, N> f;
        for (int n = 0; n < N; ++n) {
            const size_t k = i + n * kWidth<T>;
            for (int p = 0; p < C; ++p) {
                for (int q = 0; q < C; ++q) {
                    const bool dropped = drop_ && to[q] == 0;
                    f.D[p][q][n] =
                        dropped ? Vec<T>{} : load(D + (to[p] * components_ + to[q]) * size + k);
                }
                f.slope[p][n] = load(at.slopes + (size_t(to[p]) * slots_ + m) * size + k);
                const bool met = credit && is_met<Q>(row, p);
                f.credit[p][n] = met ? load(credit + to[p] * size + k) : Vec<T>{};
            }
        }
        const int end = rows_.begin[r + 1];
        int e = rows_.begin[r];
        T* trace = trace_.data() + base_[r] + b;
        const T* const src = at.src + b;
        const int32_t* const offset = rows_.offset.data();
        if (!credit) {
            for (; e < end; ++e, trace += C * stride_) entry<C, Q, N>(f, src + offset[e], trace);
            return;
        }
        for (; e + 4 <= end; e += 4, trace += 4 * C * stride_) {
            Vec<T> totals[4];
            for (int k = 0; k < 4; ++k) {
                totals[k] = entry<C, Q, N>(f, src + offset[e + k], trace + k * C * stride_);
            }
            add_sums(gradient + e, totals);
        }
        for (; e < end; ++e, trace += C * stride_) {
            gradient[e] += sum<T>(entry<C, Q, N>(f, src + offset[e], trace));
        }
    }

    template <int C, int Q, int N>
    SNAPRUN_INLINE Vec<T> entry(const Factors<C, N>& f, const T* src, T* trace) {
        Vec<T> total = {};
        for (int n = 0; n < N; ++n) {
            const Vec<T> x = load(src + n * kWidth<T>);
            Vec<T> old[C], fresh[C];
            for (int p = 0; p < C; ++p) old[p] = load(trace + p * stride_ + n * kWidth<T>);
            for (int p = 0; p < C; ++p) {
                fresh[p] = f.slope[p][n] * x;
                for (int q = 0; q < C; ++q) fresh[p] += f.D[p][q][n] * old[q];
                store(trace + p * stride_ + n * kWidth<T>, fresh[p]);
            }
            if (Q != kSeveral) {
                total += f.credit[Q != kSeveral ? Q : 0][n] * fresh[Q != kSeveral ? Q : 0];
            } else {
                for (int p = 0; p < C; ++p) total += f.credit[p][n] * fresh[p];
            }
        }
        return total;
    }

    template <int C, int Q>
    void single_lane(const Row& row, const Place<T>& at, const T* D, const T* credit,
                     T* gradient) {
        const auto [r, u, m, to] = row;
        const int count = rows_.begin[r + 1] - rows_.begin[r];
        const size_t size = size_t(units_) * stride_, i = size_t(u) * stride_;
        T factor[C][C], slope[C], q[C];
        for (int p = 0; p < C; ++p) {
            for (int q = 0; q < C; ++q) {
                const bool dropped = drop_ && to[q] == 0;
                factor[p][q] = dropped ? T(0) : D[(to[p] * components_ + to[q]) * size + i];
            }
            slope[p] = at.slopes[(size_t(to[p]) * slots_ + m) * size + i];
            q[p] = credit && is_met<Q>(row, p) ? credit[to[p] * size + i] : T(0);
        }
        T* __restrict__ const e = trace_.data() + base_[r];
        T* __restrict__ const g = gradient + rows_.begin[r];
        const T* __restrict__ const src = gathered_ + rows_.begin[r];
#pragma GCC ivdep
        for (int n = 0; n < count; ++n) {
            T fresh[C];
            for (int p = 0; p < C; ++p) {
                // Keep this order of addition: earlier runs stay bit-identical.
                fresh[p] = factor[p][0] * e[n];
                if (p == 0) fresh[p] += slope[p] * src[n];
                for (int q = 1; q < C; ++q) fresh[p] += factor[p][q] * e[q * count + n];
                if (p != 0) fresh[p] += slope[p] * src[n];
            }
            for (int p = 0; p < C; ++p) e[p * count + n] = fresh[p];
            if (Q != kSeveral) {
                g[n] += q[Q != kSeveral ? Q : 0] * fresh[Q != kSeveral ? Q : 0];
            } else {
                for (int p = 0; p < C; ++p) g[n] += q[p] * fresh[p];
            }
        }
    }

    const Rows& rows_;
    bool single_;
    int lanes_, stride_, units_, slots_, components_;
    bool drop_;  // whether the trace of h acts on no other one
    Buffer<size_t> base_;
    std::vector<std::vector<int>> reached_;  // by slot
    std::vector<std::vector<int>> meets_;    // by slot: the places there of credited components
    const T* gathered_ = nullptr;
    Buffer<T> trace_;
};

// A rule that keeps nothing but traces.
template <class T>
class TraceRule : public Rule<T> {
public:
    explicit TraceRule(const RuleSetup& s)
        : Rule<T>(s), stride_(s.stride), units_(s.config.pattern.units), traces_(s) {}
    void reset(const uint8_t* lanes) override { traces_.reset(lanes); }
    int64_t bytes() const override { return traces_.bytes(); }
    int64_t entries() const override { return traces_.entries(); }
    void read(T* out) const override { traces_.read(out); }
    void assign(const T* in) override { traces_.assign(in); }
    bool passes_down() const override { return true; }

protected:
    int stride_, units_;
    Traces<T> traces_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
