#include "influence.hpp"

#include <algorithm>
#include <cstring>

#include "buffer.hpp"
#include "denormals.hpp"
#include "influence_index.hpp"
#include "influence_kernel.hpp"
#include "influence_layers.hpp"
#include "threads.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

// J moves down for kSlack steps, then up in one step. The step up is a tenth slower, because the
// hardware prefetches upwards.
constexpr int kSlack = 3;
constexpr int kMostThreads = 64;

template <class T>
struct Influence<T>::State : Index {
    static constexpr int N = kWidth<T>;

    int lanes, stride, threads;
    int groups;   // of N lanes
    int singles;  // lanes beyond the groups
    Chunks by_group, by_single;
    // Groups, then singles. A step reads a chunk in one place and writes it `gap` numbers lower,
    // where the earlier chunks have been read already; this saves a copy. J so moves down a gap
    // each step. After kSlack steps one step moves J back up, from the last chunk to the first.
    std::vector<Buffer<T>> panels;
    size_t gap = 0;
    int level = kSlack;  // gaps below J
    std::vector<Buffer<T>> D, E;      // one table per panel
    std::vector<Buffer<T>> credit;    // one table per panel: (c·k) vectors, or numbers
    std::vector<Buffer<T>> gathered, gathered_credit;  // D and δ of a block, one per thread
    std::vector<int32_t> bounds;      // the range of blocks of every thread

    State(const Pattern& p, int lanes_, int stride_, int threads_)
        : Index(p), lanes(lanes_), stride(stride_), threads(std::max(threads_, 1)) {
        groups = lanes / N;
        singles = lanes % N;
        threads = std::min({threads, kMostThreads, static_cast<int>(blocks.size())});
        threads = paying_threads(threads, work_before().back() * lanes);
        threads = startable_threads(threads);
        by_group = cut(true, N);
        by_single = cut(false, N);
        for (const Chunks* layout : {&by_group, &by_single})
            for (const Chunk& c : layout->list)
                gap = std::max(gap, static_cast<size_t>(blocks[c.block].rows) * c.width * N);
        bounds = divide(threads);
        const size_t states = static_cast<size_t>(p.components) * p.units;
        for (int i = 0; i < groups + singles; ++i) {
            const bool group = i < groups;
            panels.emplace_back((group ? by_group : by_single).size + gap * kSlack * threads);
            D.emplace_back((dynamics.size() + 1) * (group ? N : 1));
            E.emplace_back((up.size() + 1) * (group ? N : 1));
            credit.emplace_back(states * (group ? N : 1));
        }
        int most_links = 0, most_rows = 0;
        for (const Block& b : blocks) {
            most_links = std::max(most_links, links(b));
            most_rows = std::max(most_rows, b.rows);
        }
        for (int t = 0; t < threads; ++t) {
            gathered.emplace_back(static_cast<size_t>(most_links) * N);
            gathered_credit.emplace_back(static_cast<size_t>(most_rows) * N);
        }
    }

    // The values of a table of one panel, equation (2).
    void fill(const Table& of, int panel, const T* theta, const T* slopes, const T* own_blocks,
              T* values) {
        const size_t entries = of.size();
        const int32_t* const local = of.local.data();
        const int32_t* const term_begin = of.term_begin.data();
        const Table::Term* const terms = of.terms.data();
        if (panel < groups) {
            const T* at = slopes + panel * N;
            const T* at_block = own_blocks + panel * N;
            for (size_t e = 0; e < entries; ++e) {
                Vec<T> value{};
                if (local[e] >= 0) value = load(at_block + static_cast<size_t>(local[e]) * stride);
                for (int32_t i = term_begin[e]; i < term_begin[e + 1]; ++i)
                    value += load(at + static_cast<size_t>(terms[i].slope) * stride) *
                             theta[terms[i].parameter];
                store(values + e * N, value);
            }
            return;
        }
        const int lane = groups * N + panel - groups;
        for (size_t e = 0; e < entries; ++e) {
            T value = local[e] >= 0 ? own_blocks[static_cast<size_t>(local[e]) * stride + lane] : T(0);
            for (int32_t i = term_begin[e]; i < term_begin[e + 1]; ++i)
                value += slopes[static_cast<size_t>(terms[i].slope) * stride + lane] *
                         theta[terms[i].parameter];
            values[e] = value;
        }
    }

    void fill_credit(int panel, const T* given) {
        T* table = credit[panel].data();
        const size_t states = static_cast<size_t>(pattern.components) * pattern.units;
        for (size_t s = 0; s < states; ++s) {
            if (panel < groups)
                store(table + s * N, load(given + s * stride + panel * N));
            else
                table[s] = given[s * stride + groups * N + panel - groups];
        }
    }

    // I of one own row and the columns of one chunk, equation (3), added to its row of J.
    template <bool kLanes>
    void add_immediate(const Block& b, const Chunk& c, int panel, const T* slopes, const T* src,
                       T* J) const {
        const Pattern& p = pattern;
        const int32_t* columns = p.columns.data() + b.first_column;
        for (int i = 0; i < b.own_count; ++i) {
            const int r = own[b.first_own + i];
            const int component = p.rows[b.first_row + r] / p.units;
            const T* slope = slopes + (static_cast<size_t>(component) * p.slots * p.units + b.unit) * stride;
            const size_t slot_stride = static_cast<size_t>(p.units) * stride;
            T* row = J + static_cast<size_t>(r) * c.width * N;
            if (kLanes) {
                for (int w = 0; w < c.width; ++w) {
                    const int32_t parameter = columns[c.first_vector + w];
                    const T* s = slope + p.slot_P[parameter] * slot_stride + panel * N;
                    const T* x = src + static_cast<size_t>(p.source_P[parameter]) * stride + panel * N;
                    store(row + w * N, load(row + w * N) + load(s) * load(x));
                }
            } else {
                const int lane = groups * N + panel - groups;
                const int first = c.first_vector * N;
                const int last = std::min(first + c.width * N, b.columns);
                for (int j = first; j < last; ++j) {
                    const int32_t parameter = columns[j];
                    row[j - first] += slope[p.slot_P[parameter] * slot_stride + lane] *
                                      src[static_cast<size_t>(p.source_P[parameter]) * stride + lane];
                }
            }
        }
    }

    // The present place of a thread's chunks.
    T* at(int panel, int thread) {
        return panels[panel].data() + gap * (kSlack * thread + level);
    }
    const T* at(int panel, int thread) const { return const_cast<State*>(this)->at(panel, thread); }

    template <int W, bool kLanes>
    void chunk_of_width(const Block& b, const Chunk& c, int panel, const T* from, const T* next,
                        const T* slopes, const T* src, const T* D_block,
                        const T* credit_block, T* gradient) {
        T* J = const_cast<T*>(level ? from - gap : from + gap * kSlack);
        const int64_t* rows = begin.data() + b.first_begin;
        Vec<T> out[W + N] = {};
        multiply<T, W, kLanes>(from, J, next, b.rows, rows, link_source.data() + rows[0], D_block,
                               credit_block, out);
        add_immediate<kLanes>(b, c, panel, slopes, src, J);
        if (!credit_block) return;
        // Only now are the unit's own rows complete.
        for (int i = 0; i < b.own_count; ++i) {
            const int r = own[b.first_own + i];
            const T* of_row = credit[panel].data() + pattern.rows[b.first_row + r] * (kLanes ? N : 1);
            contract<T, W, kLanes>(J + static_cast<size_t>(r) * (W * N), 0, 1, of_row, out);
        }
        const int32_t* columns = pattern.columns.data() + b.first_column;
        if (kLanes) {
            for (int w = 0; w < W; w += N) {
                const Vec<T> total = sums(out + w);
                for (int i = 0; i < std::min(N, W - w); ++i)
                    gradient[columns[c.first_vector + w + i]] += total[i];
            }
        } else {
            const int first = c.first_vector * N;
            const int last = std::min(first + W * N, b.columns);
            for (int j = first; j < last; ++j)
                gradient[columns[j]] += out[(j - first) / N][(j - first) % N];
        }
    }

    template <bool kLanes>
    void chunk(const Block& b, const Chunk& c, int panel, const T* from, const T* next,
               const T* slopes, const T* src, const T* D_block, const T* credit_block,
               T* gradient) {
        switch (c.width) {
#define SNAPRUN_CASE(W)                                                                       \
    case W:                                                                                   \
        return chunk_of_width<W, kLanes>(b, c, panel, from, next, slopes, src, D_block,       \
                                         credit_block, gradient);
            SNAPRUN_CASE(1)
            SNAPRUN_CASE(2)
            SNAPRUN_CASE(3)
            SNAPRUN_CASE(4)
            SNAPRUN_CASE(5)
            SNAPRUN_CASE(6)
            SNAPRUN_CASE(7)
            SNAPRUN_CASE(8)
            SNAPRUN_CASE(9)
            SNAPRUN_CASE(10)
            SNAPRUN_CASE(11)
            SNAPRUN_CASE(12)
#undef SNAPRUN_CASE
        }
    }

    template <class Work>
    void each_thread(Work work) {
        if (threads == 1) return work(0);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
        for (int t = 0; t < threads; ++t) {
            const FlushDenormals flushed_here;
            work(t);
        }
    }

    void advance(int thread, const T* slopes, const T* src, bool with_credit, T* gradient) {
        for (int panel = 0; panel < groups + singles; ++panel) {
            const Chunks& layout = panel < groups ? by_group : by_single;
            const int first = layout.begin[bounds[thread]];
            const int last = layout.begin[bounds[thread + 1]];
            if (panel < groups)
                run<true>(thread, panel, layout, first, last, slopes, src, with_credit, gradient);
            else
                run<false>(thread, panel, layout, first, last, slopes, src, with_credit, gradient);
        }
    }

    // The credit of a block's rows, 0 for the unit's own.
    template <bool kLanes>
    void gather_credit(const Block& b, int panel, T* out) const {
        const int size = kLanes ? N : 1;
        gather<T, kLanes>(credit[panel].data(), pattern.rows.data() + b.first_row, b.rows, out);
        for (int i = 0; i < b.own_count; ++i)
            std::memset(out + own[b.first_own + i] * size, 0, size * sizeof(T));
    }

    // The chunks [first, last) of one panel: from the first when they move down, else from the last.
    template <bool kLanes>
    void run(int thread, int panel, const Chunks& layout, int first, int last, const T* slopes,
             const T* src, bool with_credit, T* gradient) {
        T* D_block = gathered[thread].data();
        T* credit_block = with_credit ? gathered_credit[thread].data() : nullptr;
        const T* base = at(panel, thread);
        int block = -1;
        for (int i = 0; i < last - first; ++i) {
            const int here = level ? first + i : last - 1 - i;
            const int after = i + 1 == last - first ? here : level ? here + 1 : here - 1;
            const Chunk& c = layout.list[here];
            const Block& b = blocks[c.block];
            if (c.block != block) {
                block = c.block;
                const int64_t from = begin[b.first_begin];
                gather<T, kLanes>(D[panel].data(), link_entry.data() + from, links(b), D_block);
                if (with_credit) gather_credit<kLanes>(b, panel, credit_block);
            }
            chunk<kLanes>(b, c, panel, base + c.offset, base + layout.list[after].offset, slopes,
                          src, D_block, credit_block, gradient);
        }
    }

    // After `advance`, and after J has moved: J ← (1 − E)^-1 J, row after row, and Σ_b δ_b J_b.
    void pass_up(int thread, bool with_credit, T* gradient) {
        for (int panel = 0; panel < groups + singles; ++panel) {
            const Chunks& layout = panel < groups ? by_group : by_single;
            for (int i = layout.begin[bounds[thread]]; i < layout.begin[bounds[thread + 1]]; ++i) {
                const Chunk& c = layout.list[i];
                T* J = at(panel, thread) + c.offset;
                auto* pass = panel < groups ? &pass_up_chunk<T, true> : &pass_up_chunk<T, false>;
                pass(*this, c, E[panel].data(), credit[panel].data(), J,
                     with_credit ? gradient : nullptr);
            }
        }
    }

    // Calls visit(lane, first, count, J, step) for every run of listed entries, first … first +
    // count, that stand `step` numbers apart in storage from J on.
    template <class Storage, class Visit>
    static void each(Storage& self, Visit visit) {
        for (int panel = 0; panel < self.groups + self.singles; ++panel) {
            const bool group = panel < self.groups;
            const int lane = group ? panel * N : self.groups * N + panel - self.groups;
            int thread = 0;
            for (const Chunk& c : (group ? self.by_group : self.by_single).list) {
                const Block& b = self.blocks[c.block];
                while (c.block >= self.bounds[thread + 1]) ++thread;
                auto* J = self.at(panel, thread) + c.offset;
                const int column = c.first_vector * (group ? 1 : N);
                const int count = group ? c.width : std::min(c.width * N, b.columns - column);
                for (int r = 0; r < b.rows; ++r, J += c.width * N) {
                    const int64_t first = b.first_entry + int64_t(r) * b.columns + column;
                    for (int i = 0; i < (group ? N : 1); ++i)
                        visit(lane + i, first, count, J + i, group ? N : 1);
                }
            }
        }
    }
};

template <class T>
Influence<T>::Influence(const Pattern& pattern, int lanes, int stride, int threads)
    : state_(std::make_unique<State>(pattern, lanes, stride, threads)) {}

template <class T>
Influence<T>::~Influence() = default;

template <class T>
void Influence<T>::reset(const uint8_t* lanes) {
    State& s = *state_;
    constexpr int N = State::N;
    for (int panel = 0; panel < s.groups + s.singles; ++panel) {
        Buffer<T>& J = s.panels[panel];
        Vec<T> keep{};
        bool any = false, all = true;
        const bool group = panel < s.groups;
        for (int i = 0; i < (group ? N : 1); ++i) {
            const int lane = group ? panel * N + i : s.groups * N + panel - s.groups;
            const bool gone = lanes[lane];
            keep[i] = gone ? T(0) : T(1);
            any |= gone;
            all &= gone;
        }
        if (all)  // clears the gap, too
            std::memset(J.data(), 0, J.size() * sizeof(T));
        else if (any)  // assigned, not multiplied: 0 · ∞ is NaN
            for (size_t i = 0; i < J.size(); ++i)
                if (keep[i % N] == T(0)) J.data()[i] = T(0);
    }
}

template <class T>
void Influence<T>::step(const T* theta, const T* slopes, const T* blocks, const T* src,
                        const T* credit, T* gradient) {
    State& s = *state_;
    const FlushDenormals flushed;
    for (int panel = 0; panel < s.groups + s.singles; ++panel) {
        s.fill(s.dynamics, panel, theta, slopes, blocks, s.D[panel].data());
        s.fill(s.up, panel, theta, slopes, blocks, s.E[panel].data());
        if (credit) s.fill_credit(panel, credit);
    }
    const bool passes = s.up.size();  // then δ meets J only when all layers are known
    s.each_thread([&](int t) { s.advance(t, slopes, src, credit && !passes, gradient); });
    s.level = s.level ? s.level - 1 : kSlack;
    if (passes) s.each_thread([&](int t) { s.pass_up(t, credit != nullptr, gradient); });
}

template <class T>
int64_t Influence<T>::entries() const {
    const Block& last = state_->blocks.back();
    return last.first_entry + int64_t(last.rows) * last.columns;
}

template <class T>
void Influence<T>::read(T* out) const {
    const int64_t all = entries();
    auto visit = [&](int lane, int64_t first, int count, const T* J, int step) {
        T* to = out + lane * all + first;
        for (int i = 0; i < count; ++i) to[i] = J[i * step];
    };
    State::each(static_cast<const State&>(*state_), visit);
}

template <class T>
void Influence<T>::assign(const T* in) {
    const int64_t all = entries();
    auto visit = [&](int lane, int64_t first, int count, T* J, int step) {
        const T* from = in + lane * all + first;
        for (int i = 0; i < count; ++i) J[i * step] = from[i];
    };
    State::each(*state_, visit);
}

template <class T>
int64_t Influence<T>::stored() const {
    int64_t total = 0;
    for (const Buffer<T>& panel : state_->panels) total += panel.size();
    return total;
}

template <class T>
int Influence<T>::threads() const {
    return state_->threads;
}

template class Influence<float>;
template class Influence<double>;

template <class T>
std::unique_ptr<InfluenceBase<T>> make_influence(const Pattern& pattern, int lanes, int stride,
                                                 int threads) {
    return std::make_unique<Influence<T>>(pattern, lanes, stride, threads);
}

template std::unique_ptr<InfluenceBase<float>> make_influence(const Pattern&, int, int, int);
template std::unique_ptr<InfluenceBase<double>> make_influence(const Pattern&, int, int, int);

}  // namespace SNAPRUN_NS
}  // namespace snaprun
