// In a stack, J ← (1 − E)^-1 J, chunk by chunk: the rows of a layer take what the layer below passes up.
#pragma once

#include "influence_index.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// J is a chunk after D J + I; E and credit are the tables of its panel. Adds Σ_b δ_b J_b to gradient
// unless it is null.
template <class T, bool kLanes>
inline void pass_up_chunk(const Index& index, const Chunk& c, const T* E, const T* credit, T* J,
                          T* gradient) {
    constexpr int N = kWidth<T>;
    const Block& b = index.blocks[c.block];
    const size_t width = static_cast<size_t>(c.width) * N;
    const int32_t* rows = index.pattern.rows.data() + b.first_row;
    const int64_t* begin = index.up_begin.data() + b.first_begin;
    Vec<T> out[kMaxWidth] = {};
    for (int r = 0; r < b.rows; ++r) {  // the rows that feed row r stand before it
        T* const to = J + r * width;
        for (int64_t l = begin[r]; l < begin[r + 1]; ++l) {
            const Vec<T> e = entry_of<T, kLanes>(E, index.up_entry[l]);
            const T* from = J + index.up_source[l] * width;
            for (int w = 0; w < c.width; ++w)
                store(to + w * N, load(to + w * N) + e * load(from + w * N));
        }
        if (!gradient) continue;
        const Vec<T> d = entry_of<T, kLanes>(credit, rows[r]);
        for (int w = 0; w < c.width; ++w) out[w] += d * load(to + w * N);
    }
    if (!gradient) return;
    const int32_t* columns = index.pattern.columns.data() + b.first_column;
    for (int w = 0; w < c.width; ++w) {
        if (kLanes) {
            gradient[columns[c.first_vector + w]] += sum<T>(out[w]);
            continue;
        }
        const int first = (c.first_vector + w) * N;
        for (int j = first; j < std::min(first + N, b.columns); ++j)
            gradient[columns[j]] += out[w][j - first];
    }
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
