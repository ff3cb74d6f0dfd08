// The permutohedral lattice of a spatial kernel. It is regular, so it is kept as a plane of cells and filtered row by row
// in a window that stays in the cache, with the same vertices and the same arithmetic as the general lattice.
//
// A lattice point is i u0 + j u1 with the blur axes u0 and u1; the third is u2 = -(u0 + u1). Cells are stored by
// row s = i + j, which follows y, and column c, where i - j = 2 c + (s odd), which follows x.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory.hpp"

namespace crf {

constexpr float kGridAlpha = 1.0f / (1.0f + 0.25f);

struct GridTap {
    uint16_t row, column;
    float weight;
};

struct Grid {
    int64_t height = 0, width = 0;
    float xy_std = 1;
    bool symmetric = true;
    int rows = 0, columns = 0;              // of cells, a margin of cells without vertex on every side included
    Array<float> exists;                    // 1 where a pixel touches the cell's vertex, else 0: there values stay 0
    Array<GridTap> taps;                    // three a pixel
    Array<float> norm;                      // factor of a pixel before the splat (if symmetric) and after the slice
    std::vector<int> first_row, last_row;   // cells that the taps of a row of pixels reach, monotonous
    std::vector<int> first_column, last_column;  // the same of a column of pixels
};

// Whether the kernel suits a grid: neither finer than the pixels, nor so coarse that the general lattice is small.
bool suits_grid(int64_t height, int64_t width, float xy_std);

// Builds the grid, or returns that of an earlier call: the last few of small pictures are kept, for pictures of one data
// set have few sizes.
std::shared_ptr<const Grid> grid_of(int64_t height, int64_t width, float xy_std, bool symmetric, int num_threads);

// A rectangle of pixels [x0, x1) x [y0, y1).
struct Tile {
    int64_t x0, x1, y0, y1;
};

// The pixels whose marginals reach the tile's messages.
Tile reach(const Grid& grid, const Tile& tile);

// Where the marginals of one row of pixels lie around a tile: left of it, in it, and right of it.
struct RowSource {
    const float* left;    // pixel x0 of the tile's reach
    const float* inside;  // pixel x0
    const float* right;   // pixel x1
};

// Filters a tile's rows one after another. Marginals are read ahead of the row that is sliced, and not again after it, so
// that the caller may overwrite a row of the tile once it has been sliced.
class GridStream {
  public:
    // `memory` is room for the rings, made larger if need be.
    GridStream(const Grid& grid, int lanes, const Tile& tile, Array<float>& memory);

    const Tile& around() const { return reach_; }

    // Adds weight * message of pixels [x0, x1) of row y to `out`; rows must be asked for from y0 on in order.
    // `source(row)` tells where the marginals of a row of pixels are.
    template <class Source>
    void slice_row(int64_t y, int64_t stride, float weight, const Source& source, float* out, int64_t out_stride) {
        while (splat_next_ < reach_.y1 && grid_.first_row[splat_next_] <= grid_.last_row[y] + 4) {
            splat_row(splat_next_, stride, source(splat_next_));
            ++splat_next_;
        }
        blur_to(grid_.last_row[y]);
        add_slice(y, weight, out, out_stride);
    }

  private:
    void splat_row(int64_t y, int64_t stride, const RowSource& source);
    void blur_to(int last);
    void add_slice(int64_t y, float weight, float* out, int64_t out_stride) const;
    float* at(int stage, int row, int column) {
        return rings_[stage] + (int64_t(row & ring_mask_[stage]) * columns_ + column - column_) * lanes_;
    }

    const Grid& grid_;
    const int lanes_;
    const Tile tile_;
    const Tile reach_;
    int64_t splat_next_;
    int column_, columns_;       // first cell column held and their number
    int use_first_, use_last_;   // cell columns that the tile's slice reads
    int zeroed_;                 // rows of stage 0 below this are ready to be added to
    int done_[4];                // rows of stages 1 to 3 below this are complete
    int ring_mask_[4];
    float* rings_[4];             // splatted, and blurred along one, two and three axes
};

}  // namespace crf
