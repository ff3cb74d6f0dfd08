"""The CRF's cuda backend on a GPU: time, share of the memory-bandwidth floor, where the time goes, equality.

    python benchmarks/crf_gpu.py                                   # made pictures and noise
    python benchmarks/crf_gpu.py --pictures FILE.npz               # a network's own output
    python benchmarks/crf_gpu.py --only voc --variants

FILE.npz: for each NAME `NAME.logits` (K, h, w), interpolated to the picture's size, and `NAME.image` (H, W, 3) uint8.
From probabilities on the device to marginals on the device, lattices included; the median of repeats after a warm-up.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

from deeplab.crf import cuda_launch
from deeplab.crf.backends import missing
from deeplab.crf.cuda_backend import _terms
from deeplab.crf.cuda_lattice import CudaLattice
from deeplab.crf.cuda_mean_field import CudaMeanField, Planes
from deeplab.crf.cuda_picture import CudaPicture
from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams

Tensor = torch.Tensor
Pictures = list[tuple[Tensor, Tensor]]  # probabilities (K, H, W), image (H, W, 3), both on the device
PARAMS = CRFParams()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only", choices=["voc", "noise", "large"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--native-threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--variants", action="store_true", help="other sizes of blocks and batches too")
    parser.add_argument("--profile", action="store_true", help="the kernels that take most time")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    bandwidth = _bandwidth()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, copies at {bandwidth / 1e9:.0f} GB/s")
    if options.only in (None, "voc"):
        pictures = _given(options.pictures) if options.pictures else [_made(21, 375, 500, seed) for seed in range(4)]
        source = "a network's output" if options.pictures else "made pictures"
        batch = [pictures[i % len(pictures)] for i in range(16)]
        _measure(
            f"16 pictures of VOC's size ({len(pictures)} different, {source}), 21 labels", batch, bandwidth, options
        )
        if options.variants:
            _variants(batch, options)
    if options.only in (None, "large"):
        _measure("2048 x 1024, 19 labels, a made picture", [_made(19, 1024, 2048, 0)], bandwidth, options)
    if options.only in (None, "noise"):
        _measure("16 pictures of noise, 500 x 375, 21 labels", [_noise(21, 375, 500)] * 16, bandwidth, options)


def _measure(title: str, batch: Pictures, bandwidth: float, options: argparse.Namespace) -> None:
    print(f"\n{title}; median of {options.repeats}")
    crf = DenseCRF(PARAMS, "cuda")
    began = time.perf_counter()
    first = _batch(crf, batch)
    torch.cuda.synchronize()
    print(f"first call, kernels compiled on the way: {time.perf_counter() - began:.1f} s")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    whole = _time(lambda: _batch(crf, batch), options.repeats)
    peak = (torch.cuda.max_memory_allocated() - before) / 1e9
    each = whole / len(batch)
    print(f"cuda: {1e3 * each:.2f} ms a picture ({1e3 * whole:.1f} ms in all), peak memory {peak:.2f} GB")
    if len(batch) > 1:
        print(f"cuda, one picture a call: {1e3 * _time(lambda: crf(*batch[0]), options.repeats):.2f} ms")
    _breakdown(batch, whole, bandwidth, options)
    other = DenseCRF(PARAMS, "torch")
    seconds = _time(lambda: other(*batch[0]), 3)
    print(f"torch on the device: {1e3 * seconds:.1f} ms a picture, {seconds / each:.1f} times cuda's")
    _compare("torch", other(*batch[0]), first[0])
    if not missing("native"):
        native = DenseCRF(PARAMS, "native", num_threads=options.native_threads or None)
        arrays = batch[0][0].cpu().numpy(), batch[0][1].cpu().numpy()
        times = []
        for _ in range(3):
            began = time.perf_counter()
            result = native(*arrays)
            times.append(time.perf_counter() - began)
        seconds = statistics.median(times)
        print(f"native on the host: {1e3 * seconds:.1f} ms a picture, {seconds / each:.1f} times cuda's")
        _compare("native", torch.from_numpy(result).cuda(), first[0])
    again = _batch(crf, batch)
    alone = crf(*batch[-1])
    same = all(torch.equal(a, b) for a, b in zip(again, first, strict=True))
    print(f"same bits twice: {same}; the last picture alone: {torch.equal(alone, first[-1])}")


def _batch(crf: DenseCRF, batch: Pictures) -> list[Tensor]:
    return crf.batch([probs for probs, _ in batch], [image for _, image in batch])


def _compare(name: str, expected: Tensor, got: Tensor) -> None:
    difference = float((got - expected).abs().max())
    agree = 100 * float((got.argmax(0) == expected.argmax(0)).double().mean())
    print(f"  largest difference to {name} {difference:.1e}, same label {agree:.4f} %")


def _time(run: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call that ends on the device: the median after two calls that do not count."""
    times = []
    for turn in range(repeats + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _on_device(run: Callable[[], Any], repeats: int) -> float:
    """Seconds on the device, by events."""
    run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return float(statistics.median(times))


def _breakdown(batch: Pictures, whole: float, bandwidth: float, options: argparse.Namespace) -> None:
    """Where the time goes, each part beside the time that its arrays take through memory once."""
    K = len(batch[0][0])
    pictures = [CudaPicture(probs, image, PARAMS.kernels(), PARAMS, None, tuple(range(K))) for probs, image in batch]
    planes = [Planes(picture.scores, None, picture.labels) for picture in pictures]
    n, R = len(batch), options.repeats
    parts: list[tuple[str, float, float]] = []
    built = []
    for i, name in enumerate(("spatial lattice", "bilateral lattice")):
        one = [replace(picture, kernels=picture.kernels[i : i + 1]) for picture in pictures]
        parts.append((name, _on_device(partial(_terms, one), R), 0.0))
        built += _terms(one) or []
    field = CudaMeanField(planes, PARAMS, built)
    parts.append(("scores to rows", _on_device(field._start, R), 4.0 * field.N * (K + 2 * field.S)))
    field._start()
    iteration = _on_device(field._update, R)
    for name, (_, lattice) in zip(("spatial", "bilateral"), built, strict=True):
        M, taps, row = lattice.num_vertices, lattice.taps, 4.0 * field.S
        rows = lattice.splat(field.Q)
        other = torch.empty_like(rows)
        crowded = (
            f"{M / field.N:.2f} vertices a pixel, {len(lattice.crowded)} crowded ones of {len(lattice.parts[0])} parts"
        )
        print(f"  {name}: {crowded}")
        parts.append(
            (f"10 x {name} splat", 10 * _on_device(partial(lattice.splat, field.Q), R),
             10 * (field.N * (row + 8 * taps) + M * (row + 8)))
        )  # fmt: skip
        for axis in range(taps):
            seconds = _on_device(partial(lattice.blur, rows, other, axis), R)
            parts.append((f"10 x {name} blur {axis}", 10 * seconds, 10.0 * M * (2 * row + 8)))
    received = _sliced(field, built, R)
    taps_in_all = sum(lattice.taps for _, lattice in built)
    vertices = sum(lattice.num_vertices for _, lattice in built)
    row = 4.0 * field.S
    parts.append(("10 x slice, softmax", 10 * received, 10 * (field.N * (2 * row + 8 * taps_in_all) + vertices * row)))
    parts.append(("rows to planes", _on_device(field._planes, R), 4.0 * field.N * (K + field.S)))
    for name, seconds, bytes_ in parts:
        share = (
            f"floor {1e3 * bytes_ / bandwidth / n:6.3f}, {100 * bytes_ / bandwidth / seconds:4.0f} %" if bytes_ else ""
        )
        print(f"  {name:22}{1e3 * seconds / n:8.3f} ms a picture  {share}")
    floor = sum(bytes_ for _, _, bytes_ in parts) / bandwidth
    print(
        f"  an iteration {1e3 * iteration / n:.3f} ms a picture; floor of ten and the rows {1e3 * floor / n:.2f} ms; "
        f"the whole reaches {100 * floor / whole:.0f} %, the iterations {100 * floor / (10 * iteration):.0f} %"
    )
    if options.profile:
        _profile(batch)


def _sliced(field: CudaMeanField, built: Sequence[tuple[float, CudaLattice]], repeats: int) -> float:
    """Seconds of slicing both lattices into new marginals, without splat and blur."""
    rows = {id(lattice): lattice.rows(field.Q) for _, lattice in built}
    plain = CudaLattice.rows
    try:
        CudaLattice.rows = lambda self, values: rows[id(self)]  # type: ignore[method-assign]
        return _on_device(field._update, repeats)
    finally:
        CudaLattice.rows = plain  # type: ignore[method-assign]


def _profile(batch: Pictures) -> None:
    from torch.profiler import ProfilerActivity, profile

    crf = DenseCRF(PARAMS, "cuda")
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as record:
        _batch(crf, batch)
        torch.cuda.synchronize()
    print(record.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=60))


def _variants(batch: Pictures, options: argparse.Namespace) -> None:
    crf = DenseCRF(PARAMS, "cuda")
    print("\nbatches: " + ", ".join(
        f"{n}: {1e3 * _time(partial(_batch, crf, batch[:n]), options.repeats) / n:.2f}" for n in (1, 2, 4, 8, 16)
    ) + " ms a picture")  # fmt: skip
    kept = cuda_launch.TILE, cuda_launch.NUM_WARPS
    for tile, warps in ((512, 4), (2048, 4), (2048, 8), (1024, 8)):
        cuda_launch.TILE, cuda_launch.NUM_WARPS = tile, warps
        seconds = _time(lambda: _batch(crf, batch), options.repeats)
        print(f"blocks of {tile} elements, {warps} warps: {1e3 * seconds / len(batch):.2f} ms a picture", flush=True)
    cuda_launch.TILE, cuda_launch.NUM_WARPS = kept
    pruned = DenseCRF(replace(PARAMS, prune_below=1e-3), "cuda")
    print(
        f"prune_below=1e-3: {1e3 * _time(lambda: _batch(pruned, batch), options.repeats) / len(batch):.2f} ms a picture"
    )


def _bandwidth() -> float:
    """Bytes a second read and written by copies of half a gigabyte."""
    source = torch.empty(1 << 27, device="cuda")
    target = torch.empty_like(source)
    return 2 * 4 * (1 << 27) / _on_device(lambda: target.copy_(source), 10)


def _given(path: Path) -> Pictures:
    stored = np.load(path)
    pictures = []
    for name in sorted(key.removesuffix(".image") for key in stored.files if key.endswith(".image")):
        image = torch.from_numpy(stored[f"{name}.image"]).cuda()
        logits = torch.from_numpy(stored[f"{name}.logits"].astype(np.float32)).cuda()[None]
        scores = interpolate(logits, tuple(image.shape[:2]), mode="bilinear", align_corners=False)[0]
        pictures.append((torch.softmax(scores, dim=0).contiguous(), image))
    return pictures


def _made(K: int, H: int, W: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth regions with texture, 1.3 vertices a pixel (photographs: 0.4 to 2.2), and coarse scores that follow."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 1, (1, K, H // 40 + 2, W // 40 + 2)).astype(np.float32))
    scores = 6 * interpolate(coarse, (H, W), mode="bicubic", align_corners=True)
    palette = rng.integers(0, 256, (K, 3))
    fine = torch.from_numpy(rng.normal(0, 9, (1, 3, H // 4 + 2, W // 4 + 2)).astype(np.float32))
    texture = interpolate(fine, (H, W), mode="bilinear")[0].numpy().transpose(1, 2, 0)
    image = np.clip(palette[scores[0].numpy().argmax(axis=0)] + texture + rng.normal(0, 1, (H, W, 3)), 0, 255)
    logits = interpolate(avg_pool2d(scores, 8, ceil_mode=True), (H, W), mode="bilinear", align_corners=False)
    return torch.softmax(logits[0], dim=0).contiguous().cuda(), torch.from_numpy(image.astype(np.uint8)).cuda()


def _noise(K: int, H: int, W: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    probs = np.ascontiguousarray(rng.dirichlet(np.ones(K), (H, W)).transpose(2, 0, 1), dtype=np.float32)
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    return torch.from_numpy(probs).cuda(), torch.from_numpy(image).cuda()


if __name__ == "__main__":
    main()
