"""The CRF's backends against pydensecrf: time, memory, equality, and what the approximations change.

    python benchmarks/crf.py                                                       # made pictures and noise
    python benchmarks/crf.py --logits DIR --images DIR [--labels DIR]              # a network's own output
    python benchmarks/crf.py --only memory

DIR of logits: <name>.npz with `logits` (K, h, w), interpolated to the picture's size; of images: <name>.jpg; of labels:
<name>.png, 255 = void. Every figure is a ratio of medians in one run whose repeats take turns. On a machine that does
other work meanwhile go by the CPU time: the wall clock is the other work's too.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deeplab.crf.backends import missing
from deeplab.crf.dense_crf import DenseCRF
from deeplab.crf.params import CRFParams
from deeplab.crf.problem import make_problem
from deeplab.crf.workers import CRFWorkers

Picture = tuple[str, Any, Any]  # name, probabilities (K, H, W), image (H, W, 3)

PARAMS = CRFParams()
APPROXIMATIONS = {
    "prune_below=1e-3": replace(PARAMS, prune_below=1e-3),
    "prune_below=1e-2": replace(PARAMS, prune_below=1e-2),
    "half_resolution": replace(PARAMS, half_resolution=True),
    "half_resolution, prune_below=1e-2": replace(PARAMS, half_resolution=True, prune_below=1e-2),
    "tolerance=1e-2": replace(PARAMS, tolerance=1e-2),
    "iterations=5": replace(PARAMS, iterations=5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logits", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--pictures", type=int, default=4, help="how many of them to time (approximations take all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--torch-threads", type=int, nargs="*", default=[1])
    parser.add_argument("--only", choices=["speed", "large", "memory", "many", "approximations"])
    parser.add_argument(
        "--size", type=int, nargs=2, default=[375, 500], help="of made pictures and noise: height, width"
    )
    parser.add_argument("--large-size", type=int, nargs=2, default=[1024, 2048], help="height, width")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        backend, threads = options.peak_of.split(",")
        print(_peak(backend, threads, options))
        return
    parts: dict[str, Callable[[argparse.Namespace], None]] = {
        "speed": _speed,
        "large": _large,
        "memory": _memory,
        "many": _many,
        "approximations": _approximations,
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part(options)


def _speed(options: argparse.Namespace) -> None:
    chosen = list(_pictures(options))[: options.pictures]
    H, W = options.size
    _compare("network's output" if options.logits else f"made pictures, {W} x {H}, 21 labels", chosen, options)
    _compare(f"noise, {W} x {H}, 21 labels", [_noise(21, H, W)], options)


def _large(options: argparse.Namespace) -> None:
    _compare("{1} x {0}, 19 labels".format(*options.large_size), [_big(options)], options)


def _compare(title: str, pictures: list[Picture], options: argparse.Namespace) -> None:
    print(f"\n{title}: {len(pictures)} picture(s), median of {options.repeats} repeats in turns")
    runs = {("pydensecrf", 1): DenseCRF(PARAMS, "pydensecrf")} if not missing("pydensecrf") else {}
    # torch's threads wait for each other after every operation: on a busy machine two take many times what one takes.
    for backend, threads in (("native", options.threads), ("torch", options.torch_threads)):
        if not missing(backend):
            runs.update({(backend, n): DenseCRF(PARAMS, backend, num_threads=n) for n in threads})
    if not missing("native"):
        pruned = replace(PARAMS, prune_below=1e-3)
        runs.update({("pruned at 1e-3", n): DenseCRF(pruned, "native", num_threads=n) for n in options.threads})
    first = next(iter(runs))
    wall: dict[Any, list[float]] = {key: [] for key in runs}
    cpu: dict[Any, list[float]] = {key: [] for key in runs}
    apart = dict.fromkeys(runs, 0.0)
    agree = dict.fromkeys(runs, 1.0)
    for _, probs, image in pictures:
        reference: Any = None
        times: dict[Any, list[tuple[float, float]]] = {key: [] for key in runs}
        for _ in range(options.repeats):
            for key, crf in runs.items():
                began = time.perf_counter(), time.process_time()
                result = crf(probs, image)
                times[key].append((time.perf_counter() - began[0], time.process_time() - began[1]))
                reference = result if reference is None else reference
                apart[key] = max(apart[key], float(np.abs(result - reference).max()))
                agree[key] = min(agree[key], float((result.argmax(axis=0) == reference.argmax(axis=0)).mean()))
        for key in runs:
            wall[key].append(statistics.median(w for w, _ in times[key]))
            cpu[key].append(statistics.median(c for _, c in times[key]))
    print(
        f"{'backend':14}{'threads':>8}{'wall s':>9}{'CPU s':>8}{'x wall':>8}{'x CPU':>7}{'max-abs':>10}{'argmax':>10}"
    )
    for key in runs:
        print(
            f"{key[0]:14}{key[1]:8d}{statistics.mean(wall[key]):9.3f}{statistics.mean(cpu[key]):8.3f}"
            f"{statistics.median(a / b for a, b in zip(wall[first], wall[key], strict=True)):8.2f}"
            f"{statistics.median(a / b for a, b in zip(cpu[first], cpu[key], strict=True)):7.2f}"
            f"{apart[key]:10.1e}{100 * agree[key]:9.4f}%"
        )
    for key in runs:
        if key[0] == "native":
            floor = statistics.mean(_bytes_moved(*picture) for picture in pictures) / _bandwidth(key[1])
            share = 100 * floor / statistics.mean(wall[key])
            print(
                f"memory-bandwidth floor, {key[1]} thread(s): {1e3 * floor:.0f} ms; native reaches {share:.0f} % of it"
            )


def _bandwidth(threads: int) -> float:
    """Bytes a second read and written while as many threads copy arrays that no cache holds."""
    pairs = [(np.zeros(1 << 24, np.float32), np.ones(1 << 24, np.float32)) for _ in range(threads)]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(8):
            began = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(*pair), pairs))
            best = min(best, time.perf_counter() - began)
    return 2 * threads * (4 << 24) / best


def _bytes_moved(name: str, probs: Any, image: Any) -> float:
    """What ten iterations over all labels move if every array passes through memory once where it is used."""
    from deeplab.crf import native

    problem = make_problem(probs, image, PARAMS, PARAMS.kernels())
    M = native.lattice(PARAMS.kernels()[1], problem, 1).num_vertices
    K, N = len(probs), image.shape[0] * image.shape[1]
    taps = 2 * 6 * 8 * N + 2 * (3 * 8 + 4) * N  # of lattice and grid, for splat and slice
    marginals = 4 * 4 * K * N  # read by both kernels, the unary, and written
    vertices = 4 * 4 * K * M  # splatted, blurred in a second pass, sliced
    return float(PARAMS.iterations * (taps + marginals + vertices))


def _many(options: argparse.Namespace) -> None:
    """Label maps of many pictures on all cores: by processes of one thread, by threads, by one call on all threads."""
    cores = max(options.threads)
    pictures = [(probs, image) for _, probs, image in _pictures(options)][: 3 * options.pictures]
    single = DenseCRF(PARAMS, "native", num_threads=1)
    together = DenseCRF(PARAMS, "native", num_threads=cores)

    def maps(crf: DenseCRF, each: Callable[..., Iterable[Any]]) -> list[Any]:
        return list(each(lambda picture: crf(*picture).argmax(axis=0), pictures))

    with CRFWorkers(PARAMS, "native", cores) as workers, ThreadPoolExecutor(cores) as pool:
        ways: dict[str, Callable[[], list[Any]]] = {
            f"{cores} processes of 1 thread": lambda: [f.result() for f in [workers.submit(*p) for p in pictures]],
            f"{cores} threads, a picture each": lambda: maps(single, pool.map),
            f"one call at a time on {cores} threads": lambda: maps(together, map),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(options.repeats + 1):
            for way, run in ways.items():
                began = time.perf_counter()
                run()
                if turn:  # the first one starts processes and fills caches
                    times[way].append(time.perf_counter() - began)
    print(f"\n{len(pictures)} pictures on {cores} cores, median of {options.repeats} repeats in turns")
    for way, seconds in times.items():
        print(f"{way:36}{1e3 * statistics.median(seconds) / len(pictures):8.1f} ms a picture")


def _memory(options: argparse.Namespace) -> None:
    H, W = options.large_size
    result = 19 * H * W * 4 / 1e6
    print(
        f"\npeak memory beyond the input at {W} x {H}, 19 labels, "
        f"the result ({result:.0f} MB) included; each in a process"
    )
    for backend in ("pydensecrf", "native", "torch"):
        for threads in options.threads if backend == "native" else [1]:
            if not missing(backend):
                command = [sys.executable, __file__, "--peak-of", f"{backend},{threads}"]
                command += ["--large-size", str(H), str(W)]
                for name in ("logits", "images"):
                    command += [f"--{name}", str(getattr(options, name))] if options.logits else []
                peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
                print(f"{backend:12}{threads:3d} thread(s) {float(peak):8.0f} MB")


def _peak(backend: str, threads: str, options: argparse.Namespace) -> float:
    _, probs, image = _big(options)
    crf = DenseCRF(PARAMS, backend, num_threads=int(threads))
    crf(probs[:, :8, :8].copy(), image[:8, :8].copy())  # what is loaded and kept once does not count
    before = _status("VmRSS")
    # Linux: forget the peak so far; where that is not allowed the highest so far hides a smaller one.
    Path("/proc/self/clear_refs").write_text("5")
    crf(probs, image)
    return (max(_status("VmHWM"), before) - before) / 1e6


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _approximations(options: argparse.Namespace) -> None:
    runs = {"exact answer": PARAMS, **APPROXIMATIONS}
    seconds = dict.fromkeys(runs, 0.0)
    apart: dict[str, list[float]] = {name: [] for name in runs}
    mean: dict[str, list[float]] = {name: [] for name in runs}
    agree: dict[str, list[float]] = {name: [] for name in runs}
    counts: dict[str, Any] = {}
    total = 0
    for name, probs, image in _pictures(options):
        total += 1
        reference: Any = None
        truth = np.asarray(Image.open(options.labels / f"{name}.png")) if options.labels else None
        _count(counts, "no CRF", truth, probs)
        for run, params in runs.items():
            began = time.process_time()
            result = DenseCRF(params, num_threads=1)(probs, image)
            seconds[run] += time.process_time() - began
            reference = result if reference is None else reference
            apart[run].append(float(np.abs(result - reference).max()))
            mean[run].append(float(np.abs(result - reference).mean()))
            agree[run].append(float((result.argmax(axis=0) == reference.argmax(axis=0)).mean()))
            _count(counts, run, truth, result)
    print(f"\napproximations on {total} pictures, 1 thread, CPU time")
    print(f"{'':36}{'speed':>7}{'max-abs':>10}{'mean-abs':>10}{'argmax':>10}{'mIoU':>8}")
    for run in runs:
        print(
            f"{run:36}{seconds['exact answer'] / seconds[run]:7.2f}{max(apart[run]):10.1e}"
            f"{statistics.mean(mean[run]):10.1e}{100 * statistics.mean(agree[run]):9.4f}%{_miou(counts.get(run))}"
        )
    if options.labels:
        print(f"{'no CRF':36}{'':37}{_miou(counts['no CRF'])}")


def _count(counts: dict[str, Any], run: str, truth: Any, marginals: Any) -> None:
    if truth is None:
        return
    K = len(marginals)
    valid = truth < K
    pairs = truth[valid].astype(np.int64) * K + marginals.argmax(axis=0)[valid]
    counts[run] = counts.get(run, 0) + np.bincount(pairs, minlength=K * K).reshape(K, K)


def _miou(matrix: Any) -> str:
    if matrix is None:
        return f"{'-':>8}"
    hit = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    return f"{100 * (hit[union > 0] / union[union > 0]).mean():8.2f}"


def _pictures(options: argparse.Namespace) -> Iterable[Picture]:
    if not options.logits:
        height, width = options.size
        yield from (_made(21, height, width, seed) for seed in range(4))
        return
    for path in sorted(options.logits.glob("*.npz")):
        image = np.asarray(Image.open(options.images / f"{path.stem}.jpg").convert("RGB"))
        logits = torch.from_numpy(np.load(path)["logits"].astype(np.float32))[None]
        scores = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
        yield path.stem, torch.softmax(scores[0], dim=0).numpy(), image


def _big(options: argparse.Namespace) -> Picture:
    """A made picture, or the first one given, enlarged, with 19 of its labels."""
    H, W = options.large_size
    if not options.logits:
        return _made(19, H, W, 0)
    name, probs, image = next(iter(_pictures(options)))
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(probs[None, :19]), (H, W), mode="bilinear")[0]
    whole = (enlarged / enlarged.sum(dim=0)).numpy()
    return name, whole, np.array(Image.fromarray(image).resize((W, H), Image.Resampling.BICUBIC))


def _made(K: int, H: int, W: int, seed: int) -> Picture:
    """Smooth regions with texture, 1.3 vertices a pixel (photographs: 0.4 to 2.2), and coarse scores that follow."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 1, (1, K, H // 40 + 2, W // 40 + 2)).astype(np.float32))
    scores = 6 * torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic", align_corners=True)[0].numpy()
    palette = rng.integers(0, 256, (K, 3))
    fine = torch.from_numpy(rng.normal(0, 9, (1, 3, H // 4 + 2, W // 4 + 2)).astype(np.float32))
    texture = torch.nn.functional.interpolate(fine, (H, W), mode="bilinear")[0].numpy().transpose(1, 2, 0)
    image = np.clip(palette[scores.argmax(axis=0)] + texture + rng.normal(0, 1, (H, W, 3)), 0, 255).astype(np.uint8)
    low = torch.nn.functional.avg_pool2d(torch.from_numpy(scores)[None], 8, ceil_mode=True)
    logits = torch.nn.functional.interpolate(low, (H, W), mode="bilinear", align_corners=False)
    return f"made {seed}", torch.softmax(logits[0], dim=0).numpy(), image


def _noise(K: int, H: int, W: int) -> Picture:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(K), (H, W)).transpose(2, 0, 1).astype(np.float32)
    return "noise", np.ascontiguousarray(probs), rng.integers(0, 256, (H, W, 3), dtype=np.uint8)


if __name__ == "__main__":
    main()
