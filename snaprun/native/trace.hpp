// Traces of a unit's own state: e_p ← Σ_q D_pq e_q + ∂s'_p/∂a_m src_j, gradient q_u e_0, for every
// parameter (m, u, j); D is the unit's own c × c block. SnAp-1 and RFLO are both of this form.
#pragma once

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// A row's parameters stand together, each with the components that its slot reaches, lanes
// innermost; a single lane is stored without padding, components outside.
template <class T>
class Traces {
public:
    Traces(const Pattern& p, const Rows& rows, bool lstm, int lanes, int stride)
        : rows_(rows), single_(lanes == 1), lanes_(lanes), stride_(stride), units_(p.units), slots_(p.slots),
          components_(p.components), base_(rows.rows) {
        size_t size = 0;
        for (int r = 0; r < rows.rows; ++r) {
            base_[r] = size;
            size += size_t(rows.begin[r + 1] - rows.begin[r]) * components(lstm, r % slots_) *
                    (single_ ? 1 : stride);
        }
        lstm_ = lstm;
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

    // As (lanes, c, P); 0 where a slot does not reach a component.
    int64_t entries() const { return int64_t(components_) * rows_.parameters; }
    void read(T* out) const {
        std::memset(out, 0, size_t(lanes_) * entries() * sizeof(T));
        each(*this, [&](int64_t entry, const T& value) { out[entry] = value; });
    }
    void assign(const T* in) {
        each(*this, [&](int64_t entry, T& value) { value = in[entry]; });
    }

    // D (c, c, k, stride); credit (k, stride) or null: then the gradient stays as it is.
    void step(const Step<T>& s, const T* D, const T* credit, T* gradient) {
        const Place<T>& at = s.at;
        gathered_ = s.gathered;
        for (int r = 0; r < rows_.rows; ++r) {
            if (components(lstm_, r % slots_) == 1) {
                row<1>(r, at, D, credit, gradient);
            } else {
                row<2>(r, at, D, credit, gradient);
            }
        }
    }

private:
    // The output gate of the LSTM does not reach c.
    static int components(bool lstm, int slot) { return lstm && slot != 3 ? 2 : 1; }

    // Calls visit(entry of (lanes, c, P), number in storage) for every trace.
    template <class Self, class Visit>
    static void each(Self& self, Visit visit) {
        const Rows& rows = self.rows_;
        for (int r = 0; r < rows.rows; ++r) {
            const int C = components(self.lstm_, r % self.slots_);
            const int count = rows.begin[r + 1] - rows.begin[r];
            for (int i = 0; i < count; ++i) {
                for (int c = 0; c < C; ++c) {
                    const size_t at = self.single_ ? size_t(c) * count + i
                                                   : (size_t(i) * C + c) * self.stride_;
                    auto* trace = self.trace_.data() + self.base_[r] + at;
                    for (int b = 0; b < self.lanes_; ++b) {
                        const int64_t vector = int64_t(b) * self.components_ + c;
                        visit(vector * rows.parameters + rows.begin[r] + i, trace[b]);
                    }
                }
            }
        }
    }

    template <int C>
    void row(int r, const Place<T>& at, const T* D, const T* credit, T* gradient) {
        if (single_) {
            single_row<C>(r, at, D, credit, gradient);
        } else if (C == 1 && stride_ % (2 * kWidth<T>) == 0) {
            for (int b = 0; b < stride_; b += 2 * kWidth<T>) {
                lanes_row<C, 2>(r, b, at, D, credit, gradient);
            }
        } else {
            for (int b = 0; b < stride_; b += kWidth<T>) {
                lanes_row<C, 1>(r, b, at, D, credit, gradient);
            }
        }
    }

    // What is the same for all parameters of a row.
    template <int C, int N>
    struct Factors {
        Vec<T> D[C][C][N], slope[C][N], credit[N];
    };

    template <int C, int N>
    void lanes_row(int r, int b, const Place<T>& at, const T* D, const T* credit, T* gradient) {
        const int u = r / slots_, m = r % slots_;
        const size_t size = size_t(units_) * stride_, i = size_t(u) * stride_ + b;
        Factors<C, N> f;
        for (int n = 0; n < N; ++n) {
            const size_t k = i + n * kWidth<T>;
            for (int p = 0; p < C; ++p) {
                for (int q = 0; q < C; ++q) f.D[p][q][n] = load(D + (p * components_ + q) * size + k);
                f.slope[p][n] = load(at.slopes + (size_t(p) * slots_ + m) * size + k);
            }
            f.credit[n] = credit ? load(credit + k) : Vec<T>{};
        }
        const int end = rows_.begin[r + 1];
        int e = rows_.begin[r];
        T* trace = trace_.data() + base_[r] + b;
        const T* const src = at.src + b;
        const int32_t* const offset = rows_.offset.data();
        if (!credit) {
            for (; e < end; ++e, trace += C * stride_) entry<C, N>(f, src + offset[e], trace);
            return;
        }
        for (; e + 4 <= end; e += 4, trace += 4 * C * stride_) {
            Vec<T> totals[4];
            for (int k = 0; k < 4; ++k) {
                totals[k] = entry<C, N>(f, src + offset[e + k], trace + k * C * stride_);
            }
            add_sums(gradient + e, totals);
        }
        for (; e < end; ++e, trace += C * stride_) {
            gradient[e] += sum<T>(entry<C, N>(f, src + offset[e], trace));
        }
    }

    template <int C, int N>
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
            total += f.credit[n] * fresh[0];
        }
        return total;
    }

    template <int C>
    void single_row(int r, const Place<T>& at, const T* D, const T* credit, T* gradient) {
        const int u = r / slots_, m = r % slots_, count = rows_.begin[r + 1] - rows_.begin[r];
        const size_t size = size_t(units_) * stride_, i = size_t(u) * stride_;
        T factor[C][C], slope[C];
        for (int p = 0; p < C; ++p) {
            for (int q = 0; q < C; ++q) factor[p][q] = D[(p * components_ + q) * size + i];
            slope[p] = at.slopes[(size_t(p) * slots_ + m) * size + i];
        }
        const T q_u = credit ? credit[i] : T(0);
        T* __restrict__ const h = trace_.data() + base_[r];
        T* __restrict__ const c = h + (C - 1) * count;
        T* __restrict__ const g = gradient + rows_.begin[r];
        const T* __restrict__ const src = gathered_ + rows_.begin[r];
        for (int e = 0; e < count; ++e) {
            const T x = src[e];
            T fresh = factor[0][0] * h[e] + slope[0] * x;
            if (C == 2) {
                fresh += factor[0][C - 1] * c[e];
                c[e] = factor[C - 1][0] * h[e] + factor[C - 1][C - 1] * c[e] + slope[C - 1] * x;
            }
            h[e] = fresh;
            g[e] += q_u * fresh;
        }
    }

    const Rows& rows_;
    bool single_, lstm_ = false;
    int lanes_, stride_, units_, slots_, components_;
    Buffer<size_t> base_;
    const T* gathered_ = nullptr;
    Buffer<T> trace_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
