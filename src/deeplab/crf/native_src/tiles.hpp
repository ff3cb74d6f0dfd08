// Cuts the picture into tiles that can be updated in place: what a tile reads of its neighbours is copied beforehand.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "grid.hpp"
#include "parallel.hpp"

namespace crf {

class Tiles {
  public:
    Tiles(int64_t height, int64_t width, const std::vector<const Grid*>& grids) : height_(height), width_(width) {
        float std = 1;
        for (const Grid* g : grids) std = std::max(std, g->xy_std);
        x_cut_ = cuts(width, int64_t(160 * std));
        // What is copied around the cuts of a large picture counts in its memory.
        y_cut_ = cuts(height, int64_t((height < 1000 ? 64 : 128) * std));
        for (const Grid* g : grids) {
            for (int64_t i = 0; i < count(); ++i) {
                const Tile t = tile(i), r = reach(*g, t);
                halo_x_ = std::max({halo_x_, t.x0 - r.x0, r.x1 - t.x1});
                halo_y_ = std::max({halo_y_, t.y0 - r.y0, r.y1 - t.y1});
            }
        }
    }

    int64_t count() const { return int64_t(x_cut_.size() - 1) * int64_t(y_cut_.size() - 1); }

    Tile tile(int64_t i) const {
        const int64_t across = int64_t(x_cut_.size()) - 1, x = i % across, y = i / across;
        return {x_cut_[x], x_cut_[x + 1], y_cut_[y], y_cut_[y + 1]};
    }

    // Keeps copies of the marginals around all cuts.
    void save(const float* Q, int64_t stride, int num_threads) {
        stride_ = stride;
        if (halo_x_ + halo_y_ == 0) return;
        const int64_t inner_y = int64_t(y_cut_.size()) - 2, inner_x = int64_t(x_cut_.size()) - 2;
        rows_.resize(inner_y * 2 * halo_y_ * width_ * stride + 8);  // rows are read in whole blocks of 8 labels
        columns_.resize(inner_x * height_ * 2 * halo_x_ * stride + 8);
        parallel_for(inner_y, num_threads, [&](int64_t c) {
            const int64_t first = y_cut_[c + 1] - halo_y_;
            for (int64_t r = std::max<int64_t>(0, -first); r < 2 * halo_y_ && first + r < height_; ++r)
                std::memcpy(row_band(c, r), Q + (first + r) * width_ * stride, width_ * stride * sizeof(float));
        });
        parallel_for(inner_x ? height_ : 0, num_threads, [&](int64_t y) {
            for (int64_t c = 0; c < inner_x; ++c) {
                const int64_t first = x_cut_[c + 1] - halo_x_, skip = std::max<int64_t>(0, -first);
                const int64_t end = std::min(2 * halo_x_, width_ - first);
                std::memcpy(column_band(c, y) + skip * stride, Q + (y * width_ + first + skip) * stride,
                            (end - skip) * stride * sizeof(float));
            }
        });
    }

    // Where tile i finds the marginals of row y, as they were before any tile was updated.
    RowSource source(int64_t i, const Tile& reach, const float* Q, int64_t y) {
        const Tile t = tile(i);
        const int64_t across = int64_t(x_cut_.size()) - 1, cx = i % across, cy = i / across;
        if (y >= t.y0 && y < t.y1) {
            const float* left = cx ? column_band(cx - 1, y) + (halo_x_ - (t.x0 - reach.x0)) * stride_ : nullptr;
            const float* right = cx + 1 < across ? column_band(cx, y) + halo_x_ * stride_ : nullptr;
            return {left, Q + (y * width_ + t.x0) * stride_, right};
        }
        const float* row = y < t.y0 ? row_band(cy - 1, y - t.y0 + halo_y_) : row_band(cy, y - t.y1 + halo_y_);
        return {row + reach.x0 * stride_, row + t.x0 * stride_, row + t.x1 * stride_};
    }

  private:
    static std::vector<int64_t> cuts(int64_t size, int64_t most) {
        const int64_t parts = (size + most - 1) / most;
        std::vector<int64_t> result;
        for (int64_t i = 0; i <= parts; ++i) result.push_back(size * i / parts);
        return result;
    }
    float* row_band(int64_t cut, int64_t row) { return rows_.data() + (cut * 2 * halo_y_ + row) * width_ * stride_; }
    float* column_band(int64_t cut, int64_t y) { return columns_.data() + (cut * height_ + y) * 2 * halo_x_ * stride_; }

    const int64_t height_, width_;
    int64_t stride_ = 0, halo_x_ = 0, halo_y_ = 0;
    std::vector<int64_t> x_cut_, y_cut_;
    std::vector<float> rows_, columns_;
};

}  // namespace crf
