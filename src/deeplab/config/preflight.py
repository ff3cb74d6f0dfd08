"""Before any work: import every `_target_`, bind its keys to the signature, report all mismatches at once."""

import inspect
import math
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deeplab.config.explain import explain
from deeplab.errors import InputError

LISTS = (list, tuple, Sequence)
HYDRA_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}


def to_plain(config: Any) -> Any:
    """The node as plain dicts and lists, interpolations resolved, so that nothing past this point knows OmegaConf.

    Raises InputError naming every value that is still missing (`???`), an interpolation that leads nowhere, or a number
    that is NaN, infinite or beyond 64 bits.
    """
    if not OmegaConf.is_config(config):
        return config
    missing = list(_missing(config, ""))
    if missing:
        keys = ", ".join(missing)
        pronoun = "it" if len(missing) == 1 else "them"
        raise InputError(f"No value for {keys}; give {pronoun} on the command line as {missing[0]}=VALUE.")
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from error
    # Unresolved, so that the key is named where the number stands.
    for path, number in _numbers(OmegaConf.to_container(config), ""):
        if not math.isfinite(number):
            raise InputError(f"{path}={number}: give a finite number.")
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            raise InputError(f"{path}={number}: it must fit into 64 bits.")
    return plain


def _numbers(node: Any, path: str) -> Iterator[tuple[str, int | float]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _numbers(value, f"{path}[{index}]")
    elif isinstance(node, int | float):
        yield path, node


def _missing(config: Any, path: str) -> Iterator[str]:
    """Paths of values that are still `???`; interpolations of them are not counted again."""
    keys: list[Any] = list(config.keys() if isinstance(config, DictConfig) else range(len(config)))
    for key in keys:
        here = f"{path}.{key}" if path else str(key)
        if OmegaConf.is_missing(config, key):
            yield here
        elif not OmegaConf.is_interpolation(config, key) and OmegaConf.is_config(config[key]):
            yield from _missing(config[key], here)


def preflight(config: Any, given_later: dict[str, set[str]] | None = None) -> None:
    """Check every node with a `_target_`.

    `given_later` maps a config path to the parameters that the build function adds.

    Raises InputError that lists each mismatch with its config path.
    """
    plain = to_plain(config) if isinstance(config, DictConfig) else config
    later = given_later or {}
    problems = [problem for path, node in targets(plain, "") for problem in _check(path, node, later.get(path, set()))]
    if problems:
        raise InputError("The configuration does not fit the code: " + "; ".join(problems) + ".")


def targets(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_` below `node`, with its config path."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}[{index}]")


def locate(target: str) -> Any:
    """The object that a `_target_` names, or the exception that importing it raises."""
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        return error


def _check(path: str, node: dict[str, Any], later: set[str]) -> Iterator[str]:
    target = node["_target_"]
    code = locate(target)
    if isinstance(code, Exception):
        yield f"{path}._target_={target} cannot be imported ({code})"
        return
    if not callable(code):
        yield f"{path}._target_={target} cannot be called"
        return
    try:
        parameters = inspect.signature(code).parameters
    except ValueError:  # some built-in classes have no signature; there is nothing to bind to
        return
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    keys = {key for key in node if key not in HYDRA_KEYS}
    if not open_ended:
        known = ", ".join(sorted(set(parameters) - later))
        for key in sorted(keys - set(parameters)):
            yield f"{path}.{key} is not a parameter of {target} (it has: {known})"
    for key in sorted(keys & set(parameters)):
        value = node[key]
        if get_origin(parameters[key].annotation) in LISTS and not isinstance(value, list | tuple | dict):
            yield f"{path}.{key}={value}: it takes a list, such as [{value}]"
    if not node.get("_partial_"):
        required = {
            name
            for name, p in parameters.items()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        for key in sorted(required - keys - later):
            yield f"{path}.{key} is missing (required by {target})"
