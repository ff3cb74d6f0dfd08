"""Every command in the documents is composed, preflighted and built as far as that needs no data; Python blocks run."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from deeplab.cli import COMMANDS
from deeplab.compare import with_runs
from deeplab.config import schema
from deeplab.config.build import build_inference, build_network, freeze
from deeplab.config.build_crf import build_crf_params
from deeplab.config.check import GIVEN_LATER, check, check_crop, check_numbers
from deeplab.config.explain import added_keys, conf_dir, primary_config
from deeplab.config.from_checkpoint import overlay
from deeplab.config.help import PAGES
from deeplab.config.launch import quote_paths
from deeplab.config.options import apart
from deeplab.config.preflight import preflight, to_plain
from deeplab.config.sweep_arguments import KEYS, expand
from deeplab.convert_weights import named
from deeplab.crf_search.cells import grid
from deeplab.preparation.prepare import recipe
from deeplab.runs import options
from deeplab.search_inputs import overlay_crf
from deeplab.submission.formats import server_format
from deeplab.sweeping.record import SweepRecord
from documents import ROOT, blocks, shell_lines, users_files

PLACES = {"data.root": "/somewhere", "data.class_names": "[background,thing]", "init.path": "weights.pth"}


@dataclass(frozen=True)
class Command:
    """The words of a command after its program, as the shell splits them, and its flags apart."""

    overrides: list[str]
    flags: dict[str, str]


@pytest.fixture(autouse=True)
def hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in users_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = tmp_path / "outputs/search_crf/TIME/crf/best.yaml"  # as deeplab search-crf leaves it
    found.parent.mkdir(parents=True)
    found.write_text("defaults: [default, _self_]\nbilateral_xy_std: 30\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    begun = SweepRecord(tmp_path / "outputs/sweeps/TIME", ["-m", "experiment=demo", "seed=0,1"])
    begun.save()
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def parsed(words: list[str]) -> Command:
    """Tell flags from overrides; a flag that is not known here is refused."""
    flags: dict[str, str] = {}
    overrides: list[str] = []
    ended = False
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if name.startswith("-"):
            ended = bool(overrides)
        if name in ("--config-dir", "--cfg"):
            flags[name] = value or next(rest)
        elif name in ("-m", "--multirun", "--help"):
            flags[name] = ""
        else:
            assert not word.startswith("-"), f"unknown flag {word}"
            assert not ended, f"{word}: a flag stands between overrides, which argparse does not take"
            overrides.append(word)
    overrides = quote_paths(["-m", *overrides])[1:] if "-m" in flags else quote_paths(overrides)
    return Command(overrides, flags)


def jobs(overrides: list[str], sweeps: bool) -> list[list[str]]:
    """As many jobs as it takes to see every value of `-m`; without it, the one job, in which nothing may sweep."""
    values = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            assert sweeps, f"{override.input_line} has several values, but there is no -m"
            value = override.value()
            ends = [value.start, value.end] if isinstance(value, IntervalSweep) else override.sweep_string_iterator()
            values.append([f"{override.get_key_element()}={end}" for end in ends])
        else:
            values.append([override.input_line or ""])
    return [[each[job % len(each)] for each in values] for job in range(max(map(len, values), default=1))]


def composed(name: str, overrides: list[str], flags: dict[str, str]) -> DictConfig:
    if "--config-dir" in flags:
        folder = Path(flags["--config-dir"]).resolve()
        assert folder.is_dir(), f"--config-dir {flags['--config-dir']}: no document says what is in it"
        overrides = [*overrides, f"hydra.searchpath=[file://{folder}]"]
    config = compose(primary_config(name), overrides=overrides)
    assert list(added_keys(config)) == []
    return config


def plain_training(overrides: list[str], flags: dict[str, str] | None = None) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(composed("train", overrides, flags or {}))
    if plain["trainer"]["accelerator"] == "gpu":
        plain["trainer"]["accelerator"] = "cpu"  # whether there is one is another question
    return plain


def train(overrides: list[str], flags: dict[str, str]) -> None:
    plain = plain_training(overrides, flags)
    check(plain)
    with torch.device("meta"):
        network = build_network(plain["model"], len(plain["data"]["class_names"]))
    check_crop(plain, network)
    freeze(network, plain["optim"]["freeze"])
    build_inference(plain["inference"])
    build_crf_params(plain["crf"])


def model(overrides: list[str], flags: dict[str, str]) -> None:
    config = composed("model", overrides, flags)
    section = to_plain(config.model)
    preflight({"model": section}, GIVEN_LATER)
    with torch.device("meta"):
        build_network(section, len(config.data.class_names))


def _is_missing(config: DictConfig, section: str, key: str) -> bool:
    return OmegaConf.is_missing(config[section], key)


@cache
def carried_by_checkpoint(experiment: str) -> dict[str, Any]:
    users = Path("my_conf").resolve()  # experiments that a document tells to write
    chosen = [f"experiment={experiment}", f"hydra.searchpath=[file://{users}]"]
    config = compose("train", overrides=chosen)
    missing = [f"{key}={value}" for key, value in PLACES.items() if _is_missing(config, *key.split("."))]
    return plain_training([*chosen, *missing])


def over_checkpoint(config: DictConfig) -> None:
    """The checkpoint is one of the experiment in whose folder it lies."""
    folder = re.match(r"outputs/(\w+)/TIME/checkpoints/(best|last)\.ckpt$", config.checkpoint)
    assert folder, f"checkpoint={config.checkpoint}: write outputs/EXPERIMENT/TIME/checkpoints/best.ckpt"
    plain = overlay(carried_by_checkpoint(folder[1]), config)
    check_numbers(plain)
    preflight(plain["data"])
    build_inference(plain["inference"])
    build_crf_params(plain["crf"])


def evaluate(overrides: list[str], flags: dict[str, str]) -> None:
    config = composed("evaluate", overrides, flags)
    to_plain(config)
    over_checkpoint(config)


def predict(overrides: list[str], flags: dict[str, str]) -> None:
    config = composed("predict", overrides, flags)
    to_plain(config)
    over_checkpoint(config)


def refine_scores(overrides: list[str], flags: dict[str, str]) -> None:
    build_crf_params(to_plain(composed("crf", overrides, flags))["crf"])


def search_crf(overrides: list[str], flags: dict[str, str]) -> None:
    config = composed("search-crf", overrides, flags)
    own = to_plain(config)
    grid(own["search"]["coarse"])
    assert (own["checkpoint"] is None) != (own["probs"] is None)
    if own["checkpoint"] is not None:
        over_checkpoint(config)
        return
    build_crf_params(overlay_crf(config))
    assert ("layout" in own["data"]) != (own["images"] is not None and own["labels"] is not None)
    preflight(own["data"])


def compare(overrides: list[str], flags: dict[str, str]) -> None:
    assert to_plain(composed("compare", overrides, flags))["runs"]


def check_data(overrides: list[str], flags: dict[str, str]) -> None:
    preflight({"data": to_plain(composed("data check", overrides, flags))["data"]})


def prepare_data(overrides: list[str], flags: dict[str, str]) -> None:
    own = to_plain(composed("data prepare", overrides, flags))
    known = [original.archive for original in recipe(own["data"]["name"], own["data"]["class_names"]).originals]
    assert set(own["archives"]) <= set(known)


def validate_archive(overrides: list[str], flags: dict[str, str]) -> None:
    server_format(to_plain(composed("data validate", overrides, flags))["format"], "format")


def rerun(overrides: list[str], flags: dict[str, str]) -> None:
    folder, *given = overrides
    assert re.match(r"outputs/(\w+/)+TIME(/\d+)?$", folder), f"{folder}: write outputs/EXPERIMENT/TIME"
    composed("train", given, flags)


def convert_weights(overrides: list[str], flags: dict[str, str]) -> None:
    to_plain(composed("weights convert", overrides, flags))


CHECKS = {
    "train": train,
    "model": model,
    "evaluate": evaluate,
    "predict": predict,
    "crf": refine_scores,
    "search-crf": search_crf,
    "compare": compare,
    "data check": check_data,
    "data prepare": prepare_data,
    "data validate": validate_archive,
    "weights convert": convert_weights,
}


def command_of(line: str) -> str:
    """The command that a line calls; some have two words."""
    words = line.split()[1:]
    found = [" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in COMMANDS]
    assert found, f"{line}: there is no such command"
    return found[0]


def check_line(line: str) -> None:
    """Raise whatever is wrong with a command line."""
    _, *words = shlex.split(line, comments=True)
    if words == ["--help"]:
        return
    name = command_of(line)
    if name == "runs":  # no command of Hydra's
        options(words[1:])
        return
    words = words[1 + name.count(" ") :]
    if name == "train" and set(KEYS) & {word.split("=")[0] for word in words}:
        words = [word for part in apart(expand(words)) for word in part]
    before = {"compare": with_runs, "weights convert": named}.get(name, list)
    command = parsed(before(words))
    if command.flags.keys() & {"--help", "--cfg"}:
        composed(name, command.overrides, command.flags)
        return
    if name == "rerun":  # its first argument is a folder
        rerun(command.overrides, command.flags)
        return
    for job in jobs(command.overrides, "-m" in command.flags):
        CHECKS[name](job, command.flags)


@pytest.mark.parametrize("line", shell_lines("deeplab"))
def test_every_deeplab_command_fits(line: str) -> None:
    check_line(line)


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in PAGES["train"].examples])
def test_the_examples_of_train_s_help_fit(arguments: str) -> None:
    check_line(f"deeplab train {arguments}")


def test_every_command_has_an_example() -> None:
    lines = [param.values[0] for param in shell_lines("deeplab") if "--help" not in param.values[0]]
    shown = {command_of(line) for line in lines}
    assert shown >= set(COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "deeplab trian experiment=demo",
        "deeplab train experiment=dmeo",
        "deeplab train model/head=aspp_xl",
        "deeplab train optim.learning_rate=1",
        "deeplab train optim.lr=fast",
        "deeplab train data.layout.seeds=1",
        "deeplab train +data.layout.seeds=1",
        "deeplab train data.crop_size=160",
        "deeplab train data=folder",
        "deeplab train optim.lr=1,2",
        "deeplab train --multi experiment=demo",
        "deeplab train seed=1 --config-dir my_conf experiment=demo",
        "deeplab train --config-dir nowhere experiment=demo",
        "deeplab train --cfg job experiment=dmeo",
        "deeplab train -m experiment=demo model/head=aspp_s,aspp_xl",
        "deeplab train sweep=nonsense",
        "deeplab train experiment=demo jobs=2",
        "deeplab train resume_sweep=outputs/sweeps/OTHER",
        "deeplab model model/backbone=vgg19",
        "deeplab evaluate",
        "deeplab evaluate checkpoint=best.ckpt",
        "deeplab evaluate checkpoint=outputs/dmeo/TIME/checkpoints/best.ckpt",
        "deeplab evaluate checkpoint=outputs/demo/TIME/checkpoints/best.ckpt data=voc12 data.root=x",
        "deeplab evaluate checkpoint=outputs/demo/TIME/checkpoints/best.ckpt +data.crop=3",
        "deeplab evaluate checkpoint=outputs/demo/TIME/checkpoints/best.ckpt crf.sigma=3",
        "deeplab predict checkpoint=outputs/demo/TIME/checkpoints/best.ckpt input=photos",
        "deeplab predict checkpoint=outputs/demo/TIME/checkpoints/best.ckpt input=photos output=x inference.scale=1",
        "deeplab crf images=photos probs=scores",
        "deeplab rerun seed=1",
        "deeplab rerun outputs/demo/TIME sead=1",
        "deeplab crf images=photos probs=scores output=x crf.sigma=3",
        "deeplab data",
        "deeplab data chekc data=voc12 data.root=x",
        "deeplab data check",
        "deeplab data check data=voc12",
        "deeplab data prepare data=voc12",
        "deeplab data prepare data=scenes root=x",
        "deeplab data prepare data=voc12 root=x archives=[other.tar]",
        "deeplab data validate archive=x.tgz format=voc",
        "deeplab weights convert a.caffemodel",
        "deeplab weights convert a.caffemodel b.pth filters=3",
        "deeplab search-crf",
        "deeplab search-crf probs=scores",
        "deeplab search-crf probs=scores images=photos",
        "deeplab search-crf probs=scores images=photos labels=masks search.coarse.sigma=[1]",
        "deeplab search-crf checkpoint=outputs/demo/TIME/checkpoints/best.ckpt search.num_picture=3",
    ],
)
def test_a_command_that_names_what_is_not_there_is_found(line: str) -> None:
    with pytest.raises((AssertionError, ValueError, HydraException, OmegaConfBaseException)):
        check_line(line)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("line", [*shell_lines("make"), "make test-all", "make lint", "make setup"])
def test_every_make_target_is_there(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    done = subprocess.run([program, "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def write_checkpoint(path: Path) -> None:
    """As training leaves it, of a narrow network with random weights."""
    plain = plain_training(["experiment=demo", "model.backbone.width=0.125"])
    network = build_network(plain["model"], len(plain["data"]["class_names"]))
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": tensors, "deeplab": {"config": plain}}, path)


@pytest.fixture
def readers_files(tmp_path: Path) -> None:
    """What the Python blocks read, in the current folder."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save("photo.jpg")
    np.savez(
        "photo_probabilities.npz", probabilities=rng.dirichlet(np.ones(3), (24, 32)).transpose(2, 0, 1).astype("f2")
    )
    for folder in ("colour_masks", "my_data/masks", "outputs/demo/TIME"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0]]], dtype=np.uint8)
    Image.fromarray(colours).save("colour_masks/a.png")
    matrices = np.array([[[6, 2], [0, 4]], [[8, 0], [0, 0]], [[0, 0], [3, 1]]], dtype=np.int32)
    run = {"ids": np.array(["a1", "b2", "c1"]), "confusion": matrices, "confusion_crf": matrices}
    np.savez("outputs/demo/TIME/per_picture.npz", **run)
    write_checkpoint(Path("outputs/demo/TIME/checkpoints/best.ckpt"))


@pytest.mark.usefixtures("readers_files")
def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks():
        if block.language == "python":
            exec(compile(block.text, block.where, "exec"), names := {})
            if "refine" in names:
                assert names["labels"].shape == (24, 32) and names["labels"].max() < 8
            if "largest" in names:
                assert names["labels"].shape == (24, 32) and names["probabilities"].shape == (8, 24, 32)
    assert Path("photo_overlay.png").is_file() and Path("network.pt2").is_file()
    assert np.array(Image.open("my_data/masks/a.png")).tolist() == [[0, 1, 255]]
    # Pictures a1 and c1: [[6, 2], [3, 5]], IoU 6/11 and 5/10.
    assert capsys.readouterr().out == f"mIoU after the CRF: {(6 / 11 + 5 / 10) / 2}\n"
