#include "influence.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "influence_kernel.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace snaprun {
namespace SNAPRUN_NS {
namespace {

constexpr size_t kScratchBytes = 24 * 1024;  // of the old rows: with D's rows they share L1

template <class T>
class Buffer {  // aligned, zeroed, never grown
public:
    explicit Buffer(size_t size = 0) : size_(size) {
        if (!size) return;
        const size_t bytes = (size * sizeof(T) + 63) / 64 * 64;
        data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (!data_) throw std::bad_alloc();
        std::memset(data_, 0, bytes);
    }
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }
    T* get() { return data_; }
    const T* get() const { return data_; }
    size_t size() const { return size_; }

private:
    T* data_ = nullptr;
    size_t size_;
};

struct Block {
    int rows, columns;
    int first_row, first_column;  // into the pattern's arrays
    int unit;
    int32_t first_begin;  // of this block's begin[rows + 1] in the link index
    int own_count, first_own;
};

// The columns of a block in `vectors` vectors, cut into chunks of nearly equal width.
struct Chunk {
    int block, first_vector, width;
    size_t offset;  // numbers from the start of the panel
};

struct Layout {  // of one panel: a lane group, or a single lane
    std::vector<Chunk> chunks;
    std::vector<int32_t> chunk_begin;  // of block g: chunks[chunk_begin[g] .. chunk_begin[g + 1])
    size_t size = 0;
};

}  // namespace

template <class T>
struct Influence<T>::State {
    static constexpr int N = kWidth<T>;

    Pattern pattern;
    int lanes, stride, threads;
    int groups;   // of N lanes
    int singles;  // lanes beyond the groups
    std::vector<Block> blocks;
    std::vector<int32_t> begin;
    std::vector<Link> links;
    std::vector<int32_t> own;  // local rows that I feeds
    // Terms of the entries of D: entry e is Σ over term[term_begin[e] ..] of slope · weight, and
    // the unit's own ∂s'/∂s where local[e] ≥ 0.
    struct Term {
        int32_t slope, parameter;
    };
    std::vector<int32_t> term_begin, local;
    std::vector<Term> terms;
    Layout by_group, by_single;
    std::vector<Buffer<T>> panels;  // groups, then singles
    std::vector<Buffer<T>> D;       // a table a panel
    std::vector<Buffer<T>> credit;  // a table a panel: (c·k) vectors, or numbers
    std::vector<Buffer<T>> scratch;  // a thread each
    std::vector<int32_t> bounds;     // of the threads' blocks
    int widest = 0;

    State(const Pattern& p, int lanes_, int stride_, int threads_)
        : pattern(p), lanes(lanes_), stride(stride_), threads(std::max(threads_, 1)) {
        groups = lanes / N;
        singles = lanes % N;
        // A group that is nearly full is cheaper than its lanes one by one.
        if (singles * 10 >= N * 9) {
            ++groups;
            singles = 0;
        }
        index_blocks();
        index_entries();
        by_group = cut(true);
        by_single = cut(false);
        const size_t states = static_cast<size_t>(p.components) * p.units;
        for (int i = 0; i < groups + singles; ++i) {
            const bool group = i < groups;
            panels.emplace_back((group ? by_group : by_single).size);
            D.emplace_back((p.entry_row.size() + 1) * (group ? N : 1));
            credit.emplace_back(states * (group ? N : 1));
        }
        for (int t = 0; t < threads; ++t) scratch.emplace_back(scratch_size());
        divide();
    }

    void index_blocks() {
        const int count = static_cast<int>(pattern.row_begin.size()) - 1;
        std::vector<int32_t> local_row(static_cast<size_t>(pattern.components) * pattern.units, -1);
        // Entries are sorted by row: where each row of D begins.
        std::vector<int32_t> row_of_D(local_row.size() + 1, 0);
        for (int32_t row : pattern.entry_row) ++row_of_D[row + 1];
        for (size_t i = 1; i < row_of_D.size(); ++i) row_of_D[i] += row_of_D[i - 1];
        for (int g = 0; g < count; ++g) {
            Block b{};
            b.first_row = pattern.row_begin[g];
            b.rows = pattern.row_begin[g + 1] - b.first_row;
            b.first_column = pattern.column_begin[g];
            b.columns = pattern.column_begin[g + 1] - b.first_column;
            b.unit = pattern.unit_P[pattern.columns[b.first_column]];
            b.first_begin = static_cast<int32_t>(begin.size());
            b.first_own = static_cast<int32_t>(own.size());
            const int32_t* rows = pattern.rows.data() + b.first_row;
            for (int r = 0; r < b.rows; ++r) local_row[rows[r]] = r;
            for (int r = 0; r < b.rows; ++r) {
                begin.push_back(static_cast<int32_t>(links.size()));
                for (int32_t e = row_of_D[rows[r]]; e < row_of_D[rows[r] + 1]; ++e) {
                    const int32_t from = local_row[pattern.entry_column[e]];
                    if (from >= 0) links.push_back({e, from});
                }
                if (pattern.own[b.first_row + r]) own.push_back(r);
            }
            begin.push_back(static_cast<int32_t>(links.size()));
            b.own_count = static_cast<int>(own.size()) - b.first_own;
            for (int r = 0; r < b.rows; ++r) local_row[rows[r]] = -1;
            blocks.push_back(b);
        }
    }

    void index_entries() {
        const Pattern& p = pattern;
        // The live recurrent weights of (u, v) in every slot.
        std::vector<std::vector<int32_t>> of_unit(p.units);
        for (int32_t i = 0; i < p.parameters; ++i) of_unit[p.unit_P[i]].push_back(i);
        for (size_t e = 0; e < p.entry_row.size(); ++e) {
            term_begin.push_back(static_cast<int32_t>(terms.size()));
            const int row = p.entry_row[e], column = p.entry_column[e];
            const int component = row / p.units, u = row % p.units;
            const int from = column / p.units, v = column % p.units;
            if (from == 0) {
                for (int32_t i : of_unit[u]) {
                    if (p.source_P[i] != v) continue;
                    const int slope = (component * p.slots + p.slot_P[i]) * p.units + u;
                    terms.push_back({slope, i});
                }
            }
            local.push_back(u == v ? (component * p.components + from) * p.units + u : -1);
        }
        term_begin.push_back(static_cast<int32_t>(terms.size()));
    }

    Layout cut(bool group) {
        Layout layout;
        for (size_t g = 0; g < blocks.size(); ++g) {
            const Block& b = blocks[g];
            layout.chunk_begin.push_back(static_cast<int32_t>(layout.chunks.size()));
            const int vectors = group ? b.columns : (b.columns + N - 1) / N;
            const int fit = static_cast<int>(kScratchBytes / (static_cast<size_t>(b.rows) * 32));
            const int most = std::min(kMaxWidth, std::max(fit, 4));
            const int count = (vectors + most - 1) / most;
            for (int i = 0, first = 0; i < count; ++i) {
                const int width = vectors / count + (i < vectors % count);
                layout.chunks.push_back({static_cast<int>(g), first, width, layout.size});
                layout.size += static_cast<size_t>(b.rows) * width * N;
                first += width;
            }
        }
        layout.chunk_begin.push_back(static_cast<int32_t>(layout.chunks.size()));
        return layout;
    }

    size_t scratch_size() const {
        size_t most = 0;
        for (const Layout* layout : {&by_group, &by_single})
            for (const Chunk& c : layout->chunks)
                most = std::max(most, static_cast<size_t>(blocks[c.block].rows) * c.width * N);
        return most + 2 * kMaxWidth * N;
    }

    // Blocks in runs of nearly equal work, one a thread.
    void divide() {
        std::vector<double> work{0};
        for (size_t g = 0; g < blocks.size(); ++g) {
            const Block& b = blocks[g];
            const int nonzeros = begin[b.first_begin + b.rows] - begin[b.first_begin];
            work.push_back(work.back() + (nonzeros + 4.0 * b.rows) * b.columns);
        }
        for (int t = 0; t <= threads; ++t) {
            const double share = work.back() * t / threads;
            bounds.push_back(static_cast<int32_t>(
                std::lower_bound(work.begin(), work.end(), share) - work.begin()));
        }
        bounds.back() = static_cast<int32_t>(blocks.size());
    }

    // The table of D of one panel, equation (2).
    void fill_D(int panel, const T* theta, const T* slopes, const T* own_blocks) {
        T* table = D[panel].get();
        const size_t entries = pattern.entry_row.size();
        if (panel < groups) {
            const T* at = slopes + panel * N;
            const T* at_block = own_blocks + panel * N;
            for (size_t e = 0; e < entries; ++e) {
                Vec<T> value{};
                if (local[e] >= 0) value = load(at_block + static_cast<size_t>(local[e]) * stride);
                for (int32_t i = term_begin[e]; i < term_begin[e + 1]; ++i)
                    value += load(at + static_cast<size_t>(terms[i].slope) * stride) *
                             theta[terms[i].parameter];
                store(table + e * N, value);
            }
            return;
        }
        const int lane = groups * N + panel - groups;
        for (size_t e = 0; e < entries; ++e) {
            T value = local[e] >= 0 ? own_blocks[static_cast<size_t>(local[e]) * stride + lane] : T(0);
            for (int32_t i = term_begin[e]; i < term_begin[e + 1]; ++i)
                value += slopes[static_cast<size_t>(terms[i].slope) * stride + lane] *
                         theta[terms[i].parameter];
            table[e] = value;
        }
    }

    void fill_credit(int panel, const T* given) {
        T* table = credit[panel].get();
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

    template <int W, bool kLanes>
    void chunk_of_width(const Block& b, const Chunk& c, int panel, const T* slopes, const T* src,
                        bool with_credit, T* old, T* gradient) {
        T* J = panels[panel].get() + c.offset;
        multiply<T, W, kLanes>(J, old, b.rows, begin.data() + b.first_begin, links.data(),
                               D[panel].get());
        add_immediate<kLanes>(b, c, panel, slopes, src, J);
        if (!with_credit) return;
        alignas(32) Vec<T> out[W + N];
        contract<T, W, kLanes>(J, b.rows, pattern.rows.data() + b.first_row, credit[panel].get(),
                               out);
        const int32_t* columns = pattern.columns.data() + b.first_column;
        if (kLanes) {
            for (int w = W; w < W + N; ++w) out[w] = Vec<T>{};
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
    void chunk(const Block& b, const Chunk& c, int panel, const T* slopes, const T* src,
               bool with_credit, T* old, T* gradient) {
        switch (c.width) {
#define SNAPRUN_CASE(W)                                                                        \
    case W:                                                                                    \
        return chunk_of_width<W, kLanes>(b, c, panel, slopes, src, with_credit, old, gradient);
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

    void advance(int thread, const T* slopes, const T* src, bool with_credit, T* gradient) {
        T* old = scratch[thread].get();
        for (int panel = 0; panel < groups + singles; ++panel) {
            const Layout& layout = panel < groups ? by_group : by_single;
            for (int g = bounds[thread]; g < bounds[thread + 1]; ++g)
                for (int i = layout.chunk_begin[g]; i < layout.chunk_begin[g + 1]; ++i) {
                    const Chunk& c = layout.chunks[i];
                    if (panel < groups)
                        chunk<true>(blocks[g], c, panel, slopes, src, with_credit, old, gradient);
                    else
                        chunk<false>(blocks[g], c, panel, slopes, src, with_credit, old, gradient);
                }
        }
    }

    // Calls visit(lane, state row, parameter, number in storage) for every entry.
    template <class Storage, class Visit>
    static void each(Storage& self, Visit visit) {
        const Pattern& p = self.pattern;
        for (int panel = 0; panel < self.groups + self.singles; ++panel) {
            const bool group = panel < self.groups;
            for (const Chunk& c : (group ? self.by_group : self.by_single).chunks) {
                const Block& b = self.blocks[c.block];
                auto* J = self.panels[panel].get() + c.offset;
                for (int r = 0; r < b.rows; ++r)
                    for (int i = 0; i < c.width * N; ++i) {
                        const int column = c.first_vector * (group ? 1 : N) + (group ? i / N : i);
                        const int lane =
                            group ? panel * N + i % N : self.groups * N + panel - self.groups;
                        if (column < b.columns && lane < self.lanes)
                            visit(lane, p.rows[b.first_row + r],
                                  p.columns[b.first_column + column],
                                  J[static_cast<size_t>(r) * c.width * N + i]);
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
            const bool gone = lane >= s.lanes || lanes[lane];
            keep[i] = gone ? T(0) : T(1);
            any |= lane < s.lanes && lanes[lane];
            all &= gone;
        }
        if (all)
            std::memset(J.get(), 0, J.size() * sizeof(T));
        else if (any)  // by choice, not by product: what is dropped may be infinite
            for (size_t i = 0; i < J.size(); ++i)
                if (keep[i % N] == T(0)) J.get()[i] = T(0);
    }
}

template <class T>
void Influence<T>::step(const T* theta, const T* slopes, const T* blocks, const T* src,
                        const T* credit, T* gradient) {
    State& s = *state_;
    for (int panel = 0; panel < s.groups + s.singles; ++panel) {
        s.fill_D(panel, theta, slopes, blocks);
        if (credit) s.fill_credit(panel, credit);
    }
    if (s.threads == 1) {
        s.advance(0, slopes, src, credit != nullptr, gradient);
        return;
    }
#pragma omp parallel for schedule(static, 1) num_threads(s.threads)
    for (int t = 0; t < s.threads; ++t) s.advance(t, slopes, src, credit != nullptr, gradient);
}

template <class T>
void Influence<T>::dense(T* out) const {
    const Pattern& p = state_->pattern;
    const size_t states = static_cast<size_t>(p.components) * p.units;
    std::memset(out, 0, state_->lanes * states * p.parameters * sizeof(T));
    State::each(static_cast<const State&>(*state_), [&](int lane, int row, int column, T value) {
        out[(lane * states + row) * p.parameters + column] = value;
    });
}

template <class T>
void Influence<T>::assign(const T* in) {
    const Pattern& p = state_->pattern;
    const size_t states = static_cast<size_t>(p.components) * p.units;
    State::each(*state_, [&](int lane, int row, int column, T& value) {
        value = in[(lane * states + row) * p.parameters + column];
    });
}

template <class T>
int64_t Influence<T>::stored() const {
    int64_t total = 0;
    for (const Buffer<T>& panel : state_->panels) total += panel.size();
    return total;
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
