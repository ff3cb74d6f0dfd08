#include "passes.hpp"

#include <algorithm>
#include <numeric>

#include "parallel.hpp"

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

// The vertices in the order of their components, and where each block of whole components ends.
struct Blocks {
    bool fused = true;
    std::vector<int32_t> member;
    std::vector<int32_t> cut = {0};
};

// Sorts heads of chains along the axis by component, and the chains' vertices with them.
Blocks make_blocks(const Neighbours& n, int first, int last) {
    Blocks blocks;
    const int32_t M = int32_t(n.next[first].size());
    std::vector<int32_t> label;
    const std::vector<int32_t> sizes = components(n, first, last, label);
    blocks.fused = *std::max_element(sizes.begin(), sizes.end()) <= kLargeComponent;
    std::vector<int32_t> place(sizes.size());
    std::exclusive_scan(sizes.begin(), sizes.end(), place.begin(), 0);
    blocks.member.resize(M);
    for (int32_t head = 0; head < M; ++head) {
        if (n.has_previous[first][head]) continue;
        int32_t& at = place[label[head]];
        for (int32_t v = head; v >= 0; v = n.next[first][v]) blocks.member[at++] = v;
    }
    int32_t end = 0;
    const int32_t least = blocks.fused ? kBlockRows : M;
    for (int32_t size : sizes) {
        end += size;
        if (end - blocks.cut.back() >= least) blocks.cut.push_back(end);
    }
    if (blocks.cut.back() != M) blocks.cut.push_back(M);
    return blocks;
}

// Lists the chains of an axis block by block; without fusing, in pieces of about equal length.
void list_chains(const Neighbours& n, int axis, const Blocks& blocks, const std::vector<int32_t>& row_of,
                 std::vector<int32_t>& order, std::vector<int32_t>& cut) {
    cut.assign(1, 0);
    order.resize(row_of.size() + kTapPadding);
    int32_t* to = order.data();
    const auto count = [&] { return int32_t(to - order.data()); };
    const std::vector<int32_t>& next = n.next[axis];
    const std::vector<uint8_t>& has_previous = n.has_previous[axis];
    for (size_t b = 0; b + 1 < blocks.cut.size(); ++b) {
        for (int32_t m = blocks.cut[b]; m < blocks.cut[b + 1]; ++m) {
            int32_t v = blocks.member[m];
            if (has_previous[v] || next[v] < 0) continue;
            for (; next[v] >= 0; v = next[v]) *to++ = row_of[v];
            *to++ = ~row_of[v];
            if (!blocks.fused && count() - cut.back() >= kUnfusedRows) cut.push_back(count());
        }
        if (blocks.fused || cut.back() != count()) cut.push_back(count());
    }
    std::fill(to, to + kTapPadding, 0);
    order.resize(size_t(count()) + kTapPadding);
}

void blur_chains(const int32_t* code, const int32_t* end, float* values) {
    while (code != end) {
        int32_t at = *code++;
        float cur = values[at], before = 0;
        for (bool more = true; more;) {
            more = *code >= 0;
            const int32_t row = more ? *code : ~*code;
            ++code;
            const float next = values[row];
            values[at] = cur + 0.5f * (before + next);
            before = cur;
            cur = next;
            at = row;
        }
        values[at] = cur + 0.5f * before;
    }
}

}  // namespace

std::vector<int32_t> plan_passes(const Neighbours& n, Lattice& lattice, int num_threads) {
    const int taps = lattice.taps(), split = (taps + 1) / 2;
    const int32_t M = lattice.num_vertices;
    Blocks blocks[2];
    parallel_for(2, num_threads, [&](int64_t g) { blocks[g] = make_blocks(n, g ? split : 0, g ? taps : split); });
    std::vector<int32_t> row_of(M);
    lattice.joined.resize(M + 1);
    parallel_for(16, num_threads, [&](int64_t part) {
        for (int32_t r = int32_t(M * part / 16); r < int32_t(M * (part + 1) / 16); ++r) {
            const int32_t v = blocks[0].member[r];
            row_of[v] = r;
            lattice.joined[r] = n.has_previous[0][v];
        }
    });
    lattice.joined[M] = 0;
    lattice.row_cut = blocks[0].cut;
    if (!blocks[0].fused) {
        lattice.row_cut.assign(1, 0);
        for (int32_t r = 1; r < M; ++r)
            if (r - lattice.row_cut.back() >= kUnfusedRows && !lattice.joined[r]) lattice.row_cut.push_back(r);
        lattice.row_cut.push_back(M);
    }
    for (int g = 0; g < 2; ++g) {
        const size_t axes = g ? taps - split : split - 1;
        lattice.halves[g].fused = blocks[g].fused;
        lattice.halves[g].order.resize(axes);
        lattice.halves[g].order_cut.resize(axes);
    }
    // Axis 0 is blurred by the splat.
    parallel_for(taps - 1, num_threads, [&](int64_t i) {
        const int axis = int(i) + 1, g = axis >= split;
        const size_t place = g ? axis - split : axis - 1;
        list_chains(n, axis, blocks[g], row_of, lattice.halves[g].order[place], lattice.halves[g].order_cut[place]);
    });
    return row_of;
}

void blur_scalar(const Lattice& lattice, float* values, int num_threads) {
    parallel_for(int64_t(lattice.row_cut.size()) - 1, num_threads, [&](int64_t b) {
        float before = 0;
        for (int32_t r = lattice.row_cut[b]; r < lattice.row_cut[b + 1]; ++r) {
            const float cur = values[r], after = lattice.joined[r + 1] ? values[r + 1] : 0;
            if (!lattice.joined[r]) before = 0;
            values[r] = cur + 0.5f * (before + after);
            before = cur;
        }
    });
    for (const Pass& pass : lattice.halves) {
        for (size_t axis = 0; axis < pass.order.size(); ++axis) {
            const std::vector<int32_t>& cut = pass.order_cut[axis];
            const int64_t blocks = int64_t(cut.size()) - 1, share = (blocks + 15) / 16;
            parallel_for(16, num_threads, [&](int64_t c) {
                const int64_t first = std::min(c * share, blocks), last = std::min(first + share, blocks);
                blur_chains(pass.order[axis].data() + cut[first], pass.order[axis].data() + cut[last], values);
            });
        }
    }
}

}  // namespace crf
