// Credit on the memories and on the attention, which a sweep back over a window adds up.
#pragma once

#include "reminder.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// out (k, width) = Σ_n left[n] ⊗ right[n] over n < count; both are (count, width), and `out` is set.
template <class T>
inline void gram(const T* left, const T* right, int64_t count, int units, int width, T* out) {
    constexpr int64_t kPart = 128;  // so few that they stay in L1 and L2
    std::memset(out, 0, size_t(units) * width * sizeof(T));
    auto tile = [&](auto rows, auto vectors, int i, int j, int64_t first, int64_t last) {
        constexpr int R = decltype(rows)::value, N = decltype(vectors)::value;
        T* const to = out + size_t(i) * width + j;
        Vec<T> acc[R][N];
        for (int r = 0; r < R; ++r) {
            for (int n = 0; n < N; ++n) acc[r][n] = load(to + r * width + n * kWidth<T>);
        }
        const T* l = left + first * width + i;
        const T* r_ = right + first * width + j;
        for (int64_t at = first; at < last; ++at, l += width, r_ += width) {
            Vec<T> x[N];
            for (int n = 0; n < N; ++n) x[n] = load(r_ + n * kWidth<T>);
            for (int r = 0; r < R; ++r) {
                for (int n = 0; n < N; ++n) acc[r][n] += l[r] * x[n];
            }
        }
        for (int r = 0; r < R; ++r) {
            for (int n = 0; n < N; ++n) store(to + r * width + n * kWidth<T>, acc[r][n]);
        }
    };
    for (int64_t first = 0; first < count; first += kPart) {
        const int64_t last = std::min(first + kPart, count);
        lane_blocks<T>(width, [&](auto vectors, int j) {
            constexpr int R = decltype(vectors)::value == 4 ? 3 : 6;
            int i = 0;
            for (; i + R <= units; i += R) {
                tile(std::integral_constant<int, R>(), vectors, i, j, first, last);
            }
            for (; i < units; ++i) {
                tile(std::integral_constant<int, 1>(), vectors, i, j, first, last);
            }
        });
    }
}

template <class T>
class Pending {
public:
    // The reminder must be prepared, and outlive the sweep.
    void begin(Reminder<T>& reminder) {
        bank_ = &reminder;
        const int units = bank_->units(), width = bank_->width();
        const size_t size = bank_->size(), numbers = bank_->count() * size;
        for (Buffer<T>* all : {&memories_, &keys_}) {
            if (all->size() < numbers) all->replace(numbers);
            std::memset(all->data(), 0, numbers * sizeof(T));
        }
        if (!score_W_.size()) {
            for (Buffer<T>* square : {&by_memory_KW_, &by_query_KW_, &found_KW_}) {
                square->resize(size_t(units) * width);
            }
            score_W_.resize(width);
            added_.resize(size);
            of_scores_.resize(bank_->rows());
        }
        for (int i = 0; i < units; ++i) {  // diag(w₃) W₁ and diag(w₃) W₂
            for (int j = 0; j < units; ++j) {
                const size_t to = size_t(i) * width + j, from = size_t(j) * width + i;
                by_memory_KW_[to] = bank_->score()[i] * bank_->memory_weights()[from];
                by_query_KW_[to] = bank_->score()[i] * bank_->query_weights()[from];
            }
        }
        score_W_.zero();
    }

    // of_h (B, width) += the credit on a memory: as a summand of s, and through its key.
    void hand(int64_t n, T* of_h) {
        const size_t first = n * bank_->size();
        add(memories_.data() + first, of_h);
        bank_->through(keys_.data() + first, by_memory_KW_.data(), added_.data());
        add(added_.data(), of_h);
    }

    // of_h (B, width) += the credit on ĥ through the query.
    void through_query(const T* of_query, T* of_h) {
        bank_->through(of_query, by_query_KW_.data(), added_.data());
        add(added_.data(), of_h);
    }

    // From ∂L/∂s (B, width) finds the credit on the query less its factor w₃, which may take the
    // place of ∂L/∂s. With `detach` the memories get no credit as summands of s; their keys do.
    void recall(const Recall<T>& recall, const T* query, const T* of_summary, bool detach,
                T* of_query) {
        for (int b = 0; b < bank_->lanes(); ++b) {
            const size_t first = size_t(b) * bank_->width();
            lane(recall, b, query + first, of_summary + first, detach, of_query + first);
        }
    }

    // Finds the gradients of the attention; of_query and proposed are (count, width).
    void finish(const T* of_query, const T* proposed, int64_t count) {
        write(0, keys_.data(), bank_->memories(), bank_->count() * bank_->lanes());
        write(1, of_query, proposed, count);
        std::memcpy(bank_->gradient(2), score_W_.data(), bank_->units() * sizeof(T));
    }

    // to (B, width) += from (B, width).
    void add(const T* from, T* to) const {
        for (size_t i = 0; i < bank_->size(); i += kWidth<T>) {
            store(to + i, load(to + i) + load(from + i));
        }
    }

private:
    void lane(const Recall<T>& recall, int b, const T* query, const T* of_summary, bool detach,
              T* of_query) {
        const int rows = bank_->rows(), lanes = bank_->lanes(), width = bank_->width();
        const size_t size = bank_->size(), own = size_t(b) * width;
        auto at = [&](int r) { return size_t(r) * lanes + b; };
        auto memory = [&](int r) { return recall.index[at(r)] * size + own; };
        T mean = 0, total = 0;
        for (int r = 1; r < rows; ++r) {  // ∂L/∂w
            const T weight = recall.weights[at(r)];
            of_scores_[r] = 0;
            if (weight == 0) continue;
            const T* const m = bank_->memories() + memory(r);
            Vec<T> sum_W = {};
            for (int k = 0; k < width; k += kWidth<T>) sum_W += load(m + k) * load(of_summary + k);
            of_scores_[r] = sum<T>(sum_W);
            mean += weight * of_scores_[r];
            if (detach) continue;
            T* const of_memory = memories_.data() + memory(r);
            for (int k = 0; k < width; k += kWidth<T>) {
                store(of_memory + k, load(of_memory + k) + weight * load(of_summary + k));
            }
        }
        for (int r = 1; r < rows; ++r) {
            if (recall.weights[at(r)] == 0) continue;
            of_scores_[r] = (of_scores_[r] - mean) * recall.slope[b];
            total += of_scores_[r];
        }
        of_scores_[0] = -total;
        std::memset(of_query, 0, width * sizeof(T));
        for (int r = 0; r < rows; ++r) {
            const T a = of_scores_[r];
            if (a == 0) continue;
            const T* const key = bank_->keys() + memory(r);
            T* const of_key = keys_.data() + memory(r);
            for (int k = 0; k < width; k += kWidth<T>) {
                const Vec<T> t = tanh<T>(load(key + k) + load(query + k));
                const Vec<T> d = a * (T(1) - t * t);
                store(of_key + k, load(of_key + k) + d);
                store(of_query + k, load(of_query + k) + d);
                store(score_W_.data() + k, load(score_W_.data() + k) + a * t);
            }
        }
    }

    // The gradient of W₁ or W₂, diag(w₃) Σ_n left[n] ⊗ right[n].
    void write(int which, const T* left, const T* right, int64_t count) {
        const int units = bank_->units(), width = bank_->width();
        gram(left, right, count, units, width, found_KW_.data());
        T* to = bank_->gradient(which);
        for (int i = 0; i < units; ++i) {
            for (int j = 0; j < units; ++j) {
                *to++ = bank_->score()[i] * found_KW_[size_t(i) * width + j];
            }
        }
    }

    Reminder<T>* bank_ = nullptr;
    Buffer<T> memories_;  // as summands of s
    Buffer<T> keys_;      // less the factor w₃
    Buffer<T> score_W_;   // ∂L/∂w₃
    Buffer<T> by_memory_KW_, by_query_KW_, found_KW_, added_, of_scores_;
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
