"""`sweep=`, `jobs=`, `resume_sweep=`, and every file of conf/sweep."""

from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from deeplab.config import schema, sweep_arguments
from deeplab.config.check import check
from deeplab.config.explain import conf_dir
from deeplab.config.preflight import to_plain
from deeplab.config.sweep_arguments import expand, read_description
from deeplab.errors import InputError
from deeplab.sweeping.record import Job, SweepRecord

PLACES = ["data.root=/somewhere", "init.path=weights.pth", "trainer.accelerator=cpu"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """conf/sweep/mine.yaml of a user."""
    monkeypatch.setattr(sweep_arguments, "conf_dir", lambda: tmp_path)
    path = tmp_path / "sweep" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("jobs: {seed: [0, 1], model/head: [aspp_s, aspp_l]}\noverrides: [crf=none, optim.lr=0.1]\n")
    return path


def test_a_sweeps_file_becomes_overrides(sweep: Path) -> None:
    assert expand(["sweep=mine"]) == ["-m", "seed=0,1", "model/head=aspp_s,aspp_l", "crf=none", "optim.lr=0.1"]


def test_the_command_line_beats_a_sweeps_file(sweep: Path) -> None:
    arguments = expand(["optim.lr=0.2", "sweep=mine", "seed=7", "--config-dir", "x", "+crf=default", "jobs=3"])
    own = ["optim.lr=0.2", "seed=7", "--config-dir", "x", "+crf=default"]
    assert arguments == ["-m", "model/head=aspp_s,aspp_l", *own, "hydra.launcher.jobs=3"]


def test_without_the_keys_nothing_changes() -> None:
    arguments = ["-m", "seed=0,1", "name=x"]
    assert expand(arguments) == arguments
    assert expand([*arguments, "jobs=2"]) == [*arguments, "hydra.launcher.jobs=2"]


def test_a_sweep_goes_on_with_its_own_arguments(tmp_path: Path) -> None:
    SweepRecord(tmp_path, ["-m", "seed=0,1"], [Job(0, ["seed=0"], "0")]).save()
    more = [f"hydra.sweep.dir={tmp_path}", "hydra.launcher.resume=true"]
    assert expand([f"resume_sweep={tmp_path}"]) == ["-m", "seed=0,1", *more]
    assert expand([f"resume_sweep={tmp_path}", "jobs=2"])[-1] == "hydra.launcher.jobs=2"
    with pytest.raises(InputError, match=r"leave out optim\.lr=1; only jobs=K may differ"):
        expand([f"resume_sweep={tmp_path}", "optim.lr=1"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweep=nonsense"], "There is no sweep=nonsense; choose one of .*voc12_subset_heads"),
        (["sweep=../train"], r"There is no sweep=\.\./train"),
        (["-m", "seed=0,1", "jobs=0"], "jobs=0: it must be a whole number, at least 1"),
        (["-m", "seed=0,1", "jobs=two"], "jobs=two: it must be a whole number"),
        (["seed=0", "jobs=2"], "jobs=2 is for sweeps: add -m, or sweep=NAME"),
        (["resume_sweep=/nowhere"], r"resume_sweep=/nowhere: there is no sweep\.json in it"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        expand(arguments)


@pytest.mark.parametrize(
    "text", ["jobs: {seed: 0}\noverrides: []", "jobs: {seed: [0]}", "[]", "jobs: []\noverrides: []"]
)
def test_a_sweeps_file_of_another_form_is_refused(sweep: Path, text: str) -> None:
    sweep.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        expand(["sweep=mine"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "sweep").glob("*.yaml")))
def test_every_job_of_every_sweep_fits_the_code(name: str) -> None:
    described = read_description(name)
    keys, values = list(described["jobs"]), described["jobs"].values()
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for choice in product(*values):
            overrides = [f"{key}={value}" for key, value in zip(keys, choice, strict=True)]
            check(to_plain(compose("train", overrides=[*overrides, *described["overrides"], *PLACES])))
