// One chunk of one block: W vectors of columns, all rows. The inner loops of equation (7).
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

constexpr int kMaxWidth = 12;  // accumulators that, with D and J, fit 16 registers

// The live entries of D[R, R]: row r of the block has links[begin[r] .. begin[r + 1]).
struct Link {
    int32_t entry;   // of the table of D
    int32_t source;  // local row
};

// D[entry] of a lane group is a vector of lanes; of a single lane it is one number for all columns.
template <class T, bool kLanes>
SNAPRUN_INLINE Vec<T> entry_of(const T* D, int32_t entry) {
    return kLanes ? load(D + static_cast<size_t>(entry) * kWidth<T>) : splat(D[entry]);
}

// J ← D[R, R] J in place. `J` holds `rows` × W vectors, `old` is scratch of the same size.
template <class T, int W, bool kLanes>
SNAPRUN_INLINE void multiply(T* J, T* old, int rows, const int32_t* begin, const Link* links,
                             const T* D) {
    constexpr int N = kWidth<T>;
    for (int i = 0; i < rows * W; ++i) store(old + i * N, load(J + i * N));
    for (int r = 0; r < rows; ++r) {
        Vec<T> sum[W] = {};
        for (int32_t l = begin[r]; l < begin[r + 1]; ++l) {
            const Vec<T> d = entry_of<T, kLanes>(D, links[l].entry);
            const T* from = old + static_cast<size_t>(links[l].source) * (W * N);
#pragma GCC unroll 12
            for (int w = 0; w < W; ++w) sum[w] += d * load(from + w * N);
        }
        T* to = J + static_cast<size_t>(r) * (W * N);
#pragma GCC unroll 12
        for (int w = 0; w < W; ++w) store(to + w * N, sum[w]);
    }
}

// out[w] = Σ_r credit[r] J[r][w]; the credit of row r is a vector of lanes, or one number.
template <class T, int W, bool kLanes>
SNAPRUN_INLINE void contract(const T* J, int rows, const int32_t* state_row, const T* credit,
                             Vec<T>* out) {
    constexpr int N = kWidth<T>;
    Vec<T> sum[W] = {};
    for (int r = 0; r < rows; ++r) {
        const Vec<T> d = entry_of<T, kLanes>(credit, state_row[r]);
        const T* from = J + static_cast<size_t>(r) * (W * N);
#pragma GCC unroll 12
        for (int w = 0; w < W; ++w) sum[w] += d * load(from + w * N);
    }
    for (int w = 0; w < W; ++w) out[w] = sum[w];
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
