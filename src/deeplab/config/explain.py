"""What Hydra and OmegaConf refuse, in one sentence: what, where and the remedy."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

KINDS = {"Integer": "a whole number", "Float": "a number"}


def conf_dir() -> Path:
    """The folder `conf`: beside this package in an installed wheel, at the repository's top in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def primary_config(command: str) -> str:
    """The name of a command's file in `conf`: `data check` has data_check.yaml."""
    return command.replace("-", "_").replace(" ", "_")


def group_options() -> dict[str, list[str]]:
    """The groups below `conf` with the choices that each has."""
    options: dict[str, list[str]] = {}
    for path in sorted(conf_dir().rglob("*.yaml")):
        group = path.parent.relative_to(conf_dir()).as_posix()
        if group != "." and not group.startswith("hydra"):
            options.setdefault(group, []).append(path.stem)
    return options


def explain(error: Exception) -> str:
    """One sentence for an exception of Hydra, OmegaConf or the YAML reader."""
    text, cause = " ".join(str(error).split()), error.__cause__
    for each in (error, cause):
        if isinstance(each, ConfigKeyError | ConfigAttributeError) and isinstance(each.parent_node, DictConfig):
            return unknown_key(str(each.full_key or each.key), each.parent_node)
    if isinstance(error, OverrideParseException):
        return _unparsable(error)
    if absent := re.search(
        r"Could not find '(.*?)/([^/]*)' Available options in '.*?': (.*?) Config search path", text
    ):
        group, choice, options = absent.groups()
        return f"There is no {group}={choice}; choose one of {', '.join(options.split())}."
    if several := re.match(r"Ambiguous value for argument '(.*?)' 1\. To use it as a list", text):
        return f"{several[1]}: add -m to run a job for each value, or write [...] around a list, quotes around a text."
    if merging := re.search(r"Error merging override (.*)", text):
        return f"{merging[1]}: {_wrong_value(cause)}."
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {_wrong_value(error)}."
    detail = f" ({_first_line(cause)})" if cause is not None and str(cause) not in str(error) else ""
    return f"{text.rstrip('.')}{detail}."


def unknown_key(full: str, parent: DictConfig) -> str:
    """The sentence for a key that the section `parent` does not have, with what it has."""
    section = full.rpartition(".")[0]
    known = sorted(str(key) for key in parent if str(key) != full.rpartition(".")[2] and _is_users(str(key)))
    groups = [group for group in group_options() if group != full]
    everywhere = list(_paths(OmegaConf.to_container(parent._get_root()), ""))
    near = _nearest(full, [f"{section}.{key}" for key in known] if section else [*known, *groups], everywhere)
    sentence = f"There is no key {full}" + (f"; did you mean {near}?" if near else ".")
    # Among the parameters of a _target_ a new key can be right: Hydra adds it with a plus.
    if section and OmegaConf.get_type(parent) is dict and OmegaConf.is_struct(parent):
        sentence += f" +{full}=VALUE adds one."
    return f"{sentence} Known{f' in {section}' if section else ''}: {', '.join(known) or 'nothing yet'}."


def added_keys(config: DictConfig) -> Iterator[str]:
    """A sentence for every key that `+KEY=VALUE` brought into a section whose keys are fixed."""
    fixed = getattr(OmegaConf.get_type(config), "__dataclass_fields__", None)
    key: Any  # a str, or the int of a label_map
    for key in config:
        if fixed is not None and key not in fixed and _is_users(str(key)):
            yield unknown_key(str(config._get_full_key(key)), config)
        elif not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, key):
            value = config[key]
            if isinstance(value, DictConfig):
                yield from added_keys(value)


def _is_users(key: str) -> bool:
    return key != "hydra" and not key.startswith("_")


def _paths(node: Any, section: str) -> Iterator[str]:
    """All keys of a configuration in plain dicts, as on the command line."""
    if isinstance(node, dict):
        for key, value in node.items():
            if _is_users(str(key)):
                path = f"{section}.{key}" if section else str(key)
                yield path
                yield from _paths(value, path)


def _nearest(given: str, known: list[str], everywhere: list[str]) -> str | None:
    """A group or a key of the same name, in whatever section, or else one in `known` that is spelt nearly so."""
    of_groups = [each for each in known if each.rpartition("/")[2] == given]
    name = given.rpartition(".")[2]
    of_keys = sorted(
        (each for each in everywhere if each != given and each.rpartition(".")[2] == name),
        key=lambda each: (each.count("."), each),
    )
    return next(iter(of_groups or of_keys or get_close_matches(given, known, 1, 0.75)), None)


def _unparsable(error: OverrideParseException) -> str:
    if "=" not in error.override:
        return f"'{error.override}' is no override: write KEY=VALUE."
    if any(error.override.count(left) > error.override.count(right) for left, right in ("{}", "[]", "()")):
        return (
            f"{error.override}: a bracket is not closed, as where the shell cuts a value at a space; put the whole in "
            "quotes, 'KEY=VALUE'."
        )
    reason = re.sub(r"^Error parsing override '.*?' | See https://.*$", "", " ".join(str(error).split()))
    return f"{error.override}: {reason}; put quotes around a value with special characters, KEY='\"VALUE\"'."


def _wrong_value(error: BaseException | None) -> str:
    first = _first_line(error) if error is not None else "this value does not fit"
    if conversion := re.search(r"Value (.*) of type '\w+' could not be converted to (Integer|Float)", first):
        return f"{conversion[1]} is not {KINDS[conversion[2]]}"
    if boolean := re.search(r"Value (.*) is not a valid bool", first):
        return f"{boolean[1]} is not true or false"
    if "is not Optional" in first:
        return "null is not allowed here; give a value or leave the key out"
    return first.rstrip(".")


def _first_line(error: Any) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
