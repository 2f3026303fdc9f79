// s̃ ← ρ0 D s̃ + ρ1 ν, θ̃ ← θ̃/ρ0 + νᵀI/ρ1, g_t = (δ_t·s̃) θ̃; snaprun.rules.uoro.
#pragma once

#include <cmath>

#include "rule.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

template <class T>
class UORO final : public Rule<T> {
public:
    static RuleInfo info() { return {"uoro", false, true, false}; }
    explicit UORO(const RuleSetup& s)
        : Rule<T>(s), rows_(s.rows), lanes_(s.config.lanes), stride_(s.stride),
          units_(rows_.units), slots_(rows_.slots), components_(s.config.pattern.components),
          layers_(layers_of(s.config.pattern)), size_(size_t(units_) * stride_),
          s_(components_ * size_), forward_(components_ * size_), nu_(components_ * size_),
          pre_(slots_ * size_), slot_(slots_ * size_), down_(components_ * size_),
          src_(layers_.size() > 1 ? size_t(rows_.sources) * stride_ : 0),
          theta_(size_t(rows_.parameters) * stride_), norm_(stride_), scale_(stride_),
          rho0_(stride_), rho1_(stride_) {}

    void reset(const uint8_t* lanes) override {
        zero_lanes(s_.data(), size_t(components_) * units_, stride_, lanes);
        zero_lanes(theta_.data(), size_t(rows_.parameters), stride_, lanes);
        zero_lanes(norm_.data(), 1, stride_, lanes);
    }

    void step(const Step<T>& s, T* gradient) override {
        if (!norm_known_) take_norm();
        draw(s.noise);
        forward(rows_, 0, rows_.rows, s.theta, s_.data(), pre_.data(), Entries::recurrent);
        through_units(s.at);
        pass_up(rows_, layers_, components_, s.at.slopes, s.theta, forward_.data(), src_.data(),
                pre_.data());
        std::memcpy(down_.data(), nu_.data(), down_.size() * sizeof(T));
        auto of_column = [&](int i) { return s.theta[rows_.column_entry[i]]; };
        pass_down(rows_, layers_, components_, s.at.slopes, of_column, down_.data(), slot_.data());
        for (int b = 0; b < stride_; b += kWidth<T>) ratios(s, b);
        lane_blocks<T>(stride_, [&](auto vectors, int b) {
            update<decltype(vectors)::value>(s, b, s.has_credit ? gradient : nullptr);
        });
    }

    // θ̃ was assigned from outside: its norms are computed anew, with the same bits as in `update`.
    void resume(int64_t) override { norm_known_ = false; }
    void list(std::vector<Named<T>>& buffers) override {
        buffers.push_back({"s", s_.data(), {components_, units_, stride_}});
        buffers.push_back({"theta", theta_.data(), {rows_.parameters, stride_}});
    }

    int64_t bytes() const override { return int64_t((s_.size() + theta_.size()) * sizeof(T)); }

private:
    void draw(const int8_t* noise) {
        for (int b = 0; b < lanes_; ++b) {
            for (int i = 0; i < components_ * units_; ++i) {
                nu_[size_t(i) * stride_ + b] = T(*noise++);
            }
        }
    }

    void take_norm() {
        for (int b = 0; b < stride_; b += kWidth<T>) {
            Vec<T> norm = {};
            for (int e = 0; e < rows_.parameters; ++e) {
                const Vec<T> value = load(theta_.data() + size_t(e) * stride_ + b);
                norm += rounded(value * value);
            }
            store(norm_.data() + b, norm);
        }
        norm_known_ = true;
    }

    // D s̃.
    void through_units(const Place<T>& at) {
        for (int u = 0; u < units_; ++u) {
            for (int b = 0; b < stride_; b += kWidth<T>) {
                const size_t i = size_t(u) * stride_ + b;
                for (int p = 0; p < components_; ++p) {
                    Vec<T> total = {};
                    for (int m = 0; m < slots_; ++m) {
                        total += load(at.slopes + (p * slots_ + m) * size_ + i) *
                                 load(pre_.data() + (size_t(u) * slots_ + m) * stride_ + b);
                    }
                    for (int q = 0; q < components_; ++q) {
                        total += load(at.blocks + (p * components_ + q) * size_ + i) *
                                 load(s_.data() + q * size_ + i);
                    }
                    store(forward_.data() + p * size_ + i, total);
                }
            }
        }
    }

    // ρ0, ρ1, the new s̃ and δ·s̃ of one vector of lanes.
    void ratios(const Step<T>& s, int b) {
        Vec<T> immediate = {}, forward = {}, noise = {};
        for (int r = 0; r < rows_.rows; ++r) {
            Vec<T> squares = {};
            for (int e = rows_.begin[r]; e < rows_.begin[r + 1]; ++e) {
                const Vec<T> src = load(s.at.src + rows_.offset[e] + b);
                squares += src * src;
            }
            const Vec<T> slot = load(slot_.data() + size_t(r) * stride_ + b);
            immediate += slot * slot * squares;
        }
        for (size_t i = b; i < components_ * size_; i += stride_) {
            const Vec<T> f = load(forward_.data() + i), n = load(nu_.data() + i);
            forward += f * f;
            noise += n * n;
        }
        const T epsilon = T(1e-7);
        Vec<T> rho0, rho1, scale = {};
        for (int i = 0; i < kWidth<T>; ++i) {
            rho0[i] = std::sqrt((std::sqrt(norm_[b + i]) + epsilon) /
                                (std::sqrt(forward[i]) + epsilon));
            rho1[i] = std::sqrt((std::sqrt(immediate[i]) + epsilon) /
                                (std::sqrt(noise[i]) + epsilon));
        }
        for (size_t i = b; i < components_ * size_; i += stride_) {
            const Vec<T> fresh = rho0 * load(forward_.data() + i) + rho1 * load(nu_.data() + i);
            store(s_.data() + i, fresh);
            if (s.has_credit) scale += load(s.at.credit + i) * fresh;
        }
        store(rho0_.data() + b, rho0);
        store(rho1_.data() + b, rho1);
        store(scale_.data() + b, scale);
    }

    template <int N>
    void update(const Step<T>& s, int b, T* gradient) {
        Vec<T> inverse0[N], scale[N], norm[N] = {};
        for (int n = 0; n < N; ++n) {
            inverse0[n] = T(1) / load(rho0_.data() + b + n * kWidth<T>);
            scale[n] = load(scale_.data() + b + n * kWidth<T>);
        }
        for (int r = 0; r < rows_.rows; ++r) {
            Vec<T> slot[N];
            for (int n = 0; n < N; ++n) {
                const int at = b + n * kWidth<T>;
                slot[n] = load(slot_.data() + size_t(r) * stride_ + at) / load(rho1_.data() + at);
            }
            auto entry = [&](int e) {
                Vec<T> total = {};
                for (int n = 0; n < N; ++n) {
                    T* at = theta_.data() + size_t(e) * stride_ + b + n * kWidth<T>;
                    const Vec<T> src = load(s.at.src + rows_.offset[e] + b + n * kWidth<T>);
                    const Vec<T> fresh = load(at) * inverse0[n] + slot[n] * src;
                    store(at, fresh);
                    norm[n] += rounded(fresh * fresh);
                    total += scale[n] * fresh;
                }
                return total;
            };
            int e = rows_.begin[r];
            const int end = rows_.begin[r + 1];
            for (; e + 4 <= end; e += 4) {
                const Vec<T> totals[4] = {entry(e), entry(e + 1), entry(e + 2), entry(e + 3)};
                if (gradient) add_sums(gradient + e, totals);
            }
            for (; e < end; ++e) {
                const T total = sum<T>(entry(e));
                if (gradient) gradient[e] += total;
            }
        }
        for (int n = 0; n < N; ++n) store(norm_.data() + b + n * kWidth<T>, norm[n]);
    }

    const Rows& rows_;
    int lanes_, stride_, units_, slots_, components_;
    const std::vector<Layer> layers_;
    size_t size_;
    bool norm_known_ = true;
    Buffer<T> s_, forward_, nu_, pre_, slot_, down_, src_;  // s_ is s̃
    Buffer<T> theta_, norm_, scale_, rho0_, rho1_;  // θ̃, and ‖θ̃‖² of every lane
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
