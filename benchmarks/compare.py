"""`deeplab compare` on runs of a VOC-like size: seconds, by the clock and of the processor; how soon its page answers.

python benchmarks/compare.py [--runs 12] [--pictures 120] [--resamples 1000] [--rounds 3] [--chromium /usr/bin/chromium]

Makes run folders of 21 classes, four variants with three seeds, pictures of 500x375 pixels in VOC's layout, and calls
the command as a user does, its start included. The page is opened from disk in headless Chromium: `answers` is the time
from opening until a table has been sorted by a click and the first picture of the gallery is drawn, `charts` until the
charts in view are drawn too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from deeplab.data.palette import voc_palette
from deeplab.reporting.predictions import write_labels
from deeplab.reporting.run_files import metrics_document, write_json, write_per_picture

K, HEIGHT, WIDTH = 21, 375, 500
VARIANTS = 4
NAMES = [f"class {k}" for k in range(K)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = draw_data(folder / "VOCdevkit", options.pictures)
        for number in range(options.runs):
            draw_run(folder, number, labels)
        for _ in range(options.rounds):
            report({"runs": options.runs, "pictures": options.pictures, **command(folder, options.resamples)})
        page = folder / "out" / "report.html"
        print(f"the page: {page.stat().st_size / 1e6:.1f} MB")
        if Path(options.chromium).exists():
            for _ in range(options.rounds):
                report(in_browser(page, options.chromium))


def report(values: dict[str, Any]) -> None:
    print(
        "  ".join(
            f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
        )
    )


def blobs(rng: np.random.Generator, classes: int) -> np.ndarray:
    """A label map (H, W) of smooth patches."""
    coarse = rng.random((6, 8, classes)).astype(np.float32)
    fine = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine.argmax(axis=2), dtype=np.uint8)


def draw_data(root: Path, count: int) -> dict[str, np.ndarray]:
    base = root / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / name).mkdir(parents=True)
    found = {}
    for number in range(count):
        rng = np.random.default_rng(number)
        chosen = np.sort(rng.choice(K, 4, replace=False)).astype(np.uint8)
        label = chosen[blobs(rng, 4)]
        photo = np.clip(voc_palette()[label] + rng.normal(90, 25, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        name = f"2007_{number:06}"
        Image.fromarray(photo).save(base / "JPEGImages" / f"{name}.jpg", quality=90)
        write_labels(base / "SegmentationClass" / f"{name}.png", label, voc_palette())
        found[name] = label
    (base / "ImageSets/Segmentation/val.txt").write_text("\n".join(found))
    return found


def draw_run(folder: Path, number: int, labels: dict[str, np.ndarray]) -> None:
    variant, seed = number % VARIANTS, number // VARIANTS
    target = folder / "sweep" / str(number)
    before: list[np.ndarray] = []
    after: list[np.ndarray] = []
    for name, label in labels.items():
        rng = np.random.default_rng([number, *name.encode()])
        wrong = cv2.resize(rng.random((12, 16)).astype(np.float32), (WIDTH, HEIGHT)) > 0.55 + 0.04 * variant
        first = np.where(wrong, blobs(rng, K), label)
        second = cv2.medianBlur(first.astype(np.uint8), 9)
        for kind, prediction, matrices in (("predictions", first, before), ("predictions_crf", second, after)):
            write_labels(target / kind / f"{name}.png", prediction.astype(np.uint8), voc_palette())
            counts = np.bincount(label.ravel().astype(int) * K + prediction.ravel(), minlength=K * K)
            matrices.append(counts.reshape(K, K))
    config = {
        "name": "benchmark",
        "seed": seed,
        "model": {
            "head": {"_target_": "deeplab.models.heads.ASPP", "rates": [r * (variant + 1) for r in (2, 4, 8, 12)]}
        },
        "data": {
            "name": "voc12",
            "root": str(folder / "VOCdevkit"),
            "class_names": NAMES,
            "layout": {"_target_": "deeplab.data.voc.VOC", "root": str(folder / "VOCdevkit")},
        },
    }
    document = metrics_document(
        np.sum(before, axis=0),
        np.sum(after, axis=0),
        class_names=NAMES,
        num_images=len(labels),
        num_skipped=0,
        num_crf_skipped=0,
        config=config,
        seconds=1.0,
        split="val",
    )
    write_json(target / "metrics.json", document)
    write_json(target / "run.json", {"state": "finished", "seed": seed, "steps": 2000, "seconds": 600.0})
    write_per_picture(target / "per_picture.npz", list(labels), before, after)
    rows = [f"{step},{5 / step:.5f},{0.4 * step / 2000:.5f},{0.45 * step / 2000:.5f}" for step in range(10, 2001, 10)]
    (target / "metrics.csv").write_text("\n".join(["step,train/loss,val/miou,val/miou_crf", *rows, ""]))


def command(folder: Path, resamples: int) -> dict[str, float]:
    words = [sys.executable, "-m", "deeplab.cli", "compare", str(folder / "sweep")]
    words += [f"output={folder / 'out'}", f"bootstrap={resamples}"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, cwd=folder, capture_output=True)
    used, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    assert json.loads((folder / "out" / "report.json").read_text())["bootstrap"]["resamples"] == resamples
    return {"seconds": seconds, "of the processor": processor}


def in_browser(page: Path, chromium: str) -> dict[str, float]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        # Clicked in the page, for Playwright would scroll through all charts first.
        tab.locator("#runs-table th:nth-child(5) button").evaluate("button => button.click()")
        tab.locator('#runs-table th[aria-sort="descending"]').wait_for()
        tab.locator("#layers button").first.wait_for()
        answers = time.perf_counter() - start
        tab.evaluate("scrollTo(0, 0)")
        tab.locator('[data-chart="scores-0"]').scroll_into_view_if_needed()
        tab.locator('[data-chart="scores-0"] .main-svg').first.wait_for()
        charts = time.perf_counter() - start
        browser.close()
    return {"answers": answers, "charts": charts}


if __name__ == "__main__":
    main()
