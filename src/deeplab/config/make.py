"""Makes the objects that a configuration names by `_target_`."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from deeplab.errors import InputError

Plain = dict[str, Any]


def make(node: Plain, where: str) -> Any:
    """The object of a node with a `_target_`; `where` is the node's config path.

    Raises InputError when its constructor refuses a value, or Hydra the target.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, ValueError | TypeError):
            raise InputError(refusal(where, cause or error)) from error
        raise


def refusal(where: str, error: BaseException) -> str:
    """A constructor's message with its place in the configuration, unless it names the key itself."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, TypeError):
        return f"{where}: a value has the wrong type ({error})."
    return f"{where}: {' '.join(str(error).split())}"
