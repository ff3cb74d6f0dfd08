"""What `deeplab train` and `deeplab evaluate` leave behind: the numbers, and files that agree with them."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

CLASSES = ["ground", "grass", "sky"]
NUMBERS = ["miou", "pixel_accuracy", "mean_accuracy"]


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def scores_of(matrix):
    """MIoU, IoU a class, pixel and mean accuracy of a matrix with rows of truth, None where a class is absent."""
    hits, truth, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    iou = [h / (t + p - h) if t + p else None for h, t, p in zip(hits, truth, predicted, strict=True)]
    present = [each for each in iou if each is not None]
    recall = [h / t for h, t in zip(hits, truth, strict=True) if t]
    return sum(present) / len(present), iou, hits.sum() / matrix.sum(), sum(recall) / len(recall)


def check_numbers(document, matrix, suffix=""):
    miou, iou, pixel, mean = scores_of(matrix)
    assert document[f"miou{suffix}"] == pytest.approx(miou, abs=1e-12)
    assert document[f"pixel_accuracy{suffix}"] == pytest.approx(pixel, abs=1e-12)
    assert document[f"mean_accuracy{suffix}"] == pytest.approx(mean, abs=1e-12)
    assert list(document[f"iou{suffix}"]) == CLASSES
    assert list(document[f"iou{suffix}"].values()) == pytest.approx(iou, abs=1e-12)


def counted(folder, masks):
    """The confusion matrix of the PNGs in a folder with the masks, without void."""
    matrix = np.zeros((3, 3), dtype=np.int64)
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            assert image.mode == "P"
            labels = np.asarray(image)
            assert image.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]  # VOC's colours of classes 1 and 2
        truth = np.asarray(Image.open(masks / path.name))
        assert labels.shape == truth.shape
        assert labels.max() < len(CLASSES)
        known = truth != 255
        np.add.at(matrix, (truth[known], labels[known]), 1)
    return matrix


def check_folder(folder, masks, count):
    document = metrics(folder)
    for suffix in ("", "_crf"):
        matrix = counted(folder / f"predictions{suffix}", masks)
        with np.load(folder / "per_picture.npz") as arrays:
            assert len(arrays["ids"]) == count
            np.testing.assert_array_equal(arrays[f"confusion{suffix}"].sum(0), matrix)
        check_numbers(document, matrix, suffix)
    assert document["num_images"] == count
    assert (document["num_skipped"], document["num_crf_skipped"]) == (0, 0)
    return document


def test_a_trainings_metrics_predictions_and_matrices_agree(trained):
    document = check_folder(trained.folder, trained.data / "masks" / "val", 3)
    for key in NUMBERS:
        assert 0 < document[key] < 1
    # The picture does show classes that the network tells apart, and the CRF does change it.
    assert document["iou"]["sky"] > 0.4
    assert document["miou_crf"] != document["miou"]
    assert document["seconds"] > 0
    assert document["version"]["deeplab"]
    assert document["config"]["data"]["root"] == str(trained.data)
    assert json.loads((trained.folder / "run.json").read_text())["state"] == "finished"
    assert {path.name for path in (trained.folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    }
    assert "mIoU" in trained.result.out


def test_the_checkpoint_alone_gives_the_same_numbers(run, trained, checkpoint, tmp_path):
    shutil.copy(checkpoint, tmp_path / "alone.ckpt")
    run("evaluate", "checkpoint=alone.ckpt", "output=again").worked()
    before, again = metrics(trained.folder), check_folder(tmp_path / "again", trained.data / "masks" / "val", 3)
    for key in [*NUMBERS, "iou", "num_images"]:
        assert again[key] == before[key]
        assert again.get(f"{key}_crf") == before.get(f"{key}_crf")
    for name in ("predictions", "predictions_crf"):
        for path in (trained.folder / name).rglob("*.png"):
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(trained.folder)).read_bytes()


def test_scores_near_boundaries_are_those_of_the_written_predictions(trained):
    document, masks = metrics(trained.folder), trained.data / "masks" / "val"
    for suffix in ("", "_crf"):
        matrices, inside, union = np.zeros((3, 3, 3)), np.zeros(3), np.zeros(3)
        for path in (trained.folder / f"predictions{suffix}").rglob("*.png"):
            found, truth = np.asarray(Image.open(path)), np.asarray(Image.open(masks / path.name))
            known = truth != 255
            near = np.zeros(truth.shape, dtype=bool)  # a pixel of another class beside it
            for axis in (0, 1):
                for step in (1, -1):
                    other = np.roll(truth, step, axis)
                    rim = np.arange(truth.shape[axis]) == (0 if step > 0 else truth.shape[axis] - 1)
                    rim = rim[:, None] if axis == 0 else rim[None]
                    near |= (truth != other) & (other != 255) & ~rim
            for width in range(3):
                band = ndimage.binary_dilation(near & known, np.ones((2 * width + 1,) * 2)) & known
                np.add.at(matrices[width], (truth[band], found[band]), 1)
            reach = max(1, round(0.02 * np.hypot(*truth.shape)))
            for value in range(3):
                regions = [
                    (each == value) & known & ~ndimage.binary_erosion(each == value, np.ones((3, 3)), reach)
                    for each in (found, truth)
                ]
                inside[value] += (regions[0] & regions[1]).sum()
                union[value] += (regions[0] | regions[1]).sum()
        expected = [scores_of(matrix)[0] for matrix in matrices]
        assert document["class_edges"][f"miou{suffix}"][:3] == pytest.approx(expected, abs=1e-12)
        assert list(document[f"boundary_iou{suffix}"].values()) == pytest.approx(inside / union, abs=1e-12)
        assert document[f"boundary_miou{suffix}"] == pytest.approx((inside / union).mean(), abs=1e-12)
    assert document["class_edges"]["width"] == list(range(1, 41))
    assert document["split"] == "val"
    with Image.open(trained.folder / "boundary.png") as plot:
        assert plot.width > 500


def test_the_best_checkpoint_is_the_one_whose_validation_was_best(trained):
    best = torch.load(trained.folder / "checkpoints" / "best.ckpt", weights_only=True)
    lines = (trained.folder / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val/miou")
    found = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert len(found) == 2
    assert best["global_step"] == (12 if found[0] > found[1] else 24)


def test_without_the_crf_its_numbers_are_null(run, checkpoint, tmp_path):
    run("evaluate", f"checkpoint={checkpoint}", "crf=none", "output=out", "save_predictions=false").worked()
    document = metrics(tmp_path / "out")
    assert [document[f"{key}_crf"] for key in [*NUMBERS, "iou"]] == [None] * 4
    assert document["config"]["crf"]["backend"] == "none"
    assert not (tmp_path / "out" / "predictions").exists()
    with np.load(tmp_path / "out" / "per_picture.npz") as arrays:
        assert set(arrays) == {"ids", "confusion"}


def test_the_first_pictures_alone(run, checkpoint, tmp_path):
    run("evaluate", f"checkpoint={checkpoint}", "first_n=1", "output=scores").worked()
    document = metrics(tmp_path / "scores")
    assert (document["num_images"], document["num_skipped"]) == (1, 0)
    refused = run("evaluate", f"checkpoint={checkpoint}", "data.val_limit=1", "output=other")
    refused.refused("data.val_limit", "first_n=1")
    assert not (tmp_path / "other").exists()


def test_a_refused_evaluation_leaves_an_earlier_one(run, checkpoint, tmp_path):
    run("evaluate", f"checkpoint={checkpoint}", "output=out").worked()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for mistake, part in (("crf.compatibility=[[0]]", "crf.compatibility"), ("split=nowhere", "nowhere")):
        run("evaluate", f"checkpoint={checkpoint}", "output=out", mistake).refused(part)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_predictions_of_an_earlier_evaluation_are_told_of(run, checkpoint):
    first = run("evaluate", f"checkpoint={checkpoint}", "output=out").worked()
    assert "did not make" not in first.err
    again = run("evaluate", f"checkpoint={checkpoint}", "first_n=1", "crf=none", "output=out").worked()
    assert "out/predictions also holds pictures that this evaluation did not make: 2" in again.err
    assert "out/predictions_crf also holds pictures that this evaluation did not make: 3" in again.err


def test_a_section_is_laid_over_the_checkpoints(run, checkpoint, tmp_path):
    overlays = ["crf.iterations=5", "inference=multi_scale_flip", "inference.scales=[1.0,1.5]"]
    run("evaluate", f"checkpoint={checkpoint}", *overlays, "split=train", "output=out").worked()
    config = metrics(tmp_path / "out")["config"]
    assert config["crf"]["iterations"] == 5
    assert config["crf"]["bilateral_rgb_std"] == 20  # the checkpoint's
    assert (config["inference"]["scales"], config["inference"]["flip"]) == ([1.0, 1.5], True)
    with np.load(tmp_path / "out" / "per_picture.npz") as arrays:
        assert list(arrays["ids"]) == [f"train/{number}" for number in range(4)]


def test_data_that_were_moved_are_found_at_their_new_root(run, trained, checkpoint, tmp_path):
    shutil.copytree(trained.data, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "images" / "train")
    for split in ("images", "masks"):
        (tmp_path / "moved" / split / "val" / ("0.jpg" if split == "images" else "0.png")).unlink()
    run("evaluate", f"checkpoint={checkpoint}", "data.root=moved", "crf=none", "output=out").worked()
    document = metrics(tmp_path / "out")
    assert document["num_images"] == 2
    assert document["config"]["data"]["layout"]["root"] == "moved"


def test_other_data_with_the_same_classes(run, checkpoint, data, tmp_path):
    choice = ["data=folder", f"data.root={data}", f"data.class_names=[{','.join(CLASSES)}]"]
    run("evaluate", f"checkpoint={checkpoint}", *choice, "data.num_workers=0", "crf=none", "output=out").worked()
    assert metrics(tmp_path / "out")["config"]["data"]["layout"]["splits"] == "share"
    assert metrics(tmp_path / "out")["num_images"] == 1  # a fifth of six


def test_unreadable_pictures_are_left_out_only_by_choice(run, trained, checkpoint, tmp_path):
    shutil.copytree(trained.data, tmp_path / "damaged")
    for path in (tmp_path / "damaged/images/val/1.jpg", tmp_path / "damaged/masks/val/2.png"):
        path.write_bytes(path.read_bytes()[:60])
    words = [f"checkpoint={checkpoint}", "data.root=damaged", "crf=none", "output=out"]
    run("evaluate", *words).refused("damaged/", "breaks off")
    result = run("evaluate", *words, "skip_unreadable=true").worked()
    assert "damaged/images/val/1.jpg" in result.out + result.err
    assert "damaged/masks/val/2.png" in result.out + result.err
    document = metrics(tmp_path / "out")
    assert (document["num_images"], document["num_skipped"]) == (1, 2)
    check_numbers(document, counted(tmp_path / "out/predictions", tmp_path / "damaged/masks/val"))


def test_a_crfs_values_without_a_crf_are_refused(run, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    content["deeplab"]["config"]["crf"]["backend"] = "none"
    torch.save(content, tmp_path / "without.ckpt")
    arguments = ("checkpoint=without.ckpt", "crf.iterations=2", "output=out")
    result = run("evaluate", *arguments)
    result.refused("crf.iterations", "crf=none", "crf=default")
    assert not (tmp_path / "out").exists()
    run("evaluate", *arguments, "crf=default").worked()
    assert metrics(tmp_path / "out")["miou_crf"] is not None


MISTAKES = [
    (["crf.iterationz=5"], ["no key crf.iterationz", "did you mean crf.iterations?"]),
    (["crf.iterations=many"], ["crf.iterations", "'many' is not a whole number"]),
    (["inference.flipp=true"], ["no key inference.flipp", "did you mean inference.flip?"]),
    (["data.val_splitt=val"], ["no key data.val_splitt", "did you mean data.val_split?"]),
    (["data.layout.splitz=lists"], ["data.layout.splitz"]),
    (["split=nonexistent"], ["images/nonexistent", "['train', 'val']"]),
    (["split=nowhere/list.txt"], ["nowhere/list.txt", "no such list"]),
    (["data=scenes"], ["8 classes", "has 3", "the same classes"]),
    (["data.layout=null"], ["data.layout=None"]),
    (["data=voc12"], ["No value for data.root"]),
    (["data.root=nowhere"], ["nowhere/images", "no such folder", "data.root"]),
    (["output=a_file/out"], ["a_file/out", "Not a directory"]),
    (["output=/proc/nowhere"], ["/proc/nowhere"]),
]


@pytest.mark.parametrize(("overrides", "parts"), MISTAKES, ids=lambda value: str(value[0]))
def test_mistakes_are_named(run, checkpoint, tmp_path, overrides, parts):
    (tmp_path / "a_file").write_text("")
    more = [] if overrides[0].startswith("output") else ["output=out"]
    result = run("evaluate", f"checkpoint={checkpoint}", *overrides, *more)
    result.refused(*parts)
    assert result.written() == {"a_file"}


def test_the_papers_numbers_are_carried_along(run, own_data, tmp_path):
    paper = "paper={table: '3', row: ASPP-L, miou: 0.6896, miou_crf: 0.7157}"
    run("train", *own_data, paper, "hydra.run.dir=run").worked()
    assert metrics(tmp_path / "run")["paper"] == {"table": "3", "row": "ASPP-L", "miou": 0.6896, "miou_crf": 0.7157}
    assert metrics(tmp_path / "run")["miou_crf"] is None
    assert math.isfinite(metrics(tmp_path / "run")["miou"])
