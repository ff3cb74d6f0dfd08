// What Python sees: Lattice and mean_field.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "marginals.hpp"
#include "mean_field.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace py = pybind11;

namespace crf {

const Simd* chosen_simd() {
#ifdef CRF_HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) return &simd_avx2;
#endif
    return &simd_baseline;
}

static const Simd* current = chosen_simd();

const Simd& simd() { return *current; }

void force_baseline(bool on) { current = on ? &simd_baseline : chosen_simd(); }

}  // namespace crf

namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using ByteArray = py::array_t<uint8_t, py::array::c_style>;
using crf::FeatureRange;

int threads(int asked) { return asked > 0 ? asked : crf::max_threads(); }

// Lets other threads of Python work. pybind11's own has a destructor that does not throw: where Python has shut down meanwhile
// it ends the threads that come back, by unwinding their stacks, and that destructor made an abort of it.
struct WithoutLock {
    WithoutLock() : state(PyEval_SaveThread()) {}
    WithoutLock(const WithoutLock&) = delete;
    ~WithoutLock() noexcept(false) { PyEval_RestoreThread(state); }
    PyThreadState* state;
};

// A kernel's lattice or grid.
struct Kernel {
    std::shared_ptr<const crf::Lattice> lattice;
    std::shared_ptr<const crf::Grid> grid;

    int64_t num_pixels() const { return grid ? grid->height * grid->width : lattice->num_pixels; }
};

Kernel spatial(int64_t height, int64_t width, float xy_std, bool symmetric, bool allow_grid, int num_threads) {
    const WithoutLock release;
    if (allow_grid && crf::suits_grid(height, width, xy_std))
        return {nullptr, crf::grid_of(height, width, xy_std, symmetric, threads(num_threads))};
    const std::vector<FeatureRange> ranges = {{0, (width - 1) / xy_std}, {0, (height - 1) / xy_std}};
    return {crf::build_lattice(
                height * width, 2, ranges,
                [=](int64_t begin, int64_t end, float* out, int64_t stride) {
                    for (int64_t p = begin; p < end; ++p) {
                        out[p - begin] = float(p % width) / xy_std;
                        out[stride + p - begin] = float(p / width) / xy_std;
                    }
                },
                symmetric, height * width % 4 != 0, threads(num_threads)),
            nullptr};
}

Kernel bilateral(const ByteArray& image, float xy_std, float rgb_std, bool symmetric, int num_threads) {
    const int64_t height = image.shape(0), width = image.shape(1);
    if (image.ndim() != 3 || image.shape(2) != 3) throw std::invalid_argument("the image must be (height, width, 3)");
    const uint8_t* rgb = image.data();
    const FeatureRange colour = {0, 255 / rgb_std};
    const std::vector<FeatureRange> ranges = {{0, (width - 1) / xy_std}, {0, (height - 1) / xy_std}, colour, colour, colour};
    const WithoutLock release;
    float shade[256];
    for (int i = 0; i < 256; ++i) shade[i] = float(i) / rgb_std;
    return {crf::build_lattice(
        height * width, 5, ranges,
        [=](int64_t begin, int64_t end, float* out, int64_t stride) {
            int64_t x = begin % width, y = begin / width;
            for (int64_t i = 0; i < end - begin; ++i) {
                out[i] = float(x) / xy_std;
                out[stride + i] = float(y) / xy_std;
                for (int c = 0; c < 3; ++c) out[(2 + c) * stride + i] = shade[rgb[3 * (begin + i) + c]];
                if (++x == width) x = 0, ++y;
            }
        },
        symmetric, height * width % 4 != 0, threads(num_threads)), nullptr};
}

Kernel features(const FloatArray& values, bool symmetric, int num_threads) {
    const int64_t F = values.shape(0), N = values.shape(1);
    const float* data = values.data();
    const WithoutLock release;
    std::vector<FeatureRange> ranges;
    for (int64_t f = 0; f < F; ++f) {
        const auto [low, high] = std::minmax_element(data + f * N, data + (f + 1) * N);
        ranges.push_back({*low, *high});
    }
    return {crf::build_lattice(
        N, int(F), ranges,
        [=](int64_t begin, int64_t end, float* out, int64_t stride) {
            for (int64_t f = 0; f < F; ++f) std::copy(data + f * N + begin, data + f * N + end, out + f * stride);
        },
        symmetric, N % 4 != 0, threads(num_threads)), nullptr};
}

const float* optional_data(const py::object& array, std::vector<FloatArray>& keep) {
    if (array.is_none()) return nullptr;
    keep.push_back(FloatArray::ensure(array));
    if (!keep.back()) throw std::invalid_argument("expected a float32 array");
    return keep.back().data();
}

std::vector<const float*> planes_of(const FloatArray& scores) {
    if (scores.ndim() != 3) throw std::invalid_argument("scores must be (labels, height, width)");
    std::vector<int> labels(scores.shape(0));
    std::iota(labels.begin(), labels.end(), 0);
    return crf::planes_of(scores.data(), labels, scores.shape(1) * scores.shape(2));
}

// The lowest and the highest score of each label; infinities where one is not finite.
py::tuple ranges(const FloatArray& scores, int num_threads) {
    const std::vector<const float*> planes = planes_of(scores);
    const int64_t N = scores.shape(1) * scores.shape(2), K = int64_t(planes.size());
    std::vector<float> lowest(K), highest(K);
    {
        const WithoutLock release;
        crf::parallel_for(K, threads(num_threads), [&](int64_t k) {
            lowest[k] = highest[k] = planes[k][0];
            if (crf::simd().range(planes[k], N, lowest[k], highest[k])) return;
            lowest[k] = -std::numeric_limits<float>::infinity();
            highest[k] = std::numeric_limits<float>::infinity();
        });
    }
    return py::make_tuple(lowest, highest);
}

// The highest softmax of each label's logits.
std::vector<float> tops(const FloatArray& logits, int num_threads) {
    const std::vector<const float*> planes = planes_of(logits);
    const int64_t N = logits.shape(1) * logits.shape(2);
    std::vector<float> top;
    const WithoutLock release;
    crf::find_tops(planes, N, true, threads(num_threads), top);
    return top;
}

py::tuple mean_field(const FloatArray& scores, const std::vector<std::pair<Kernel, float>>& terms,
                     int iterations, bool logits, float tolerance, const py::object& compatibility, const py::object& initial,
                     const std::vector<int>& labels, float idle_below, bool trace, int num_threads) {
    if (scores.ndim() != 3) throw std::invalid_argument("scores must be (labels, height, width)");
    const py::ssize_t K = scores.shape(0), H = scores.shape(1), W = scores.shape(2);
    std::vector<crf::Term> list;
    for (const auto& [kernel, weight] : terms) {
        if (kernel.num_pixels() != H * W) throw std::invalid_argument("a kernel for another number of pixels");
        list.push_back({kernel.lattice, kernel.grid, weight});
    }
    std::vector<FloatArray> keep;
    crf::MeanFieldOptions options;
    options.iterations = iterations;
    options.logits = logits;
    options.tolerance = tolerance;
    options.compatibility = optional_data(compatibility, keep);
    options.initial = optional_data(initial, keep);
    options.idle_below = idle_below;
    options.trace = trace;
    options.num_threads = threads(num_threads);
    for (int k : labels)
        if (k < 0 || k >= K) throw std::invalid_argument("a label that the scores do not have");
    options.labels = labels;
    auto* result = new crf::MeanFieldResult;
    py::capsule owner(result, [](void* p) { delete static_cast<crf::MeanFieldResult*>(p); });
    {
        const WithoutLock release;
        *result = crf::mean_field(scores.data(), int(K), H, W, list, options);
    }
    const std::vector<py::ssize_t> shape = {K, H, W};
    return py::make_tuple(FloatArray(shape, result->marginals.data(), owner), result->finite, result->steps, result->energies,
                          result->divergences);
}

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "Dense CRF in C++; use it through deeplab.crf.DenseCRF.";
    py::class_<Kernel>(m, "Kernel").def_property_readonly("num_pixels", &Kernel::num_pixels)
        .def_property_readonly("num_vertices", [](const Kernel& k) { return k.lattice ? k.lattice->num_vertices : 0; });
    m.def("spatial", &spatial);
    m.def("bilateral", &bilateral);
    m.def("features", &features);
    m.def("ranges", &ranges);
    m.def("tops", &tops);
    m.def("mean_field", &mean_field);
    m.def("instruction_set", [] { return crf::simd().name; });
    m.def("force_baseline", &crf::force_baseline);
    m.def("set_large_bytes", &crf::set_large_bytes);
    m.def("scale_negligible", &crf::scale_negligible);
}
