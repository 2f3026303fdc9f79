// One chunk of one block: W vectors of columns, all rows. The inner loops of equation (7).
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

constexpr int kMaxWidth = 12;  // with D and J, so many accumulators fit in 16 registers

// An entry of D of a lane group is a vector of lanes; of a single lane one number for all columns.
template <class T, bool kLanes>
SNAPRUN_INLINE Vec<T> entry_of(const T* D, size_t entry) {
    return kLanes ? load(D + entry * kWidth<T>) : splat(D[entry]);
}

// The entries of D that a block needs, in the order in which `multiply` reads them.
template <class T, bool kLanes>
SNAPRUN_INLINE void gather(const T* D, const int32_t* entry, int count, T* out) {
    for (int i = 0; i < count; ++i) {
        if (kLanes)
            store(out + static_cast<size_t>(i) * kWidth<T>, load(D + static_cast<size_t>(entry[i]) * kWidth<T>));
        else
            out[i] = D[entry[i]];
    }
}

// Σ_r credit[r] J[r][w] over the rows [first, last), added to out[w]; the credit of a row is a vector
// of lanes, or one number.
template <class T, int W, bool kLanes>
SNAPRUN_INLINE void contract(const T* J, int first, int last, const T* credit, Vec<T>* out) {
    constexpr int N = kWidth<T>;
    Vec<T> sum[W];
    for (int w = 0; w < W; ++w) sum[w] = out[w];
    for (int r = first; r < last; ++r) {
        const Vec<T> d = entry_of<T, kLanes>(credit, r);
        const T* from = J + static_cast<size_t>(r) * (W * N);
#pragma GCC unroll 12
        for (int w = 0; w < W; ++w) sum[w] += d * load(from + w * N);
    }
    for (int w = 0; w < W; ++w) out[w] = sum[w];
}

constexpr int kTogether = 8;  // rows whose credit is summed at once, while they are in L1

// to ← D[R, R] from, both `rows` × W vectors, which do not overlap, and Σ_r credit[r] to[r] added to
// `out` unless credit is null. The entries of row r are D[begin[r] .. begin[r + 1]), relative to
// begin[0]; `source` are their rows. Meanwhile the next chunk, at `next`, is prefetched into
// L2.
template <class T, int W, bool kLanes>
SNAPRUN_INLINE void multiply(const T* __restrict from, T* __restrict to, const T* next, int rows,
                             const int64_t* begin, const int16_t* source, const T* D,
                             const T* credit, Vec<T>* out) {
    constexpr int N = kWidth<T>;
    // Fetch all rows at once, because they are read in no order and every miss would stall.
    for (int i = 0; i < rows * W; i += 64 / kBytes) __builtin_prefetch(from + i * N, 0, 3);
    for (int done = 0; done < rows; done += kTogether) {
        const int until = done + kTogether < rows ? done + kTogether : rows;
        for (int r = done; r < until; ++r) {
            Vec<T> sum[W] = {};
            const size_t last = begin[r + 1] - begin[0];
            for (size_t l = begin[r] - begin[0]; l < last; ++l) {
                const Vec<T> d = entry_of<T, kLanes>(D, l);
                const T* row = from + static_cast<size_t>(source[l]) * (W * N);
#pragma GCC unroll 12
                for (int w = 0; w < W; ++w) sum[w] += d * load(row + w * N);
            }
            const size_t at = static_cast<size_t>(r) * (W * N);
#pragma GCC unroll 12
            for (int w = 0; w < W; ++w) store(to + at + w * N, sum[w]);
#pragma GCC unroll 6
            for (int w = 0; w < W; w += 2) __builtin_prefetch(next + at + w * N, 1, 2);
        }
        if (credit) contract<T, W, kLanes>(to, done, until, credit, out);
    }
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
