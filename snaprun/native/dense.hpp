// Register-blocked products of a row-major matrix with lanes, and outer products over lanes.
#pragma once

#include "sparse.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// Y[r] = start[r] + Σ_j w[r·row + j·column] X[j] for R rows and N vectors of lanes.
template <class T, int R, int N>
inline void tile(const T* w, size_t row, size_t column, int count, const T* start, const T* X,
                 T* Y, size_t stride) {
    Vec<T> acc[R][N];
    for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) acc[r][n] = splat(start ? start[r] : T(0));
    }
    for (int j = 0; j < count; ++j, w += column, X += stride) {
        Vec<T> x[N];
        for (int n = 0; n < N; ++n) x[n] = load(X + n * kWidth<T>);
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
            const T weight = w[r * row];
            for (int n = 0; n < N; ++n) acc[r][n] += weight * x[n];
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) store(Y + r * stride + n * kWidth<T>, acc[r][n]);
    }
}

// Y (rows, stride) = start + W X with W[r][j] at w[r·row + j·column], X (count, stride).
template <class T>
inline void product(const T* w, size_t row, size_t column, int rows, int count, const T* start,
                    const T* X, T* Y, int stride) {
    lane_blocks<T>(stride, [&](auto vectors, int b) {
        constexpr int N = decltype(vectors)::value, R = N == 4 ? 3 : N == 2 ? 6 : 10;
        int r = 0;
        for (; r + R <= rows; r += R) {
            tile<T, R, N>(w + r * row, row, column, count, start ? start + r : nullptr, X + b,
                          Y + size_t(r) * stride + b, stride);
        }
        for (; r + 3 <= rows; r += 3) {
            tile<T, 3, N>(w + r * row, row, column, count, start ? start + r : nullptr, X + b,
                          Y + size_t(r) * stride + b, stride);
        }
        for (; r < rows; ++r) {
            tile<T, 1, N>(w + r * row, row, column, count, start ? start + r : nullptr, X + b,
                          Y + size_t(r) * stride + b, stride);
        }
    });
}

template <class T, int R, int N>
inline void outer_tile(const T* credit, size_t stride, const T* across, size_t width, int lanes,
                       T* out, size_t columns, bool add) {
    Vec<T> acc[R][N];
    for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) {
            acc[r][n] = add ? load(out + r * columns + n * kWidth<T>) : Vec<T>{};
        }
    }
    for (int b = 0; b < lanes; ++b) {
        Vec<T> x[N];
        for (int n = 0; n < N; ++n) x[n] = load(across + b * width + n * kWidth<T>);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const T c = credit[r * stride + b];
            for (int n = 0; n < N; ++n) acc[r][n] += c * x[n];
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) store(out + r * columns + n * kWidth<T>, acc[r][n]);
    }
}

template <class T, int R>
inline void outer_rows(const T* credit, size_t stride, const T* across, size_t width, int lanes,
                       T* out, int columns, bool add) {
    constexpr int W = kWidth<T>;
    int i = 0;
    for (; i + 3 * W <= columns; i += 3 * W) {
        outer_tile<T, R, 3>(credit, stride, across + i, width, lanes, out + i, columns, add);
    }
    for (; i + W <= columns; i += W) {
        outer_tile<T, R, 1>(credit, stride, across + i, width, lanes, out + i, columns, add);
    }
    for (; i < columns; ++i) {
        for (int r = 0; r < R; ++r) {
            T total = add ? out[r * columns + i] : T(0);
            for (int b = 0; b < lanes; ++b) total += credit[r * stride + b] * across[b * width + i];
            out[r * columns + i] = total;
        }
    }
}

constexpr int kOuterRows = 4;

// out (rows ≤ kOuterRows, columns) = or += Σ_b credit (rows, stride) ⊗ across (lanes, width).
template <class T>
inline void outer(const T* credit, size_t stride, const T* across, size_t width, int lanes, T* out,
                  int rows, int columns, bool add) {
    if (rows == kOuterRows) {
        outer_rows<T, kOuterRows>(credit, stride, across, width, lanes, out, columns, add);
    } else {
        for (int r = 0; r < rows; ++r) {
            outer_rows<T, 1>(credit + r * stride, stride, across, width, lanes,
                             out + size_t(r) * columns, columns, add);
        }
    }
}

// Products for a single lane run along the rows of W (rows, columns) instead of across lanes.

// Y[r·stride] = start[r] + Σ_j W[r][j] x[j].
template <class T>
inline void single_product(const T* W, int rows, int columns, const T* start, const T* x, T* Y,
                           int stride) {
    constexpr int R = 4;
    const int whole = columns / kWidth<T> * kWidth<T>;
    for (int r = 0; r < rows; r += R) {
        const int count = rows - r < R ? rows - r : R;
        Vec<T> acc[R] = {};
        T total[R] = {};
        if (count == R) {
            for (int j = 0; j < whole; j += kWidth<T>) {
                const Vec<T> v = load(x + j);
                for (int i = 0; i < R; ++i) acc[i] += load(W + size_t(r + i) * columns + j) * v;
            }
        } else {
            for (int i = 0; i < count; ++i) {
                for (int j = 0; j < whole; j += kWidth<T>) {
                    acc[i] += load(W + size_t(r + i) * columns + j) * load(x + j);
                }
            }
        }
        add_sums(total, acc);
        for (int i = 0; i < count; ++i) {
            for (int j = whole; j < columns; ++j) {
                total[i] += W[size_t(r + i) * columns + j] * x[j];
            }
            Y[size_t(r + i) * stride] = start[r + i] + total[i];
        }
    }
}

// Y[j·stride] = Σ_r W[r][j] c[r·stride].
template <class T>
inline void single_transposed(const T* W, int rows, int columns, const T* c, T* Y, int stride) {
    constexpr int N = 4, block = N * kWidth<T>;
    int j = 0;
    for (; j + block <= columns; j += block) {
        Vec<T> acc[2][N] = {};
        int r = 0;
        for (; r + 2 <= rows; r += 2) {
            for (int i = 0; i < 2; ++i) {
                const T* w = W + size_t(r + i) * columns + j;
                for (int n = 0; n < N; ++n) {
                    acc[i][n] += c[size_t(r + i) * stride] * load(w + n * kWidth<T>);
                }
            }
        }
        for (int n = 0; n < N; ++n) {
            Vec<T> total = acc[0][n] + acc[1][n];
            if (r < rows) {
                total += c[size_t(r) * stride] * load(W + size_t(r) * columns + j + n * kWidth<T>);
            }
            for (int i = 0; i < kWidth<T>; ++i) Y[size_t(j + n * kWidth<T> + i) * stride] = total[i];
        }
    }
    for (; j < columns; ++j) {
        T total = 0;
        for (int r = 0; r < rows; ++r) total += W[size_t(r) * columns + j] * c[size_t(r) * stride];
        Y[size_t(j) * stride] = total;
    }
}

// across (lanes, width) = the transpose of X (count, stride).
template <class T>
inline void transpose(const T* X, int count, size_t stride, int lanes, T* across, size_t width) {
    for (int i = 0; i < count; ++i) {
        for (int b = 0; b < lanes; ++b) across[b * width + i] = X[i * stride + b];
    }
}

}  // namespace SNAPRUN_NS
}  // namespace snaprun
