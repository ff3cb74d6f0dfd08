"""Every file in conf/ is composed and preflighted."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from deeplab.config import schema
from deeplab.config.build import build_inference, build_network
from deeplab.config.build_crf import build_crf_params
from deeplab.config.check import AT_LEAST, check, check_crop, check_numbers
from deeplab.config.explain import conf_dir
from deeplab.config.preflight import preflight, to_plain
from deeplab.errors import InputError
from deeplab.models.complexity import layer_costs

CONF = conf_dir()
GROUPS = sorted(
    {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")} - {".", "hydra/job_logging", "sweep"}
)
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
FILES = [
    f"{group}={path.stem}"
    for group in GROUPS
    if group != "experiment"
    for path in sorted((CONF / group).glob("*.yaml"))
]
PLACES = ["data.root=/somewhere", "init.path=weights.pth", "data.class_names=[background,thing]"]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    schema.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


def composed(overrides: list[str], command: str = "train") -> dict[str, Any]:
    """The plain configuration, composed once; places are filled in where they are missing."""
    return deepcopy(_composed(tuple(overrides), command))


@cache
def _composed(overrides: tuple[str, ...], command: str) -> dict[str, Any]:
    config = compose(command, overrides=list(overrides))
    for place in PLACES:
        key, value = place.split("=")
        section, name = key.split(".")
        if OmegaConf.is_missing(config[section], name):
            OmegaConf.update(config, key, value.strip("[]").split(",") if value[0] == "[" else value)
    plain: dict[str, Any] = to_plain(config)
    return plain


@pytest.mark.parametrize("choice", FILES)
def test_every_choice_fits_the_code(choice: str) -> None:
    plain = composed([choice])
    if choice == "trainer=gpu":
        plain["trainer"]["accelerator"] = "cpu"  # whether there is one is another question
    check(plain)
    build_inference(plain["inference"])
    build_crf_params(plain["crf"])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_fits_the_code(experiment: str) -> None:
    plain = composed([f"experiment={experiment}"])
    plain["trainer"]["accelerator"] = "cpu"
    check(plain)
    assert plain["name"] == experiment
    with torch.device("meta"):
        network = build_network(plain["model"], len(plain["data"]["class_names"]))
    assert (plain["data"]["crop_size"] - 1) % network.size_multiple == 0


@pytest.mark.parametrize(
    ("experiment", "parameters"),
    [
        ("voc12_vgg16_kernel7_rate4", 134_346_581),  # Table 1: 134.3 M
        ("voc12_vgg16_kernel4_rate4", 65_140_565),  # 65.1 M
        ("voc12_vgg16_kernel4_rate8", 65_140_565),  # 65.1 M
        ("voc12_vgg16_kernel3_rate12", 20_505_429),  # 20.5 M
        ("voc12_vgg16_large_fov", 20_505_429),
        ("voc12_vgg16_poly_batch10_20k", 20_505_429),
        ("voc12_vgg16_aspp_s", 37_877_652),
        ("voc12_vgg16_aspp_l", 37_877_652),
        ("voc12_resnet101", 42_543_189),
        ("voc12_resnet101_aspp_l", 44_048_532),
    ],
)
def test_the_tables_rows_have_the_papers_parameters(experiment: str, parameters: int) -> None:
    config = composed([f"experiment={experiment}"])
    with torch.device("meta"):
        network = build_network(config["model"], len(config["data"]["class_names"]))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def vgg16(fc6_kernel: int, hidden: int, branches: int = 1, classes: int = 21) -> int:
    """Multiply-adds for 321x321 by hand: 321, 161, 81 and 41 are the sides, 13 layers of 3x3 and the branches."""
    trunk = [(321, 3, 64), (321, 64, 64), (161, 64, 128), (161, 128, 128), (81, 128, 256), *[(81, 256, 256)] * 2]
    trunk += [(41, 256, 512), *[(41, 512, 512)] * 5]
    branch = 41**2 * (512 * fc6_kernel**2 * hidden + hidden * hidden + hidden * classes)
    return sum(side**2 * before * after * 9 for side, before, after in trunk) + branches * branch


def resnet101(*sizes: int, head: int, classes: int = 21) -> int:
    """Multiply-adds by hand, for pictures of these sizes; `head` is the number of weights a class and channel."""
    total = 0
    for size in sizes:
        half, quarter, eighth = (size + 1) // 2, (size + 3) // 4, (size + 7) // 8
        total += half**2 * 3 * 64 * 49
        before = 64
        for width, blocks, side in ((64, 3, quarter), (128, 4, eighth), (256, 23, eighth), (512, 3, eighth)):
            shortcut = before * 4 * width
            first = before * width + 9 * width**2 + 4 * width**2
            others = 4 * width**2 + 9 * width**2 + 4 * width**2
            total += side**2 * (shortcut + first + (blocks - 1) * others)
            before = 4 * width
        total += eighth**2 * 2048 * head * classes
    return total


@pytest.mark.parametrize(
    ("experiment", "multiply_adds"),
    [
        ("voc12_vgg16_kernel7_rate4", vgg16(7, 4096)),
        ("voc12_vgg16_kernel4_rate4", vgg16(4, 4096)),
        ("voc12_vgg16_kernel4_rate8", vgg16(4, 4096)),
        ("voc12_vgg16_large_fov", vgg16(3, 1024)),
        ("voc12_vgg16_aspp_s", vgg16(3, 1024, branches=4)),
        ("voc12_vgg16_aspp_l", vgg16(3, 1024, branches=4)),
        ("voc12_resnet101", resnet101(321, head=1)),
        pytest.param("voc12_resnet101_msc", resnet101(321, 241, 161, head=1), marks=pytest.mark.slow),
        pytest.param("voc12_resnet101_large_fov", resnet101(321, 241, 161, head=9), marks=pytest.mark.slow),
        ("voc12_resnet101_aspp_l", resnet101(321, 241, 161, head=4 * 9)),
        pytest.param(
            "pascal_context_resnet101_aspp_l", resnet101(321, 241, 161, head=4 * 9, classes=60), marks=pytest.mark.slow
        ),
        pytest.param(
            "person_part_resnet101_aspp_l", resnet101(321, 241, 161, head=4 * 9, classes=7), marks=pytest.mark.slow
        ),
    ],
)
def test_the_tables_rows_have_the_multiply_adds_of_their_formulas(experiment: str, multiply_adds: int) -> None:
    config = composed([f"experiment={experiment}"])
    with torch.device("meta"):
        network = build_network(config["model"], len(config["data"]["class_names"]))
    size = config["data"]["crop_size"]
    assert sum(row.multiply_adds for row in layer_costs(network, size, size)) == multiply_adds


def test_multiply_adds_are_half_of_what_torch_counts() -> None:
    config = composed(["experiment=cityscapes_resnet101_aspp_l"])
    with torch.device("meta"):
        network = build_network(config["model"], 19).eval()
        picture = torch.empty(1, 3, 129, 257)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(picture)
    assert counter.get_total_flops() == 2 * sum(row.multiply_adds for row in layer_costs(network, 129, 257))


@pytest.mark.parametrize("backbone", ["vgg16", "resnet18", "mobilenetv2"])
@pytest.mark.parametrize("head", ["classifier", "large_fov", "aspp_s", "aspp_l"])
def test_every_head_fits_every_backbone(backbone: str, head: str) -> None:
    plain = composed([f"model/backbone={backbone}", f"model/head={head}"])
    with torch.device("meta"):
        network = build_network(plain["model"], 21)
    assert type(network.head).__name__.startswith("Direct") == (backbone != "vgg16" and head != "classifier")


def test_the_command_line_beats_the_experiment() -> None:
    plain = composed(["experiment=voc12_vgg16_aspp_s", "model/head=large_fov", "optim.lr=0.5", "crf=kazuto"])
    assert plain["model"]["head"]["_target_"].endswith("heads.LargeFOV")
    assert plain["optim"]["lr"] == 0.5
    assert plain["crf"]["bilateral_xy_std"] == 67


def test_the_papers_numbers_are_fractions_in_every_experiment_of_a_table() -> None:
    rows = {name: composed([f"experiment={name}"])["paper"] for name in EXPERIMENTS}
    carried = {name: paper for name, paper in rows.items() if paper is not None}
    assert carried["voc12_vgg16_aspp_l"] == {"table": "3", "row": "ASPP-L", "miou": 0.6896, "miou_crf": 0.7157}
    assert all(0 < paper["miou"] < 1 for paper in carried.values())
    # Where the paper gives no number after the CRF, the experiment runs none.
    after = {name: paper["miou_crf"] for name, paper in carried.items()}
    assert all(value is None or carried[name]["miou"] < value < 1 for name, value in after.items())
    without = {name for name in carried if composed([f"experiment={name}"])["crf"]["backend"] == "none"}
    assert without == {name for name, value in after.items() if value is None}


@pytest.mark.parametrize("table", sorted((CONF / "sweep").glob("table*.yaml")), ids=lambda path: path.stem)
def test_every_row_of_a_sweep_is_of_its_table(table: Path) -> None:
    rows = OmegaConf.load(table).jobs.experiment
    tables = {row: composed([f"experiment={row}"])["paper"]["table"] for row in rows}
    number = table.stem.removeprefix("table")
    others = {row for row, found in tables.items() if found != number}
    assert others <= ({"voc12_vgg16_kernel3_rate12"} if number == "2" else set())  # a row of Tables 1 and 2
    apart = {
        "6": {"pascal_context_vgg16_large_fov"},
        "9": {"cityscapes_vgg16_large_fov", "cityscapes_vgg16_large_fov_half"},
    }
    papers = {name: composed([f"experiment={name}"])["paper"] for name in EXPERIMENTS}
    missing = {name for name, paper in papers.items() if paper and paper["table"] == number} - set(rows)
    assert missing == apart.get(number, set())


def test_all_mismatches_are_reported_at_once_with_their_places() -> None:
    plain = composed([])
    plain["model"]["head"]["ratez"] = [1]
    plain["model"]["backbone"]["_target_"] = "deeplab.models.nowhere.Net"
    del plain["optim"]["schedule"]["max_steps"]
    with pytest.raises(InputError) as caught:
        check(plain)
    text = str(caught.value)
    assert "model.head.ratez is not a parameter of deeplab.models.heads.DirectASPP" in text
    assert "model.backbone._target_=deeplab.models.nowhere.Net cannot be imported" in text
    assert "optim.schedule.max_steps is missing" in text
    assert "\n" not in text


def test_a_value_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(InputError, match=r"part\._target_=deeplab\.__version__ cannot be"):
        preflight({"part": {"_target_": "deeplab.__version__"}})


def test_missing_values_are_named() -> None:
    with pytest.raises(InputError, match=r"No value for data\.root; give it on the command line as data\.root=VALUE"):
        to_plain(compose("train", overrides=["data=voc12"]))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optim.loss_group=3", r"optim\.loss_group=3 does not divide .*choose one of \[1, 2, 5, 10\]"),
        ("evaluate=worst", "evaluate=worst: choose best, last or none"),
        ("trainer=gpu", "this machine has no GPU"),
        ("optim.max_steps=0", r"optim\.max_steps=0: it must be at least 1"),
        ("seed=4294967296", "seed=4294967296: it must be less than"),
    ],
)
def test_values_that_cannot_work_are_refused(override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check(composed([override]))


@pytest.mark.parametrize("key", AT_LEAST)
def test_numbers_that_are_too_small_are_refused(key: str, small: dict[str, Any]) -> None:
    *sections, name = key.split(".")
    config = small
    for section in sections:
        config = config[section]
    config[name] = AT_LEAST[key]
    check_numbers(small)
    config[name] -= 1
    with pytest.raises(InputError, match=f"{key}={config[name]}: it must be at least {AT_LEAST[key]}"):
        check_numbers(small)


@pytest.fixture(scope="module")
def plain_once() -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return composed([])


@pytest.fixture
def small(plain_once: dict[str, Any]) -> dict[str, Any]:
    return deepcopy(plain_once)


def test_a_crop_off_the_grid_is_refused_with_the_nearest() -> None:
    plain = composed(["data.crop_size=160"])
    with pytest.raises(InputError, match=r"data\.crop_size=160 .* 145 or 161"):
        check_crop(plain, build_network(plain["model"], 8))


def test_a_backbone_that_refuses_its_value_is_one_sentence() -> None:
    plain = composed(["model.backbone.output_stride=5"])
    with pytest.raises(InputError, match="output_stride=5: choose one of"):
        build_network(plain["model"], 3)
