#include "grid.hpp"

#include <algorithm>
#include <cmath>
#include <deque>

#include "global_state.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace crf {
namespace {

constexpr int kMarginRows = 8, kMarginColumns = 4;

struct Cell {
    int64_t row, column;
};

// The cells of one pixel's simplex, before the grid's offset.
void cells_of(const int32_t* point, const int32_t* rank, Cell* cells) {
    int64_t i = point[0], j = point[8];
    for (int v = 0; v < 3; ++v) {
        cells[v] = {i + j, (i - j - ((i + j) & 1)) / 2};
        const int next = 2 - v;  // rank of the axis of the step back to the next vertex
        if (rank[0] == next) --i;
        else if (rank[8] == next) --j;
        else ++i, ++j;
    }
}

template <class Each>
void each_pixel(int64_t y, int64_t width, float xy_std, const Each& each) {
    const EmbedPlan plan = embed_plan(2);
    float features[16], bary[24];
    int32_t point[24], rank[24];
    for (int64_t x = 0; x < width; x += 8) {
        for (int l = 0; l < 8; ++l) {
            features[l] = float(std::min(x + l, width - 1)) / xy_std;
            features[8 + l] = float(y) / xy_std;
        }
        simd().embed(plan, features, 8, point, rank, bary);
        for (int l = 0; l < 8 && x + l < width; ++l) {
            Cell cells[3];
            cells_of(point + l, rank + l, cells);
            each(x + l, cells, bary + l);
        }
    }
}

// Filters a picture of ones.
std::vector<float> kernel_sums(const Grid& g) {
    std::vector<float> a(g.exists.size(), 0.0f), b(a.size(), 0.0f);
    const int64_t C = g.columns;
    for (const GridTap& tap : g.taps) a[tap.row * C + tap.column] += tap.weight;
    for (int axis = 0; axis < 3; ++axis) {
        for (int64_t s = 2; s < g.rows - 2; ++s) {
            const int64_t odd = s & 1;
            const int64_t ahead = axis == 0 ? C + odd : axis == 1 ? C - 1 + odd : 2 * C;
            const int64_t behind = axis == 0 ? -C - 1 + odd : axis == 1 ? -C + odd : -2 * C;
            for (int64_t c = s * C + 1; c < (s + 1) * C - 1; ++c) b[c] = g.exists[c] * (a[c] + 0.5f * (a[c + ahead] + a[c + behind]));
        }
        a.swap(b);
    }
    std::vector<float> sums(g.height * g.width);
    for (size_t p = 0; p < sums.size(); ++p) {
        float sum = 0;
        for (int v = 0; v < 3; ++v) {
            const GridTap& tap = g.taps[3 * p + v];
            sum += tap.weight * a[tap.row * C + tap.column] * kGridAlpha;
        }
        sums[p] = sum;
    }
    return sums;
}

void make_monotonous(std::vector<int>& first, std::vector<int>& last) {
    for (size_t i = 1; i < last.size(); ++i) last[i] = std::max(last[i], last[i - 1]);
    for (size_t i = first.size() - 1; i > 0; --i) first[i - 1] = std::min(first[i - 1], first[i]);
}

}  // namespace

bool suits_grid(int64_t height, int64_t width, float xy_std) {
    return xy_std >= 0.6f && xy_std <= 4.0f && 2 * height / xy_std < 60000 && width / xy_std < 60000;
}

namespace {

std::shared_ptr<Grid> build_grid(int64_t height, int64_t width, float xy_std, bool symmetric, int num_threads) {
    auto grid = std::make_shared<Grid>();
    Grid& g = *grid;
    g.height = height;
    g.width = width;
    g.xy_std = xy_std;
    g.symmetric = symmetric;
    // The first pixel's point is the origin; x and y only grow, so cells start just below 0.
    const int64_t row_offset = kMarginRows + 4, column_offset = kMarginColumns + 4;  // even, to keep the parity of rows
    g.rows = int(std::ceil(2 * (height - 1) / xy_std)) + 2 * int(row_offset);
    g.columns = int(std::ceil((width - 1) / (std::sqrt(3.0f) * xy_std))) + 2 * int(column_offset);
    g.exists = Array<float>(int64_t(g.rows) * g.columns);
    std::fill(g.exists.begin(), g.exists.end(), 0.0f);
    g.taps = Array<GridTap>(3 * height * width);
    g.first_row.assign(height, g.rows);
    g.last_row.assign(height, 0);
    std::vector<std::vector<int>> low(16, std::vector<int>(width, g.columns)), high(16, std::vector<int>(width, 0));
    const int64_t part = (height + 15) / 16;
    parallel_for(16, num_threads, [&](int64_t b) {
        for (int64_t y = b * part; y < std::min(height, (b + 1) * part); ++y) {
            each_pixel(y, width, xy_std, [&](int64_t x, const Cell* cells, const float* bary) {
                for (int v = 0; v < 3; ++v) {
                    const int row = int(cells[v].row + row_offset), column = int(cells[v].column + column_offset);
                    g.taps[3 * (y * width + x) + v] = {uint16_t(row), uint16_t(column), bary[8 * v]};
                    g.first_row[y] = std::min(g.first_row[y], row);
                    g.last_row[y] = std::max(g.last_row[y], row);
                    low[b][x] = std::min(low[b][x], column);
                    high[b][x] = std::max(high[b][x], column);
                }
            });
        }
    });
    g.first_column = low[0];
    g.last_column = high[0];
    for (int b = 1; b < 16; ++b) {
        for (int64_t x = 0; x < width; ++x) {
            g.first_column[x] = std::min(g.first_column[x], low[b][x]);
            g.last_column[x] = std::max(g.last_column[x], high[b][x]);
        }
    }
    make_monotonous(g.first_row, g.last_row);
    make_monotonous(g.first_column, g.last_column);
    for (const GridTap& tap : g.taps) g.exists[int64_t(tap.row) * g.columns + tap.column] = 1.0f;

    const std::vector<float> sums = kernel_sums(g);
    g.norm = Array<float>(sums.size());
    for (size_t p = 0; p < sums.size(); ++p) {
        const double all = double(sums[p]) + 1e-20;
        g.norm[p] = symmetric ? float(1.0 / std::sqrt(all)) : float(1.0 / all);
    }
    return grid;
}

constexpr int64_t kKeptPixels = 1 << 18;  // of a picture; its grid takes 28 bytes a pixel
constexpr size_t kKeptGrids = 4;
// The latest first. Never destroyed, as global_state.hpp says.
std::deque<std::shared_ptr<const Grid>>& kept = *new std::deque<std::shared_ptr<const Grid>>;

}  // namespace

std::shared_ptr<const Grid> grid_of(int64_t height, int64_t width, float xy_std, bool symmetric, int num_threads) {
    if (height * width > kKeptPixels) return build_grid(height, width, xy_std, symmetric, num_threads);
    {
        const std::lock_guard<std::mutex> lock(grids_mutex);
        for (const auto& grid : kept)
            if (grid->height == height && grid->width == width && grid->xy_std == xy_std && grid->symmetric == symmetric) return grid;
    }
    const std::shared_ptr<const Grid> grid = build_grid(height, width, xy_std, symmetric, num_threads);
    const std::lock_guard<std::mutex> lock(grids_mutex);
    kept.push_front(grid);
    if (kept.size() > kKeptGrids) kept.pop_back();
    return grid;
}

Tile reach(const Grid& grid, const Tile& tile) {
    const auto above = [](const std::vector<int>& v, int value) {
        return int64_t(std::lower_bound(v.begin(), v.end(), value) - v.begin());
    };
    // Blurring along the first two axes reaches one column each, and along the three one, one and two rows.
    return {above(grid.last_column, grid.first_column[tile.x0] - 2), above(grid.first_column, grid.last_column[tile.x1 - 1] + 3),
            above(grid.last_row, grid.first_row[tile.y0] - 4), above(grid.first_row, grid.last_row[tile.y1 - 1] + 5)};
}

GridStream::GridStream(const Grid& grid, int lanes, const Tile& tile, Array<float>& memory)
    : grid_(grid), lanes_(lanes), tile_(tile), reach_(reach(grid, tile)) {
    use_first_ = grid.first_column[tile.x0];
    use_last_ = grid.last_column[tile.x1 - 1];
    splat_next_ = reach_.y0;
    column_ = std::min(grid.first_column[reach_.x0], use_first_ - 3);
    columns_ = std::max(grid.last_column[reach_.x1 - 1], use_last_ + 3) - column_ + 1;
    const int first = grid.first_row[tile.y0];
    zeroed_ = std::min(grid.first_row[reach_.y0], first - 4);
    done_[1] = first - 3;
    done_[2] = first - 2;
    done_[3] = first;
    int span = 0;
    for (int64_t y = reach_.y0; y < reach_.y1; ++y) {
        const int64_t ahead = std::min(y + 1, reach_.y1 - 1);
        span = std::max(span, grid.last_row[ahead] - grid.first_row[y]);
    }
    const int needed[4] = {3 * span + 12, span + 8, span + 6, span + 2};
    int64_t total = 0, offset[4];
    for (int stage = 0; stage < 4; ++stage) {
        int ring = 1;
        while (ring < needed[stage]) ring *= 2;
        ring_mask_[stage] = ring - 1;
        offset[stage] = total;
        total += int64_t(ring) * columns_ * lanes_;
    }
    if (memory.size() < total) memory = Array<float>(total);
    for (int stage = 0; stage < 4; ++stage) rings_[stage] = memory.data() + offset[stage];
}

void GridStream::splat_row(int64_t y, int64_t stride, const RowSource& source) {
    for (; zeroed_ <= grid_.last_row[y]; ++zeroed_) {
        float* row = at(0, zeroed_, column_);
        std::fill(row, row + int64_t(columns_) * lanes_, 0.0f);
    }
    const int64_t first = y * grid_.width;
    const auto part = [&](const float* Q, int64_t begin, int64_t end) {
        if (begin >= end) return;
        simd().grid_splat(lanes_, Q, stride, grid_.taps.data() + 3 * (first + begin),
                          grid_.symmetric ? grid_.norm.data() + first + begin : nullptr, rings_[0], ring_mask_[0],
                          columns_, column_, end - begin);
    };
    part(source.left, reach_.x0, tile_.x0);
    part(source.inside, tile_.x0, tile_.x1);
    part(source.right, tile_.x1, reach_.x1);
}

void GridStream::blur_to(int last) {
    // Beyond the last splat there may be rows that nothing was added to; they count as zeros.
    for (; zeroed_ <= last + 4; ++zeroed_) {
        float* row = at(0, zeroed_, column_);
        std::fill(row, row + int64_t(columns_) * lanes_, 0.0f);
    }
    const int until[4] = {0, last + 3, last + 2, last};
    const int reach[4] = {0, 1, 0, 0};
    for (int stage = 1; stage < 4; ++stage) {
        for (; done_[stage] <= until[stage]; ++done_[stage]) {
            const int s = done_[stage], odd = s & 1;
            const int begin = use_first_ - reach[stage], end = use_last_ + reach[stage] + 1;
            const float *ahead, *behind;
            if (stage == 1) {
                ahead = at(0, s + 1, begin + odd);
                behind = at(0, s - 1, begin - 1 + odd);
            } else if (stage == 2) {
                ahead = at(1, s + 1, begin - 1 + odd);
                behind = at(1, s - 1, begin + odd);
            } else {
                ahead = at(2, s + 2, begin);
                behind = at(2, s - 2, begin);
            }
            simd().grid_blur(lanes_, at(stage - 1, s, begin), ahead, behind, grid_.exists.data() + int64_t(s) * grid_.columns + begin,
                             at(stage, s, begin), end - begin);
        }
    }
}

void GridStream::add_slice(int64_t y, float weight, float* out, int64_t out_stride) const {
    const int64_t first = y * grid_.width + tile_.x0;
    simd().grid_slice(lanes_, rings_[3], ring_mask_[3], columns_, column_, grid_.taps.data() + 3 * first,
                      grid_.norm.data() + first, weight, out, out_stride, tile_.x1 - tile_.x0);
}

}  // namespace crf
