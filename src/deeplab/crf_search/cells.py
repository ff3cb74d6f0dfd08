"""The cells of the search: settings of the CRF's kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product

from deeplab.crf.params import CRFParams
from deeplab.errors import InputError


@dataclass(frozen=True, order=True)
class Cell:
    """One setting: w1, sigma_alpha (pixels), sigma_beta (0..255), w2, sigma_gamma (pixels) of equation 3.

    Cells sort with the standard deviations first, so that neighbours share lattices.
    """

    bilateral_xy_std: float
    bilateral_rgb_std: float
    gaussian_xy_std: float
    bilateral_weight: float
    gaussian_weight: float

    def params(self, fixed: CRFParams) -> CRFParams:
        """Return `fixed` with the values of this cell."""
        return replace(fixed, **asdict(self))

    def lattices(self) -> tuple[float, ...]:
        """Return what the lattices depend on."""
        return self.bilateral_xy_std, self.bilateral_rgb_std, self.gaussian_xy_std

    def text(self) -> str:
        """Write as the paper's tables do: w1 / sigma_alpha / sigma_beta, w2 / sigma_gamma."""
        bilateral = f"{self.bilateral_weight:g}/{self.bilateral_xy_std:g}/{self.bilateral_rgb_std:g}"
        return f"{bilateral}, {self.gaussian_weight:g}/{self.gaussian_xy_std:g}"


AXES = tuple(field.name for field in fields(Cell))
Values = Mapping[str, Sequence[float]]


def grid(values: Values) -> list[Cell]:
    """Return all combinations of the values of the five parameters, sorted.

    Raises InputError for a parameter without values and for values that the CRF refuses.
    """
    for axis in AXES:
        if not values[axis]:
            raise InputError(f"search.coarse.{axis}: give at least one value.")
    cells = sorted({Cell(*map(float, combination)) for combination in product(*(values[axis] for axis in AXES))})
    for cell in cells:
        try:
            cell.params(CRFParams())
        except ValueError as error:
            raise InputError(f"search.coarse: {error}.") from error
    return cells


def around(winner: Cell, offsets: Values) -> list[Cell]:
    """Return the winner and its neighbours at all combinations of the offsets, sorted, without impossible ones.

    A standard deviation stays above 0 and a weight at 0 or more.
    """
    here = asdict(winner)
    choices = []
    for axis in AXES:
        moved = sorted({here[axis], *(here[axis] + offset for offset in offsets[axis])})
        choices.append([value for value in moved if value > 0 or (value == 0 and axis.endswith("weight"))])
    return sorted(Cell(*combination) for combination in product(*choices))


def at_edge(winner: Cell, values: Values) -> list[str]:
    """Name the parameters of which the winner has the smallest or the largest value of several."""
    here = asdict(winner)
    return [
        axis for axis in AXES if len(set(values[axis])) > 2 and here[axis] in (min(values[axis]), max(values[axis]))
    ]
