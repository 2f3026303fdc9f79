// The influence matrix of SnAp-n and RTRL, equation (7), in blocks.
//
// Arguments have lanes innermost, padded to `stride` lanes (a multiple of 8):
// slopes (c, m, k, stride), blocks (c, c, k, stride), src (k + a + 1, stride), credit (c, k, stride).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#ifndef SNAPRUN_NS
#define SNAPRUN_NS portable
#endif

namespace snaprun {

// The constants of a core and a pattern; snaprun.influence.blocks defines the indices.
struct Pattern {
    int units = 0, components = 0, slots = 0, sources = 0;  // k, c, m, k + a + 1
    std::vector<int32_t> layers;                            // units of each, from the input up
    int parameters = 0;                                     // P
    // θ is ordered by unit, slot, source.
    std::vector<int32_t> unit_P, slot_P, source_P;
    // Block g keeps the state rows rows[row_begin[g] .. row_begin[g + 1]), ascending, for the
    // parameters columns[column_begin[g] .. column_begin[g + 1]), ascending, all of one unit;
    // own[i] says whether I_t feeds rows[i].
    std::vector<int32_t> row_begin, rows, column_begin, columns;
    std::vector<uint8_t> own;
    // Live entries of D that lie inside a block, sorted by (row, column), and those of E, from
    // h(t) of a layer to the next layer; none if J stays within the layers.
    std::vector<int32_t> entry_row, entry_column, link_row, link_column;

    // The first source h(t); a unit of a lower layer feeds the next layer as source passed() + unit.
    int passed() const { return sources - 1 - (units - layers.back()); }
    int inputs() const { return passed() - units; }
};

// The interface for the bindings, the same for every instruction set.
template <class T>
class InfluenceBase {
public:
    virtual ~InfluenceBase() = default;

    // J ← 0 in every lane b with lanes[b] ≠ 0.
    virtual void reset(const uint8_t* lanes) = 0;

    // J ← D[R, R] J + (rows of u) ⊗ I, times (1 − E)^-1 if there are entries of E; adds Σ_b δ_b J_b
    // to gradient (P) if credit is not null.
    // theta (P) are the weights of the forward step. Lanes beyond `lanes` must hold zeros.
    virtual void step(const T* theta, const T* slopes, const T* blocks, const T* src,
                      const T* credit, T* gradient) = 0;

    // The live entries of J as (lanes, entries()): block after block, row after row, column after
    // column, as snaprun.sparsity.Pattern.entries lists them.
    virtual void read(T* out) const = 0;
    virtual void assign(const T* in) = 0;
    virtual int64_t entries() const = 0;

    virtual int64_t stored() const = 0;  // numbers in storage, padding included
    virtual int threads() const = 0;     // of a step
};

namespace SNAPRUN_NS {

template <class T>
class Influence final : public InfluenceBase<T> {
public:
    Influence(const Pattern& pattern, int lanes, int stride, int threads);
    ~Influence() override;
    void reset(const uint8_t* lanes) override;
    void step(const T* theta, const T* slopes, const T* blocks, const T* src, const T* credit,
              T* gradient) override;
    void read(T* out) const override;
    void assign(const T* in) override;
    int64_t entries() const override;
    int64_t stored() const override;
    int threads() const override;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
