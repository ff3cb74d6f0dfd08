"""What of a run's configuration tells it apart from another, and what a reader calls it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deeplab.errors import InputError

Plain = dict[str, Any]
Flat = dict[str, str]

# What changes where, how fast or how talkatively a run executes, or where its files lie, but not what it computes.
WITHOUT_EFFECT = re.compile(
    r"^(seed|name|paper|resume|logger|num_pictures|save_predictions)(\.|$)"
    r"|^trainer\.(accelerator|devices|num_nodes|strategy|compile|channels_last|num_threads|progress_bar)$"
    r"|^trainer\.(log_every_n_steps|checkpoint_every_n_steps|options\..*)$"
    r"|^data\.(root|num_workers|batch_size_per_device|palette.*)$|^data\.layout\.root$|^init\.path$"
    r"|^crf\.(workers|num_threads|every_n_validations)$"
)
# Parts that are named as one, the most telling first.
PARTS = (
    "model.head",
    "model.backbone",
    "model.multi_scale",
    "model.input",
    "init",
    "data.class_names",
    "data",
    "optim",
    "inference",
    "crf",
)
RATES = {
    ("LargeFOV", (12,)): "LargeFOV",
    ("ASPP", (2, 4, 8, 12)): "ASPP-S",
    ("ASPP", (6, 12, 18, 24)): "ASPP-L",
}
ABSENT = "–"
LONGEST_VALUE = 40  # letters of a value in a name


def read_config(folder: Path) -> Plain | None:
    """Read `.hydra/config.yaml`, its interpolations resolved; None if there is none.

    Raises InputError if it is damaged.
    """
    document = _yaml(folder / ".hydra" / "config.yaml")
    return None if document is None else _resolved(document, document)


def read_choices(folder: Path) -> dict[str, str]:
    """Read the choices of groups (`model/head: aspp_s`) that Hydra recorded; empty without a record."""
    try:
        document = _yaml(folder / ".hydra" / "hydra.yaml") or {}
        choices = document["hydra"]["runtime"]["choices"]
        return {str(key): str(value) for key, value in choices.items() if value is not None}
    except (InputError, KeyError, TypeError, AttributeError):  # only names for people are taken from it
        return {}


def _yaml(path: Path) -> Plain | None:
    if not path.is_file():
        return None
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {next(iter(str(error).splitlines()), '')}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no configuration")
    return document


def _resolved(node: Any, whole: Plain) -> Any:
    """Replace `${a.b}`; Hydra's record keeps them, and the project uses them one level deep."""
    if isinstance(node, dict):
        return {key: _resolved(value, whole) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, whole) for value in node]
    if not isinstance(node, str):
        return node
    if exact := re.fullmatch(r"\$\{([\w.]+)\}", node):
        return _at(whole, exact[1])
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(_at(whole, match[1])), node)


def _at(whole: Any, path: str) -> Any:
    for key in path.split("."):
        whole = whole.get(key) if isinstance(whole, dict) else None
    return whole


def flatten(config: Plain) -> Flat:
    """Return the leaves that change what a run computes, `optim.lr` -> text."""
    return {key: text for key, text in _leaves(config, "") if not WITHOUT_EFFECT.search(key)}


def _leaves(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, _text(node)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def part_of(key: str) -> str:
    """Return the part that a key belongs to; a key outside all parts is its own."""
    return next((part for part in PARTS if key == part or key.startswith(f"{part}.")), key)


def differing(flats: Sequence[Flat]) -> list[str]:
    """Return the keys whose values differ, or that some lack where others have more than null."""
    keys = dict.fromkeys(key for flat in flats for key in flat)
    return [key for key in keys if len({flat.get(key, "null") for flat in flats}) > 1]


def identity(flat: Flat) -> tuple[tuple[str, str], ...]:
    """Return what two configurations that compute the same have in common.

    A key that the version of one run did not have yet is null for the other where nothing else was asked for.
    """
    return tuple(sorted((key, text) for key, text in flat.items() if text != "null"))


def describe(part: str, config: Plain, choices: Mapping[str, str], flat: Flat, keys: Sequence[str]) -> str:
    """Name a part of a configuration as the field does: ASPP-L, vgg16, no CRF, optim.lr=0.01.

    `keys` are those of the part that differ between the configurations at hand.
    """
    node = _at(config, part)
    if part == "model.head" and isinstance(node, dict):
        return _head(node, (_at(config, "model.backbone") or {}).get("output_stride"))
    if part == "model.backbone" and isinstance(node, dict):
        named = choices.get("model/backbone") or str(node.get("_target_", "")).rpartition(".")[2]
        return _with_values(named, part, [key for key in keys if not key.endswith("_target_")], flat)
    if part == "model.multi_scale":
        return "MSC" if node else "single scale"
    if part == "crf" and isinstance(node, dict):
        return _crf(node) if not _only_other(keys) else _values(keys, flat)
    if part == "data" and isinstance(node, dict) and "data.name" in keys:
        return str(node.get("name"))
    if part == "data.class_names":
        return f"classes {shortened(flat.get(part, ABSENT))}"
    return _values(keys, flat)


def _head(node: Plain, stride: Any) -> str:
    """The paper's name where the rates see as many pixels as the paper's, which are at an output stride of 8."""
    name = str(node.get("_target_", "")).rpartition(".")[2].removeprefix("Direct")
    rates = node.get("rates", node.get("rate"))
    rates = tuple(rates) if isinstance(rates, list) else () if rates is None else (rates,)
    finer = stride / 8 if isinstance(stride, int) else 1
    for factor, where in ((1, ""), (finer, f" at stride {stride}")):
        if known := RATES.get((name, tuple(rate * factor for rate in rates))):
            return known + where
    if len(rates) == 1 and "rate" in node:
        return f"{name} rate {rates[0]}"
    return f"{name} {'-'.join(map(str, rates))}".rstrip()


def _crf(node: Plain) -> str:
    if node.get("backend") == "none":
        return "no CRF"
    kernels = [_text(node.get(f"bilateral_{key}")) for key in ("weight", "xy_std", "rgb_std")]
    smooth = [_text(node.get(f"gaussian_{key}")) for key in ("weight", "xy_std")]
    return f"CRF {'/'.join(kernels)}, {'/'.join(smooth)}"


def _only_other(keys: Sequence[str]) -> bool:
    return not any(key.startswith(("crf.bilateral", "crf.gaussian", "crf.backend")) for key in keys)


def _with_values(name: str, part: str, keys: Sequence[str], flat: Flat) -> str:
    shown = [f"{key.removeprefix(f'{part}.')}={shortened(flat.get(key, ABSENT))}" for key in keys]
    return name if not shown or len(shown) > 2 else f"{name} {', '.join(shown)}"


def _values(keys: Sequence[str], flat: Flat) -> str:
    shown = [f"{key}={shortened(flat.get(key, ABSENT))}" for key in keys[:3]]
    return ", ".join(shown) + (f", and {len(keys) - 3} more" if len(keys) > 3 else "")


def shortened(text: str) -> str:
    """Return a value short enough for a name: the list of 150 classes that one run has and another has not."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
