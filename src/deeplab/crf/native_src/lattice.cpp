#include "lattice.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "hash_table.hpp"
#include "parallel.hpp"
#include "passes.hpp"
#include "simd.hpp"

namespace crf {
namespace {

constexpr int64_t kBlock = 256;         // pixels embedded at a time
constexpr float kLargest = 1 << 20;     // of an elevated coordinate; float32 stays exact enough far beyond

// How lattice points become numbers. A point is n_0 u_0 + .. + n_(d-1) u_(d-1), where u_i is a step along blur axis i, and
// its key is the sum of (n_i - low_i) unit_i; a step along the last axis, u_d, is minus all the others.
template <class Key>
struct Packing {
    int64_t low[17];
    Key step[17];
};

struct Span {
    double low = 0, high = 0;
};

// The span of the elevated coordinate i minus, if `relative`, the last one.
Span elevated_span(const EmbedPlan& plan, const std::vector<FeatureRange>& features, int i, bool relative) {
    const int d = plan.dimension;
    const auto coefficient = [&](int coordinate, int f) {
        return coordinate <= f ? 1.0 : coordinate == f + 1 ? -double(coordinate) : 0.0;
    };
    Span span;
    for (int f = 0; f < d; ++f) {
        const double c = (coefficient(i, f) - (relative ? coefficient(d, f) : 0.0)) * plan.scale[f];
        const double a = c * features[f].low, b = c * features[f].high;
        span.low += std::min(a, b);
        span.high += std::max(a, b);
    }
    return span;
}

// The spans of the n_i of all points: n_i is the difference of coordinates i and d over d + 1.
std::vector<Span> point_spans(const EmbedPlan& plan, const std::vector<FeatureRange>& features) {
    const int d = plan.dimension;
    std::vector<Span> result;
    for (int i = 0; i <= d; ++i) {
        const Span span = elevated_span(plan, features, i, false);
        if (!(span.low > -kLargest && span.high < kLargest))
            throw std::invalid_argument("features span too many standard deviations for the lattice: raise the standard deviations");
        if (i == d) break;
        // A pixel's simplex lies within 4 steps, and a neighbour one further.
        const Span n = elevated_span(plan, features, i, true);
        result.push_back({std::floor(n.low / (d + 1)) - 6, std::ceil(n.high / (d + 1)) + 6});
    }
    return result;
}

double key_bits(const std::vector<Span>& spans) {
    double bits = 0;
    for (const Span& s : spans) bits += std::log2(s.high - s.low + 1);
    return bits;
}

template <class Key>
Packing<Key> make_packing(const std::vector<Span>& spans) {
    Packing<Key> packing{};
    Key unit = 1, all = 0;
    for (size_t i = 0; i < spans.size(); ++i) {
        packing.low[i] = int64_t(spans[i].low);
        packing.step[i] = unit;
        all += unit;
        unit *= Key(int64_t(spans[i].high) - packing.low[i] + 1);
    }
    packing.step[spans.size()] = Key(0) - all;
    return packing;
}

Array<Tap> padded_taps(int64_t count) {
    Array<Tap> taps(count + kTapPadding);
    std::fill(taps.begin() + count, taps.end(), Tap{0, 0});
    return taps;
}

template <class Key>
class Builder {
  public:
    Builder(Lattice& lattice, const Packing<Key>& packing, const FeatureSource& source, int num_threads)
        : lattice_(lattice), packing_(packing), source_(source), plan_(embed_plan(lattice.dimension)), threads_(num_threads) {}

    void run(bool extra_origin) {
        number_vertices(extra_origin);
        find_neighbours();
        const std::vector<int32_t> row_of = plan_passes(neighbours_, lattice_, threads_);
        neighbours_ = Neighbours();
        transpose(row_of);
        normalise();
    }

  private:
    int64_t chunk_begin(int64_t c, int64_t chunks) const {
        return std::min(lattice_.num_pixels, (lattice_.num_pixels * c / chunks + kBlock - 1) / kBlock * kBlock);
    }

    struct Entry {
        Key key;
        int32_t id;
    };

    // Gives every tap its vertex number and weight; each chunk of pixels numbers for itself first.
    void number_vertices(bool extra_origin) {
        const int64_t chunks = threads_;
        lattice_.slice = padded_taps(lattice_.num_pixels * lattice_.taps());
        int bits = 10;  // for as many vertices as pixels: pictures without noise have about so many
        while ((int64_t(1) << bits) < 2 * lattice_.num_pixels / chunks) ++bits;
        std::vector<HashTable<Key>> tables;
        for (int64_t c = 0; c < chunks; ++c) tables.emplace_back(bits);
        parallel_for(chunks, threads_,
                     [&](int64_t c) { embed(tables[c], chunk_begin(c, chunks), chunk_begin(c + 1, chunks)); });
        if (extra_origin) add_origin(tables.back());
        std::vector<int32_t> first(chunks + 1, 0);  // numbers of chunk c while a vertex of two chunks still has two
        for (int64_t c = 0; c < chunks; ++c) first[c + 1] = first[c] + int32_t(tables[c].keys().size());
        std::vector<std::vector<Entry>> lists(chunks);
        parallel_for(chunks, threads_, [&](int64_t c) { lists[c] = sorted(tables[c].keys(), first[c]); });
        tables.clear();
        std::vector<int32_t> number(first[chunks], -1);  // at first the lower one of the same vertex, then that among all
        for (int64_t step = 1; step < chunks; step *= 2) {
            for (int64_t c = 0; c + step < chunks; c += 2 * step) {
                lists[c] = merged(lists[c], lists[c + step], number);
                lists[c + step] = std::vector<Entry>();
            }
        }
        sorted_ = std::move(lists[0]);
        // Numbers follow the order of the vertices' first appearance.
        lattice_.num_vertices = int32_t(sorted_.size());
        numbers_.resize(chunks);
        int32_t next = 0;
        for (int64_t c = 0; c < chunks; ++c) {
            for (int32_t i = first[c]; i < first[c + 1]; ++i) number[i] = number[i] < 0 ? next++ : number[number[i]];
            if (c) numbers_[c].assign(number.begin() + first[c], number.begin() + first[c + 1]);
        }
        if (chunks == 1) return;
        parallel_for(16, threads_, [&](int64_t part) {
            for (size_t i = sorted_.size() * part / 16; i < sorted_.size() * (part + 1) / 16; ++i) sorted_[i].id = number[sorted_[i].id];
        });
    }

    // Merges lists, each without repetition; of a key in both the entry of `a`, whose numbers are lower, is kept, and
    // lower[number in b] is that number.
    std::vector<Entry> merged(const std::vector<Entry>& a, const std::vector<Entry>& b, std::vector<int32_t>& lower) const {
        const int64_t parts = threads_;
        std::vector<Entry> out(a.size() + b.size());
        std::vector<size_t> begin(parts + 1), end(parts);
        const auto cut_a = [&](int64_t part) { return a.size() * size_t(part) / size_t(parts); };
        const auto cut_b = [&](int64_t part) {
            if (part == 0) return size_t(0);
            if (part == parts || cut_a(part) == a.size()) return b.size();
            const Key key = a[cut_a(part)].key;
            return size_t(std::lower_bound(b.begin(), b.end(), key, [](const Entry& x, Key k) { return x.key < k; }) - b.begin());
        };
        parallel_for(parts, threads_, [&](int64_t part) {
            size_t i = cut_a(part), j = cut_b(part);
            const size_t stop_i = cut_a(part + 1), stop_j = cut_b(part + 1);
            Entry* to = out.data() + i + j;
            begin[part] = i + j;
            while (i < stop_i && j < stop_j) {
                if (a[i].key == b[j].key) lower[b[j++].id] = a[i].id;
                else *to++ = a[i].key < b[j].key ? a[i++] : b[j++];
            }
            to = std::copy(a.begin() + i, a.begin() + stop_i, to);
            to = std::copy(b.begin() + j, b.begin() + stop_j, to);
            end[part] = size_t(to - out.data());
        });
        auto to = out.begin() + end[0];
        for (int64_t part = 1; part < parts; ++part) to = std::copy(out.begin() + begin[part], out.begin() + end[part], to);
        out.resize(size_t(to - out.begin()));
        return out;
    }

    void embed(HashTable<Key>& table, int64_t begin, int64_t end) {
        const int d = lattice_.dimension, taps = d + 1;
        std::vector<float> features(d * kBlock), bary(taps * 8);
        std::vector<int32_t> point(taps * 8), rank(taps * 8);
        std::vector<Key> keys(kBlock * taps);
        std::vector<Key> last(taps, ~Key(0));
        std::vector<int32_t> last_id(taps, -1);
        for (int64_t p = begin; p < end; p += kBlock) {
            const int64_t stop = std::min(end, p + kBlock);
            source_(p, stop, features.data(), kBlock);
            for (int64_t q = p; q < stop; q += 8) {
                simd().embed(plan_, features.data() + (q - p), kBlock, point.data(), rank.data(), bary.data());
                const int lanes = int(std::min<int64_t>(8, stop - q));
                for (int l = 0; l < lanes; ++l) {
                    Key* out = keys.data() + (q - p + l) * taps;
                    vertex_keys(point.data() + l, rank.data() + l, out);
                    Tap* tap = lattice_.slice.data() + (q + l) * taps;
                    for (int t = 0; t < taps; ++t) {
                        tap[t].weight = bary[8 * t + l];
                        table.prefetch(out[t]);
                    }
                }
            }
            Tap* tap = lattice_.slice.data() + p * taps;
            for (const Key *key = keys.data(), *stop_key = key + (stop - p) * taps; key != stop_key; key += taps, tap += taps) {
                for (int t = 0; t < taps; ++t) {
                    if (key[t] != last[t]) {
                        last[t] = key[t];
                        last_id[t] = table.find_or_add(key[t]);
                    }
                    tap[t].row = last_id[t];
                }
            }
        }
    }

    // The keys of the d + 1 vertices of one lane's simplex.
    void vertex_keys(const int32_t* point, const int32_t* rank, Key* out) const {
        const int d = lattice_.dimension;
        Key by_rank[17], key = 0;
        for (int i = 0; i <= d; ++i) {
            by_rank[rank[8 * i]] = packing_.step[i];
            if (i < d) key += Key(point[8 * i] - packing_.low[i]) * packing_.step[i];
        }
        out[0] = key;
        for (int t = 1; t <= d; ++t) out[t] = key -= by_rank[d - t + 1];
    }

    void add_origin(HashTable<Key>& table) {
        const int d = lattice_.dimension, taps = d + 1;
        std::vector<float> zero(d * 8, 0.0f), bary(taps * 8);
        std::vector<int32_t> point(taps * 8), rank(taps * 8);
        std::vector<Key> keys(taps);
        simd().embed(plan_, zero.data(), 8, point.data(), rank.data(), bary.data());
        vertex_keys(point.data(), rank.data(), keys.data());
        for (Key key : keys) table.find_or_add(key);
    }

    // Keys in ascending order, numbered from `first` on as they come.
    static std::vector<Entry> sorted(const std::vector<Key>& keys, int32_t first) {
        const size_t count = keys.size();
        std::vector<Entry> from(count), to(count);
        Key most = 0;
        for (size_t i = 0; i < count; ++i) {
            from[i] = {keys[i], first + int32_t(i)};
            most = std::max(most, keys[i]);
        }
        for (int shift = 0; shift < int(8 * sizeof(Key)) && most >> shift; shift += 11) {
            size_t places[2048] = {};
            for (const Entry& e : from) ++places[size_t(e.key >> shift) & 2047];
            size_t total = 0;
            for (size_t& place : places) {
                const size_t here = place;
                place = total;
                total += here;
            }
            for (const Entry& e : from) to[places[size_t(e.key >> shift) & 2047]++] = e;
            from.swap(to);
        }
        return from;
    }

    void find_neighbours() {
        const size_t M = sorted_.size();
        const int d = lattice_.dimension;
        neighbours_.next.resize(d + 1);
        neighbours_.has_previous.resize(d + 1);
        parallel_for(d + 1, threads_, [&](int64_t axis) {
            const Key step = packing_.step[axis];
            std::vector<int32_t>& next = neighbours_.next[axis];
            std::vector<uint8_t>& has_previous = neighbours_.has_previous[axis];
            next.assign(M, -1);
            has_previous.assign(M, 0);
            // The step may be negative, and keys are not: walk the pairs (i, p) with key[p] - step == key[i].
            const Key bias = Key(1) << (8 * sizeof(Key) - 2);
            size_t p = 0;
            for (size_t i = 0; i < M; ++i) {
                const Key wanted = sorted_[i].key + step + bias;
                while (p < M && sorted_[p].key + bias < wanted) ++p;
                if (p == M) break;
                if (sorted_[p].key + bias == wanted) {
                    next[sorted_[i].id] = sorted_[p].id;
                    has_previous[sorted_[p].id] = 1;
                }
            }
        });
        sorted_ = std::vector<Entry>();
    }

    // Renumbers the taps, and lists them by vertex too, pixels in ascending order, so that a splat writes each row once.
    void transpose(const std::vector<int32_t>& row_of) {
        const int64_t taps = lattice_.taps(), numbered = int64_t(numbers_.size());
        // A count of every row for each group of chunks: not too many groups.
        const int64_t groups = std::min<int64_t>(numbered, 8);
        const auto first_chunk = [&](int64_t g) { return numbered * g / groups; };
        const int32_t M = lattice_.num_vertices;
        std::vector<std::vector<int32_t>> place(groups);
        parallel_for(groups, threads_, [&](int64_t g) {
            place[g].assign(M, 0);
            for (int64_t c = first_chunk(g); c < first_chunk(g + 1); ++c) {
                for (int32_t& number : numbers_[c]) number = row_of[number];
                const int32_t* row = c ? numbers_[c].data() : row_of.data();
                const int64_t end = chunk_begin(c + 1, numbered) * taps;
                for (int64_t t = chunk_begin(c, numbered) * taps; t < end; ++t) {
                    lattice_.slice[t].row = row[lattice_.slice[t].row];
                    ++place[g][lattice_.slice[t].row];
                }
            }
        });
        lattice_.splat_start = Array<int32_t>(M + 1);
        int32_t total = 0;
        for (int32_t r = 0; r < M; ++r) {
            lattice_.splat_start[r] = total;
            for (int64_t g = 0; g < groups; ++g) {
                const int32_t here = place[g][r];
                place[g][r] = total;
                total += here;
            }
        }
        lattice_.splat_start[M] = total;
        lattice_.splat = padded_taps(total);
        parallel_for(groups, threads_, [&](int64_t g) {
            const int64_t end = chunk_begin(first_chunk(g + 1), numbered);
            for (int64_t p = chunk_begin(first_chunk(g), numbered); p < end; ++p) {
                const Tap* tap = lattice_.slice.data() + p * taps;
                for (int64_t t = 0; t < taps; ++t)
                    lattice_.splat[place[g][tap[t].row]++] = {int32_t(p), tap[t].weight};
            }
        });
    }

    // Filters a picture of ones and folds the normalisation into splat and slice.
    void normalise() {
        const int32_t M = lattice_.num_vertices;
        const int64_t N = lattice_.num_pixels;
        const int taps = lattice_.taps();
        Array<float> values(M);
        const int64_t rows = (int64_t(M) + 15) / 16;
        parallel_for(16, threads_, [&](int64_t c) {
            for (int64_t r = c * rows, end = std::min<int64_t>(M, r + rows); r < end; ++r) {
                float sum = 0;
                for (int32_t t = lattice_.splat_start[r]; t < lattice_.splat_start[r + 1]; ++t) sum += lattice_.splat[t].weight;
                values[r] = sum;
            }
        });
        blur_scalar(lattice_, values.data(), threads_);
        const float alpha = 1.0f / (1.0f + std::pow(2.0f, -float(lattice_.dimension)));
        lattice_.scale = Array<float>(N);
        Array<float> before(lattice_.symmetric ? N : 0);
        const int64_t part = (N + 15) / 16;
        parallel_for(16, threads_, [&](int64_t c) {
            for (int64_t p = c * part, end = std::min(N, p + part); p < end; ++p) {
                float sum = 0;
                for (int t = 0; t < taps; ++t) {
                    const Tap& tap = lattice_.slice[p * taps + t];
                    sum += tap.weight * values[tap.row] * alpha;
                }
                const double all = double(sum) + 1e-20;
                const float norm = lattice_.symmetric ? float(1.0 / std::sqrt(all)) : float(1.0 / all);
                lattice_.scale[p] = norm * alpha;
                if (lattice_.symmetric) before[p] = norm;
            }
        });
        if (!lattice_.symmetric) return;
        const int64_t total = lattice_.splat_start[M], share = (total + 15) / 16;
        parallel_for(16, threads_, [&](int64_t c) {
            for (int64_t t = c * share, end = std::min(total, t + share); t < end; ++t)
                lattice_.splat[t].weight *= before[lattice_.splat[t].row];
        });
    }

    Lattice& lattice_;
    const Packing<Key> packing_;
    const FeatureSource& source_;
    const EmbedPlan plan_;
    const int threads_;
    std::vector<Entry> sorted_;                  // the vertices by key
    std::vector<std::vector<int32_t>> numbers_;  // of each chunk but the first: its own numbers' among all
    Neighbours neighbours_;
};

}  // namespace

EmbedPlan embed_plan(int d) {
    EmbedPlan plan{};
    plan.dimension = d;
    const float deviation = float(std::sqrt(2.0 / 3.0) * (d + 1));
    for (int i = 0; i < d; ++i) plan.scale[i] = float(1.0 / std::sqrt(double((i + 2) * (i + 1))) * deviation);
    return plan;
}

std::shared_ptr<Lattice> build_lattice(int64_t num_pixels, int dimension, const std::vector<FeatureRange>& ranges,
                                       const FeatureSource& source, bool symmetric, bool extra_origin, int num_threads) {
    if (dimension < 1 || dimension > 16) throw std::invalid_argument("a lattice takes 1 to 16 features");
    if (num_pixels < 1 || num_pixels * (dimension + 1) > INT32_MAX - 64)
        throw std::invalid_argument("the picture has too many pixels for one lattice: refine it in parts");
    std::vector<FeatureRange> wide = ranges;
    for (FeatureRange& r : wide) r = {std::min(r.low, 0.0f), std::max(r.high, 0.0f)};
    const std::vector<Span> spans = point_spans(embed_plan(dimension), wide);
    auto lattice = std::make_shared<Lattice>();
    lattice->num_pixels = num_pixels;
    lattice->dimension = dimension;
    lattice->symmetric = symmetric;
    const double bits = key_bits(spans);
    if (bits < 61) {
        Builder<uint64_t>(*lattice, make_packing<uint64_t>(spans), source, num_threads).run(extra_origin);
    } else if (bits < 124) {
        typedef unsigned __int128 Wide;
        Builder<Wide>(*lattice, make_packing<Wide>(spans), source, num_threads).run(extra_origin);
    } else {
        throw std::invalid_argument("features span too many standard deviations for the lattice: raise the standard deviations");
    }
    return lattice;
}

}  // namespace crf
