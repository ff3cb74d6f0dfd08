#include "passes.hpp"

#include <algorithm>
#include <numeric>

namespace crf {
namespace {

constexpr int32_t kBlockRows = 192;        // some 18 KiB of 24 labels: stays in the first-level cache
constexpr int32_t kLargeComponent = 24576; // rows; above, the axes are done one by one so that threads can share the work
constexpr int32_t kUnfusedRows = 4096;

int32_t root_of(std::vector<int32_t>& parent, int32_t v) {
    while (parent[v] != v) {
        parent[v] = parent[parent[v]];
        v = parent[v];
    }
    return v;
}

// Numbers the connected components under the axes by their first vertex; returns their sizes.
std::vector<int32_t> components(const Neighbours& n, int first, int last, std::vector<int32_t>& label) {
    const int32_t M = int32_t(n.next[first].size());
    std::vector<int32_t> parent(M);
    std::iota(parent.begin(), parent.end(), 0);
    for (int axis = first; axis < last; ++axis) {
        for (int32_t v = 0; v < M; ++v) {
            if (n.next[axis][v] < 0) continue;
            const int32_t a = root_of(parent, v), b = root_of(parent, n.next[axis][v]);
            if (a != b) parent[std::max(a, b)] = std::min(a, b);
        }
    }
    std::vector<int32_t> sizes;
    label.resize(M);
    for (int32_t v = 0; v < M; ++v) {
        const int32_t root = root_of(parent, v);
        if (root == v) {
            label[v] = int32_t(sizes.size());
            sizes.push_back(0);
        } else {
            label[v] = label[root];
        }
        ++sizes[label[v]];
    }
    return sizes;
}

void cut_rows(Pass& pass, const std::vector<int32_t>& sizes, int32_t M) {
    pass.row_cut.assign(1, 0);
    int32_t end = 0;
    if (pass.fused) {
        for (int32_t size : sizes) {
            end += size;
            if (end - pass.row_cut.back() >= kBlockRows) pass.row_cut.push_back(end);
        }
    } else {
        for (int32_t r = 1; r < M; ++r) {
            if (r - pass.row_cut.back() >= kUnfusedRows && !pass.joined[r]) pass.row_cut.push_back(r);
        }
    }
    if (pass.row_cut.back() != M) pass.row_cut.push_back(M);
}

}  // namespace

Pass build_pass(const Neighbours& n, int first_axis, int last_axis, std::vector<int32_t>& row_of) {
    Pass pass;
    pass.first_axis = first_axis;
    pass.last_axis = last_axis;
    const int32_t M = int32_t(n.next[first_axis].size());
    std::vector<int32_t> label, id_at(M);
    const std::vector<int32_t> sizes = components(n, first_axis, last_axis, label);
    pass.fused = *std::max_element(sizes.begin(), sizes.end()) <= kLargeComponent;

    std::vector<int32_t> offset(sizes.size());
    std::exclusive_scan(sizes.begin(), sizes.end(), offset.begin(), 0);
    row_of.resize(M);
    pass.joined.assign(M + 1, 0);
    for (int32_t head = 0; head < M; ++head) {
        if (n.has_previous[first_axis][head]) continue;
        int32_t row = offset[label[head]];
        for (int32_t v = head; v >= 0; v = n.next[first_axis][v], ++row) {
            row_of[v] = row;
            id_at[row] = v;
            pass.joined[row] = v != head;
        }
        offset[label[head]] = row;
    }
    cut_rows(pass, sizes, M);

    for (int axis = first_axis + 1; axis < last_axis; ++axis) {
        std::vector<int32_t> order, cut(1, 0);
        const std::vector<int32_t>& next = n.next[axis];
        size_t block = 1;
        for (int32_t r = 0; r < M; ++r) {
            if (pass.fused && r == pass.row_cut[block]) {
                cut.push_back(int32_t(order.size()));
                ++block;
            } else if (!pass.fused && int32_t(order.size()) - cut.back() >= kUnfusedRows) {
                cut.push_back(int32_t(order.size()));
            }
            int32_t v = id_at[r];
            if (n.has_previous[axis][v] || next[v] < 0) continue;
            for (; next[v] >= 0; v = next[v]) order.push_back(row_of[v]);
            order.push_back(~row_of[v]);
        }
        cut.push_back(int32_t(order.size()));
        order.shrink_to_fit();
        pass.order.push_back(std::move(order));
        pass.order_cut.push_back(std::move(cut));
    }
    return pass;
}

void blur_scalar(const Pass& pass, float* values) {
    const size_t M = pass.joined.size() - 1;
    float before = 0;
    for (size_t r = 0; r < M; ++r) {
        const float cur = values[r], after = pass.joined[r + 1] ? values[r + 1] : 0;
        if (!pass.joined[r]) before = 0;
        values[r] = cur + 0.5f * (before + after);
        before = cur;
    }
    for (const std::vector<int32_t>& order : pass.order) {
        bool head = true;
        float cur = 0;
        int32_t at = 0;
        before = 0;
        for (int32_t code : order) {
            const int32_t row = code < 0 ? ~code : code;
            const float next = values[row];
            if (!head) {
                values[at] = cur + 0.5f * (before + next);
                before = cur;
            }
            cur = next;
            at = row;
            head = false;
            if (code < 0) {
                values[at] = cur + 0.5f * before;
                before = 0;
                head = true;
            }
        }
    }
}

}  // namespace crf
