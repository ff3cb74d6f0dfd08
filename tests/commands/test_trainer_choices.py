"""Precision, memory layout and compilation by the commands, and what a run that goes well does not say."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image


def losses(folder):
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def train(run, tmp_path, scenes, name, *overrides):
    more = ("trainer.log_every_n_steps=1", "evaluate=none", f"hydra.run.dir={name}")
    run("train", *scenes, *more, *overrides).worked()
    return losses(tmp_path / name)


def test_memory_layout_changes_nothing(run, tmp_path, scenes):
    usual = train(run, tmp_path, scenes, "usual")
    assert len(usual) == 2
    assert train(run, tmp_path, scenes, "other", "trainer.channels_last=false") == pytest.approx(usual, rel=1e-4)


@pytest.mark.slow
def test_a_compiled_network_trains_and_predicts_as_another(run, tmp_path, scenes, draw_photo):
    usual = train(run, tmp_path, scenes, "usual")
    assert train(run, tmp_path, scenes, "compiled", "trainer.compile=true") == pytest.approx(usual, rel=1e-3)
    draw_photo(tmp_path / "in" / "photo.png")
    here = ("checkpoint=compiled/checkpoints/last.ckpt", "input=in", "crf=none", "save_probabilities=true")
    for compiled in ("false", "true"):
        run("predict", *here, f"output=out_{compiled}", f"trainer.compile={compiled}").worked()
    first, second = (probabilities(tmp_path / f"out_{compiled}") for compiled in ("false", "true"))
    np.testing.assert_allclose(first, second, atol=2e-3)


def probabilities(folder):
    with np.load(folder / "photo_probabilities.npz") as arrays:
        return arrays["probabilities"].astype(np.float32)


def test_predict_computes_in_the_precision_that_evaluate_has(run, trained, checkpoint, tmp_path):
    lower = "trainer.precision=bf16-mixed"
    run("evaluate", f"checkpoint={checkpoint}", "crf=none", "output=scored", lower).worked()
    shutil.copy(trained.data / "images" / "val" / "0.jpg", tmp_path / "photo.jpg")
    here = (f"checkpoint={checkpoint}", "input=photo.jpg", "crf=none", "save_probabilities=true")
    run("predict", *here, "output=half", lower).worked()
    run("predict", *here, "output=full").worked()
    with (
        Image.open(tmp_path / "half" / "photo.png") as ours,
        Image.open(tmp_path / "scored" / "predictions" / "val" / "0.png") as theirs,
    ):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    half, full = probabilities(tmp_path / "half"), probabilities(tmp_path / "full")
    np.testing.assert_allclose(half, full, atol=0.1)
    assert (half != full).any()


def test_precisions_that_do_not_fit_are_refused(run, scenes, checkpoint, tmp_path):
    predict = ("predict", f"checkpoint={checkpoint}", f"input={tmp_path}", "output=out")
    run(*predict, "trainer.precision=64-true").refused("trainer.precision=64-true", "32-true, bf16-mixed, 16-mixed")
    for command in (predict, ("evaluate", f"checkpoint={checkpoint}"), ("train", *scenes)):
        result = run(*command, "trainer.precision=16-mixed")
        result.refused("trainer.precision=16-mixed", "needs a GPU", "bf16-mixed")
        assert result.written() == set()


def test_frozen_layers_and_a_resume_in_place_are_no_reason_to_warn(run, scenes, recwarn):
    here = (*scenes, "optim.freeze_bn=true", "evaluate=none", "hydra.run.dir=run")
    run("train", *here).worked()
    run("train", *here, "optim.max_steps=3", "resume=run/checkpoints/last.ckpt").worked()
    said = [str(each.message) for each in recwarn]
    assert not [text for text in said if "eval mode" in text or "not empty" in text]
