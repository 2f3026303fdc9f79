// Products with the live recurrent weights θ (P), which are ordered by unit, slot, source.
#pragma once

#include <vector>

#include "buffer.hpp"
#include "engine.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// Row r = u·m + slot holds the entries begin[r] … begin[r + 1]: first the entries of h, from
// input[r] on the entries of x, from bias[r] on the bias.
struct Rows {
    int units = 0, slots = 0, sources = 0, rows = 0, parameters = 0, stride = 0;
    Buffer<int32_t> begin, input, bias;
    Buffer<int32_t> offset;  // source · stride of every entry
    // The entries of every column, in the order of rows.
    Buffer<int32_t> column, column_entry, column_row;

    Rows(const Pattern& p, int stride_)
        : units(p.units), slots(p.slots), sources(p.sources), rows(p.units * p.slots),
          parameters(p.parameters), stride(stride_), begin(rows + 1), input(rows), bias(rows),
          offset(parameters), column(sources + 1), column_entry(parameters),
          column_row(parameters) {
        std::vector<int32_t> next(sources + 1);
        for (int e = 0; e < parameters; ++e) {
            const int r = p.unit_P[e] * slots + p.slot_P[e], j = p.source_P[e];
            ++begin[r + 1];
            if (j < units) ++input[r];
            if (j < sources - 1) ++bias[r];
            ++next[j + 1];
            offset[e] = j * stride;
        }
        for (int r = 0; r < rows; ++r) {
            begin[r + 1] += begin[r];
            input[r] += begin[r];
            bias[r] += begin[r];
        }
        for (int j = 0; j < sources; ++j) next[j + 1] += next[j];
        for (int j = 0; j <= sources; ++j) column[j] = next[j];
        for (int e = 0; e < parameters; ++e) {
            const int at = next[p.source_P[e]]++;
            column_entry[at] = e;
            column_row[at] = p.unit_P[e] * slots + p.slot_P[e];
        }
    }
};

// Calls f for every block of lanes, with its number of vectors known at compile time.
template <class T, class F>
inline void lane_blocks(int stride, F&& f) {
    const int vectors = stride / kWidth<T>;
    if (vectors % 4 == 0) {
        for (int b = 0; b < stride; b += 4 * kWidth<T>) f(std::integral_constant<int, 4>(), b);
    } else if (vectors % 2 == 0) {
        for (int b = 0; b < stride; b += 2 * kWidth<T>) f(std::integral_constant<int, 2>(), b);
    } else {
        for (int b = 0; b < stride; b += kWidth<T>) f(std::integral_constant<int, 1>(), b);
    }
}

// Adds Σ θ_e src_e over the entries [e, end) to acc, in four or two parallel chains.
template <class T, int N>
inline void dot(const T* theta, const int32_t* offset, int e, int end, const T* src,
                Vec<T> (&total)[N]) {
    constexpr int U = N >= 4 ? 2 : 4;
    Vec<T> acc[U][N] = {};
    for (; e + U <= end; e += U) {
        for (int i = 0; i < U; ++i) {
            const T* from = src + offset[e + i];
            for (int n = 0; n < N; ++n) acc[i][n] += theta[e + i] * load(from + n * kWidth<T>);
        }
    }
    for (; e < end; ++e) {
        const T* from = src + offset[e];
        for (int n = 0; n < N; ++n) acc[0][n] += theta[e] * load(from + n * kWidth<T>);
    }
    for (int i = 0; i < U; ++i) {
        for (int n = 0; n < N; ++n) total[n] += acc[i][n];
    }
}

enum class Entries { all, without_inputs, recurrent, inputs };

// pre (rows, stride) = θ src, over some of a row's entries, in the rows [first, last).
template <class T>
inline void forward(const Rows& w, int first, int last, const T* theta, const T* src, T* pre,
                    Entries entries) {
    lane_blocks<T>(w.stride, [&](auto vectors, int b) {
        constexpr int N = decltype(vectors)::value;
        for (int r = first; r < last; ++r) {
            Vec<T> total[N] = {};
            const int end = w.begin[r + 1];
            if (entries == Entries::inputs) {
                dot<T, N>(theta, w.offset.data(), w.input[r], w.bias[r], src + b, total);
            } else {
                dot<T, N>(theta, w.offset.data(), w.begin[r],
                          entries == Entries::all ? end : w.input[r], src + b, total);
            }
            if (entries == Entries::without_inputs) {
                dot<T, N>(theta, w.offset.data(), w.bias[r], end, src + b, total);
            }
            for (int n = 0; n < N; ++n) store(pre + r * w.stride + b + n * kWidth<T>, total[n]);
        }
    });
}

// The same for a single lane; `gathered` (P) holds the src_j of every entry of θ.
template <class T>
inline void gather(const Rows& w, int first, int last, const T* src, T* gathered) {
    for (int e = w.begin[first]; e < w.begin[last]; ++e) gathered[e] = src[w.offset[e]];
}

template <class T>
inline void single_forward(const Rows& w, int first, int last, const T* theta, const T* gathered,
                           T* pre) {
    for (int r = first; r < last; ++r) {
        Vec<T> acc[2] = {};
        T total = 0;
        int e = w.begin[r];
        const int end = w.begin[r + 1];
        for (; e + 2 * kWidth<T> <= end; e += 2 * kWidth<T>) {
            acc[0] += load(theta + e) * load(gathered + e);
            acc[1] += load(theta + e + kWidth<T>) * load(gathered + e + kWidth<T>);
        }
        for (; e < end; ++e) total += theta[e] * gathered[e];
        pre[size_t(r) * w.stride] = total + sum<T>(acc[0] + acc[1]);
    }
}

// Adds the column of θ of every lane's one-hot input to pre.
template <class T>
inline void add_inputs(const Rows& w, const T* theta, const int64_t* indices, int lanes, T* pre) {
    for (int b = 0; b < lanes; ++b) {
        const int j = w.units + int(indices[b]);
        for (int i = w.column[j]; i < w.column[j + 1]; ++i) {
            pre[w.column_row[i] * w.stride + b] += theta[w.column_entry[i]];
        }
    }
}

// out (count, stride) += Wᵀ λ with λ (rows, stride), over `count` sources from `first` on; weight(i)
// is θ in the order of column_entry.
template <class T, class Weight>
inline void add_transposed(const Rows& w, int first, int count, Weight weight, const T* lambda,
                           T* out) {
    lane_blocks<T>(w.stride, [&](auto vectors, int b) {
        constexpr int N = decltype(vectors)::value, U = N >= 4 ? 2 : 4;
        for (int v = 0; v < count; ++v) {
            Vec<T> acc[U][N] = {};
            int i = w.column[first + v];
            const int end = w.column[first + v + 1];
            for (; i + U <= end; i += U) {
                for (int j = 0; j < U; ++j) {
                    const T* from = lambda + w.column_row[i + j] * w.stride + b;
                    for (int n = 0; n < N; ++n) {
                        acc[j][n] += weight(i + j) * load(from + n * kWidth<T>);
                    }
                }
            }
            for (; i < end; ++i) {
                const T* from = lambda + w.column_row[i] * w.stride + b;
                for (int n = 0; n < N; ++n) acc[0][n] += weight(i) * load(from + n * kWidth<T>);
            }
            for (int n = 0; n < N; ++n) {
                T* to = out + v * w.stride + b + n * kWidth<T>;
                Vec<T> total = load(to);
                for (int j = 0; j < U; ++j) total += acc[j][n];
                store(to, total);
            }
        }
    });
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
