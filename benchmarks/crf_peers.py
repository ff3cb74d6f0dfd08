"""Other dense CRFs beside ours, on the same pictures, by turns: seconds, labels in agreement, mIoU.

    python benchmarks/crf_peers.py --logits voc_logits --voc VOCdevkit/VOC2012 --python PYTHON [--convcrf CHECKOUT]
        [--pictures 6] [--repeats 3]

PYTHON is the interpreter of an environment of its own, for SimpleCRF does not compile with numpy 2: numpy<2, torch,
scipy, and what is to be compared of SimpleCRF (its module denseCRF) and crfseg; what is not there is left out.
CHECKOUT is a clone of MarvinTeichmann/ConvCRF, which is not on PyPI. All get one thread, 10 iterations and the kernels
4/67/3 and 3/1 where they have them: crfseg has no kernel over colours, and ConvCRF keeps its defaults (11x11 pixels of
the picture shrunk by 4). Ratios and agreement are against pydensecrf; mIoU is over the pictures measured, no more.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

PEERS = ("SimpleCRF", "crfseg", "ConvCRF")
W1, ALPHA, BETA, W2, GAMMA, ITERATIONS = 4.0, 67.0, 3.0, 3.0, 1.0, 10
Refine = Callable[[Any, Any, Any], Any]  # logits and probabilities (K, H, W), image (H, W, 3) -> labels (H, W)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logits", type=Path)
    parser.add_argument("--voc", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--convcrf", type=Path)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(_peer(options.serve))
    else:
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    from deeplab.crf.dense_crf import DenseCRF
    from deeplab.crf.params import CRFParams

    params = CRFParams(iterations=ITERATIONS)
    assert (params.bilateral_weight, params.bilateral_xy_std, params.bilateral_rgb_std) == (W1, ALPHA, BETA)
    assert (params.gaussian_weight, params.gaussian_xy_std) == (W2, GAMMA)
    tools: dict[str, Refine] = {}
    for backend in ("pydensecrf", "native"):
        tools[backend] = _ours(DenseCRF(params, backend, num_threads=1))
    tools["none"] = lambda _, probs, image: probs.argmax(axis=0)
    with tempfile.TemporaryDirectory() as folder:
        seconds: dict[str, list[float]] = {}
        labels: dict[str, list[Any]] = {}
        truths = []
        with _all_peers(options, Path(folder)) as peers:
            for logits, probs, image, truth in _pictures(options):
                truths.append(truth)
                np.savez(Path(folder) / "picture.npz", logits=logits, probs=probs, image=image)
                times: dict[str, list[float]] = {}
                for _ in range(options.repeats):
                    for name in (*tools, *peers):
                        if name in peers:
                            taken, found = peers[name]()
                        else:
                            began = time.perf_counter()
                            found = tools[name](logits, probs, image)
                            taken = time.perf_counter() - began
                        times.setdefault(name, []).append(taken)
                        labels.setdefault(name, [])[len(truths) - 1 :] = [found]
                for name, taken_each in times.items():
                    seconds.setdefault(name, []).append(statistics.median(taken_each))
    print(f"{len(truths)} pictures, one thread, {ITERATIONS} iterations, median of {options.repeats} repeats in turns")
    print(f"{'tool':12}{'s a picture':>12}{'x pydensecrf':>14}{'same labels':>13}{'mIoU':>8}")
    base = np.array(seconds["pydensecrf"])
    for name, each in seconds.items():
        same = np.mean([(a == b).mean() for a, b in zip(labels[name], labels["pydensecrf"], strict=True)])
        ratio = "" if name == "none" else f"{np.median(base / np.array(each)):.2f}"
        mean = "" if name == "none" else f"{np.mean(each):.3f}"
        print(f"{name:12}{mean:>12}{ratio:>14}{100 * same:12.2f}%{100 * _miou(labels[name], truths):8.2f}")


def _ours(crf: Any) -> Refine:
    return lambda _, probs, image: crf(probs, image).argmax(axis=0)


def _pictures(options: argparse.Namespace) -> Iterator[tuple[Any, Any, Any, Any]]:
    import torch
    from PIL import Image
    from torch.nn import functional as F

    names = sorted(path.stem for path in options.logits.glob("*.npz"))[: options.pictures]
    for name in names:
        image = np.array(Image.open(options.voc / "JPEGImages" / f"{name}.jpg").convert("RGB"))
        truth = np.array(Image.open(options.voc / "SegmentationClass" / f"{name}.png"))
        with np.load(options.logits / f"{name}.npz") as file:
            small = torch.from_numpy(file["logits"].astype(np.float32))[None]
        logits = F.interpolate(small, image.shape[:2], mode="bilinear", align_corners=False)[0]
        yield logits.numpy(), logits.softmax(dim=0).numpy(), image, truth


def _miou(found: list[Any], truths: list[Any]) -> float:
    counts = np.zeros((21, 21), np.int64)
    for labels, truth in zip(found, truths, strict=True):
        valid = truth != 255
        counts += np.bincount(21 * truth[valid].astype(int) + labels[valid], minlength=441).reshape(21, 21)
    with np.errstate(invalid="ignore"):
        return float(np.nanmean(np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))))


@contextmanager
def _all_peers(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Callable[[], tuple[float, Any]]]]:
    """A process for each tool that can be had, in its own environment; each call refines folder/picture.npz."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(options.convcrf or "")}
    running: dict[str, subprocess.Popen[str]] = {}

    def ask(name: str) -> tuple[float, Any]:
        process = running[name]
        stdin, stdout = _pipes(process)
        print(folder, file=stdin, flush=True)
        line = stdout.readline()
        if not line:
            raise SystemExit(f"{name} ended with {process.wait()}.")
        return json.loads(line), np.load(folder / "labels.npy")

    try:
        for name in PEERS:
            command = [options.python, __file__, "--serve", name]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            ready = _pipes(process)[1].readline().strip()
            if ready == "ready":
                running[name] = process
            else:
                print(f"{name} is left out: {ready or 'it ended at once'}")
                process.wait()
        yield {name: partial(ask, name) for name in running}
    finally:
        for process in running.values():
            _pipes(process)[0].close()
            process.wait()


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout


def _serve(refine: Refine) -> None:
    """In the peer's environment: for each line, a folder, write the labels of its picture and print the seconds."""
    print("ready", flush=True)
    for line in sys.stdin:
        folder = Path(line.strip())
        with np.load(folder / "picture.npz") as file:
            arrays = file["logits"], file["probs"], file["image"]
        began = time.perf_counter()
        labels = refine(*arrays)
        taken = time.perf_counter() - began
        np.save(folder / "labels.npy", labels)
        print(json.dumps(taken), flush=True)


def _peer(name: str) -> Refine:
    make = {"SimpleCRF": _simplecrf, "crfseg": _crfseg, "ConvCRF": _convcrf}[name]
    try:
        return make()
    except ImportError as error:
        print(error, flush=True)
        raise SystemExit(0) from None


def _simplecrf() -> Refine:
    tool = importlib.import_module("denseCRF")

    def refine(logits: Any, probs: Any, image: Any) -> Any:
        params = (W1, ALPHA, BETA, W2, GAMMA, float(ITERATIONS))
        return tool.densecrf(image, np.ascontiguousarray(probs.transpose(1, 2, 0)), params)

    return refine


def _crfseg() -> Refine:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    crf = importlib.import_module("crfseg").CRF(
        n_spatial_dims=2, n_iter=ITERATIONS, returns="logits", smoothness_weight=W2, smoothness_theta=GAMMA
    )

    def refine(logits: Any, probs: Any, image: Any) -> Any:
        with torch.inference_mode():
            return crf(torch.from_numpy(logits)[None])[0].argmax(dim=0).numpy()

    return refine


def _convcrf() -> Refine:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    # Its log goes to stdout, where the answers go.
    answers, sys.stdout = sys.stdout, sys.stderr
    tool = importlib.import_module("convcrf.convcrf")
    sys.stdout = answers

    def refine(logits: Any, probs: Any, image: Any) -> Any:
        crf = tool.GaussCRF(conf=tool.default_conf, shape=image.shape[:2], nclasses=len(logits), use_gpu=False)
        picture = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]
        with torch.inference_mode():
            scores = crf(unary=torch.from_numpy(logits)[None], img=picture, num_iter=ITERATIONS)
        return scores[0].argmax(dim=0).numpy()

    return refine


if __name__ == "__main__":
    main()
