"""Values that no trained network has: what damage leaves in a file without checksums."""

from collections.abc import Mapping

from torch import Tensor

# Far above every weight and statistic of the published files, below what a flipped high bit of an exponent makes.
_ABSURD = 1e8


def check_values(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors that hold NaN, an infinity, 1e8 or more, or a variance below 0.

    Raises ValueError naming the first such tensor; `source` is for the message.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = (value.item() for value in tensor.aminmax())
        if not -_ABSURD < low <= high < _ABSURD:  # NaN compares with nothing
            wrong = high if high >= _ABSURD else low
            raise ValueError(
                f"{source}: {name} holds {wrong:.3g}, which no trained weight is; the file is damaged or its training "
                "diverged, get it again."
            )
        if name.endswith("running_var") and low < 0:
            raise ValueError(f"{source}: {name} holds {low:.3g}, and a variance is not negative; get the file again.")
