"""The paper's grid of 128 settings of the CRF on saved logits: `deeplab search-crf`'s scorer against pydensecrf.

python benchmarks/crf_search.py --logits voc_logits --voc VOCdevkit/VOC2012 [--first 0] [--pictures 40] [--against 4]
    [--processes 2] [--record parts.jsonl]

Each picture is scored at all settings by the native backend, by the native backend with prune_below=1e-3, and, of the
first `--against` pictures, by pydensecrf; one after the other, so that they meet the same noise, in as many processes
of one thread. Seconds are by the clock; `cpu` is processor time of all processes. pydensecrf's time for the other
pictures is extrapolated by their pixels. With --record the pictures may be measured in parts (--first, --pictures): the
report is over all parts in the file.
"""

import argparse
import json
import os
import tempfile
import time
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from deeplab.crf.params import CRFParams
from deeplab.crf_search.cells import grid
from deeplab.crf_search.scorer import Scorer
from deeplab.crf_search.sources import SavedScores
from deeplab.crf_search.store import Results
from deeplab.crf_search.tallies import Tally, mean_iou
from deeplab.data.labels import LabelRule
from deeplab.data.samples import FilePictures

NUM_CLASSES = 21
WAYS = {
    "native": (CRFParams(), "native"),
    "pruned": (CRFParams(prune_below=1e-3), "native"),
    "pydensecrf": (CRFParams(), "pydensecrf"),
}
# The coarse grid of conf/search_crf.yaml.
GRID = {
    "bilateral_weight": [3, 4, 5, 6],
    "bilateral_xy_std": [30, 40, 50, 60, 70, 80, 90, 100],
    "bilateral_rgb_std": [3, 4, 5, 6],
    "gaussian_weight": [3],
    "gaussian_xy_std": [3],
}


def main() -> None:
    options = parse()
    names = sorted(path.stem for path in options.logits.glob("*.npz"))
    rows = [json.loads(line) for line in read_lines(options.record)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = open_source(options.logits, options.voc, names)
        for index in range(options.first, min(options.first + options.pictures, len(names))):
            for way in WAYS:
                if way != "pydensecrf" or index < options.against:
                    rows.append(measure(way, source, index, work, options.processes))
                    say(rows[-1])
                    if options.record:
                        with options.record.open("a") as file:
                            file.write(json.dumps(rows[-1]) + "\n")
    report(rows, count_pixels(options.voc, names))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logits", type=Path, required=True)
    parser.add_argument("--voc", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--against", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--record", type=Path)
    return parser.parse_args()


def read_lines(path: Path | None) -> list[str]:
    return path.read_text().splitlines() if path and path.is_file() else []


def open_source(logits: Path, voc: Path, names: list[str]) -> SavedScores:
    images = [voc / "JPEGImages" / f"{name}.jpg" for name in names]
    labels = [voc / "SegmentationClass" / f"{name}.png" for name in names]
    return SavedScores(FilePictures(names, images, labels), LabelRule(NUM_CLASSES), logits)


def count_pixels(voc: Path, names: list[str]) -> dict[str, int]:
    sizes = {}
    for name in names:
        with Image.open(voc / "JPEGImages" / f"{name}.jpg") as image:
            sizes[name] = image.width * image.height
    return sizes


def measure(way: str, source: SavedScores, index: int, work: Path, processes: int) -> dict[str, Any]:
    fixed, backend = WAYS[way]
    cells = grid(GRID)
    # Results of its own, since what is known already would not be scored again; and processes that have started.
    results = Results(work / f"{way}_{index}.jsonl", NUM_CLASSES)
    quiet = Console(file=StringIO())
    with Scorer(source, results, work / "cache", fixed, backend, processes, quiet) as scorer:
        scorer.score([(index + 1) % len(source.ids)], cells[:: len(cells) // processes], "start")
        used, start = cpu(), time.perf_counter()
        tallies = scorer.score([index], [None, *cells], way)[:, 0]
        seconds, used = time.perf_counter() - start, cpu() - used
    results.close()
    return {"way": way, "id": source.ids[index], "seconds": seconds, "cpu": used, "tallies": tallies.tolist()}


def cpu() -> float:
    """Processor seconds of this process and of its children."""
    ticks = 0
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        ticks += sum(map(int, Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def say(row: dict[str, Any]) -> None:
    print(f"{row['id']:>14} {row['way']:>10} {row['seconds']:7.2f} s, cpu {row['cpu']:7.2f} s", flush=True)


def report(rows: list[dict[str, Any]], pixels: dict[str, int]) -> None:
    by_way = {way: {row["id"]: row for row in rows if row["way"] == way} for way in WAYS}
    whole = sum(pixels.values())
    print(f"\n{len(pixels)} pictures, 128 settings:")
    for way, measured in by_way.items():
        if measured:
            share = sum(pixels[name] for name in measured) / whole
            seconds, used = (sum(row[clock] for row in measured.values()) / share for clock in ("seconds", "cpu"))
            how = "measured" if len(measured) == len(pixels) else f"extrapolated from {len(measured)} by their pixels"
            print(f"  {way:>10} {seconds:8.1f} s, cpu {used:8.1f} s ({how})")
    for way in ("native", "pruned"):
        both = [name for name in by_way["pydensecrf"] if name in by_way[way]]
        if both:
            ours, theirs = (tallies(by_way[each], both) for each in (way, "pydensecrf"))
            ratios = []
            for clock in ("seconds", "cpu"):
                times = [sum(by_way[each][name][clock] for name in both) for each in ("pydensecrf", way)]
                ratios.append(f"{times[0] / times[1]:.2f} by {'the clock' if clock == 'seconds' else 'cpu'}")
            print(f"  {way} against pydensecrf: {', '.join(ratios)}, on the {len(both)} pictures that both scored")
            compare(ours, theirs)
    both = [name for name in by_way["pruned"] if name in by_way["native"]]
    if both:
        print(f"  pruned against native on {len(both)} pictures:")
        compare(tallies(by_way["pruned"], both), tallies(by_way["native"], both))


def tallies(measured: dict[str, dict[str, Any]], names: list[str]) -> Tally:
    """(settings, pictures, 3, K); the first setting is no CRF."""
    return np.stack([np.array(measured[name]["tallies"]) for name in names], axis=1)


def compare(ours: Tally, theirs: Tally) -> None:
    ours_mious, theirs_mious = (100 * mean_iou(each.sum(1)) for each in (ours, theirs))
    pixels = np.abs(ours - theirs)[:, :, 2].sum() / 2
    same = (np.round(ours_mious, 2) == np.round(theirs_mious, 2)).sum()
    winner, other = int(ours_mious[1:].argmax()) + 1, int(theirs_mious[1:].argmax()) + 1
    print(
        f"    mIoU differs by at most {np.abs(ours_mious - theirs_mious).max():.4f} points and is the same to two "
        f"decimals in {same} of {len(ours)} settings; at least {pixels:.0f} pixels of {theirs[:, :, 2].sum()} differ\n"
        f"    the winner is {'the same' if winner == other else 'another'}: its mIoU in the exact table is "
        f"{theirs_mious[winner]:.3f}, the best there {theirs_mious[other]:.3f}, no CRF {theirs_mious[0]:.3f}"
    )


if __name__ == "__main__":
    main()
