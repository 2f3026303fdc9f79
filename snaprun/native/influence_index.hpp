// The kernel's index of a pattern: blocks, their entries of D, and chunks of columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "influence.hpp"
#include "influence_kernel.hpp"

namespace snaprun {
namespace SNAPRUN_NS {

constexpr size_t kChunkBytes = 24 * 1024;  // of old rows; D and the new rows share L1 with them

struct Block {
    int rows, columns;
    int first_row, first_column;  // into the pattern's arrays
    int unit;
    int64_t first_begin;  // of this block's begin[rows + 1] in the link index
    int own_count, first_own;
    int64_t first_entry;  // the index among the listed entries of J
};

// The columns of a block in `vectors` vectors, cut into chunks of nearly equal width.
struct Chunk {
    int block, first_vector, width;
    size_t offset;  // numbers from the start of the panel
};

struct Chunks {  // of one panel: a lane group, or a single lane
    std::vector<Chunk> list;
    std::vector<int32_t> begin;  // of block g: list[begin[g] .. begin[g + 1])
    size_t size = 0;
};

// Entries of D or E. Entry e is Σ over terms[term_begin[e] ..] of slope · weight, plus the unit's own
// ∂s'/∂s if local[e] ≥ 0.
struct Table {
    struct Term {
        int32_t slope, parameter;
    };
    std::vector<int32_t> term_begin, local;
    std::vector<Term> terms;
    size_t size() const { return local.size(); }
};

struct Index {
    Pattern pattern;
    std::vector<Block> blocks;
    std::vector<int64_t> begin;        // where each row's live entries of D[R, R] begin
    std::vector<int32_t> link_entry;   // the index of a live entry in the table of D
    std::vector<int16_t> link_source;  // the local row that it multiplies
    // The same three for E[R, R], if it has entries.
    std::vector<int64_t> up_begin;
    std::vector<int32_t> up_entry;
    std::vector<int16_t> up_source;
    std::vector<int32_t> own;  // local rows that I feeds
    Table dynamics, up;

    explicit Index(const Pattern& p) : pattern(p) {
        index_blocks();
        if (!p.link_row.empty()) {
            index_rows(p.link_row, p.link_column, up_begin, up_entry, up_source);
        }
        dynamics = table(p.entry_row, p.entry_column, 0, true);
        up = table(p.link_row, p.link_column, p.passed(), false);
    }

    int links(const Block& b) const {
        return static_cast<int>(begin[b.first_begin + b.rows] - begin[b.first_begin]);
    }

    void index_blocks() {
        const int count = static_cast<int>(pattern.row_begin.size()) - 1;
        int64_t entries = 0, begins = 0;
        for (int g = 0; g < count; ++g) {
            Block b{};
            b.first_row = pattern.row_begin[g];
            b.rows = pattern.row_begin[g + 1] - b.first_row;
            b.first_column = pattern.column_begin[g];
            b.columns = pattern.column_begin[g + 1] - b.first_column;
            b.unit = pattern.unit_P[pattern.columns[b.first_column]];
            b.first_entry = entries;
            entries += int64_t(b.rows) * b.columns;
            b.first_begin = begins;
            begins += b.rows + 1;
            b.first_own = static_cast<int32_t>(own.size());
            for (int r = 0; r < b.rows; ++r) {
                if (pattern.own[b.first_row + r]) own.push_back(r);
            }
            b.own_count = static_cast<int>(own.size()) - b.first_own;
            blocks.push_back(b);
        }
        index_rows(pattern.entry_row, pattern.entry_column, begin, link_entry, link_source);
    }

    // Finds the entries inside every block, row after row. The entries are sorted by row.
    void index_rows(const std::vector<int32_t>& row, const std::vector<int32_t>& column,
                    std::vector<int64_t>& begins, std::vector<int32_t>& entry,
                    std::vector<int16_t>& source) const {
        std::vector<int32_t> local_row(static_cast<size_t>(pattern.components) * pattern.units, -1);
        std::vector<int32_t> first(local_row.size() + 1, 0);  // of the entries of each row
        for (int32_t r : row) ++first[r + 1];
        for (size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
        for (const Block& b : blocks) {
            const int32_t* rows = pattern.rows.data() + b.first_row;
            for (int r = 0; r < b.rows; ++r) local_row[rows[r]] = r;
            for (int r = 0; r < b.rows; ++r) {
                begins.push_back(static_cast<int64_t>(entry.size()));
                for (int32_t e = first[rows[r]]; e < first[rows[r] + 1]; ++e) {
                    const int32_t from = local_row[column[e]];
                    if (from < 0) continue;
                    entry.push_back(e);
                    source.push_back(static_cast<int16_t>(from));
                }
            }
            begins.push_back(static_cast<int64_t>(entry.size()));
            for (int r = 0; r < b.rows; ++r) local_row[rows[r]] = -1;
        }
    }

    // `first` is the source of unit 0; `with_own` says whether the unit's own ∂s'/∂s counts.
    Table table(const std::vector<int32_t>& rows, const std::vector<int32_t>& columns, int first,
                bool with_own) const {
        const Pattern& p = pattern;
        Table all;
        std::vector<std::vector<int32_t>> of_unit(p.units);
        for (int32_t i = 0; i < p.parameters; ++i) of_unit[p.unit_P[i]].push_back(i);
        for (size_t e = 0; e < rows.size(); ++e) {
            all.term_begin.push_back(static_cast<int32_t>(all.terms.size()));
            const int row = rows[e], column = columns[e];
            const int component = row / p.units, u = row % p.units;
            const int from = column / p.units, v = column % p.units;
            if (from == 0) {
                for (int32_t i : of_unit[u]) {
                    if (p.source_P[i] != first + v) continue;
                    const int slope = (component * p.slots + p.slot_P[i]) * p.units + u;
                    all.terms.push_back({slope, i});
                }
            }
            const bool own = with_own && u == v;
            all.local.push_back(own ? (component * p.components + from) * p.units + u : -1);
        }
        all.term_begin.push_back(static_cast<int32_t>(all.terms.size()));
        return all;
    }

    // The columns of every block in chunks; a vector is one column of `width` lanes for a group, or
    // `width` columns of a single lane.
    Chunks cut(bool group, int width_of_vector) const {
        const int N = width_of_vector;
        Chunks chunks;
        for (size_t g = 0; g < blocks.size(); ++g) {
            const Block& b = blocks[g];
            chunks.begin.push_back(static_cast<int32_t>(chunks.list.size()));
            const int vectors = group ? b.columns : (b.columns + N - 1) / N;
            const int fit = static_cast<int>(kChunkBytes / (static_cast<size_t>(b.rows) * kBytes));
            const int most = std::min(kMaxWidth, std::max(fit, 4));
            const int count = (vectors + most - 1) / most;
            for (int i = 0, first = 0; i < count; ++i) {
                const int width = vectors / count + (i < vectors % count);
                chunks.list.push_back({static_cast<int>(g), first, width, chunks.size});
                chunks.size += static_cast<size_t>(b.rows) * width * N;
                first += width;
            }
        }
        chunks.begin.push_back(static_cast<int32_t>(chunks.list.size()));
        return chunks;
    }

    // Multiply-adds per lane before each block, and of all; a row of J costs as much as four.
    std::vector<double> work_before() const {
        std::vector<double> work{0};
        for (const Block& b : blocks) {
            work.push_back(work.back() + (links(b) + 4.0 * b.rows) * b.columns);
        }
        return work;
    }

    // Blocks in runs of nearly equal work: run t is [bounds[t], bounds[t + 1]).
    std::vector<int32_t> divide(int runs) const {
        const std::vector<double> work = work_before();
        std::vector<int32_t> bounds;
        for (int t = 0; t <= runs; ++t) {
            const double share = work.back() * t / runs;
            bounds.push_back(static_cast<int32_t>(
                std::lower_bound(work.begin(), work.end(), share) - work.begin()));
        }
        bounds.back() = static_cast<int32_t>(blocks.size());
        return bounds;
    }
};

}  // namespace SNAPRUN_NS
}  // namespace snaprun
