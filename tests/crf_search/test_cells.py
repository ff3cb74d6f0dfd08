import pytest

from deeplab.crf import CRFParams
from deeplab.crf_search.cells import Cell, around, at_edge, grid
from deeplab.errors import InputError

PAPER = {
    "bilateral_weight": [3, 4, 5, 6],
    "bilateral_xy_std": [30, 40, 50, 60, 70, 80, 90, 100],
    "bilateral_rgb_std": [3, 4, 5, 6],
    "gaussian_weight": [3],
    "gaussian_xy_std": [3],
}
STEPS = {
    "bilateral_weight": [-1, 0, 1],
    "bilateral_xy_std": [-6, -3, 0, 3, 6],
    "bilateral_rgb_std": [-1, 0, 1],
    "gaussian_weight": [0],
    "gaussian_xy_std": [0],
}


def test_the_papers_grid_has_128_cells_and_32_lattices() -> None:
    cells = grid(PAPER)
    assert len(cells) == len(set(cells)) == 128
    lattices = [cell.lattices() for cell in cells]
    assert len(set(lattices)) == 32
    assert lattices == sorted(lattices)  # neighbours share them


def test_the_neighbourhood_holds_the_winner_and_nothing_impossible() -> None:
    middle = Cell(50, 4, 3, 5, 3)
    cells = around(middle, STEPS)
    assert len(cells) == 45
    assert middle in cells
    corner = around(Cell(4, 1, 3, 0.5, 3), STEPS)
    assert {cell.bilateral_xy_std for cell in corner} == {1, 4, 7, 10}
    assert {cell.bilateral_rgb_std for cell in corner} == {1, 2}
    assert {cell.bilateral_weight for cell in corner} == {0.5, 1.5}


def test_a_cell_keeps_what_is_not_searched() -> None:
    params = Cell(50, 4, 3, 5, 2).params(CRFParams(iterations=7, normalization="after"))
    assert params == CRFParams(7, 5, 50, 4, 2, 3, "after")


def test_edges() -> None:
    assert at_edge(Cell(30, 4, 3, 6, 3), PAPER) == ["bilateral_xy_std", "bilateral_weight"]
    assert at_edge(Cell(50, 4, 3, 5, 3), PAPER) == []


@pytest.mark.parametrize(
    ("axis", "values", "sentence"),
    [
        ("bilateral_xy_std", [], r"search\.coarse\.bilateral_xy_std: give at least one value"),
        ("bilateral_rgb_std", [0], "bilateral_rgb_std = 0.0: a standard deviation must be positive"),
        ("gaussian_weight", [-1], "gaussian_weight = -1.0"),
    ],
)
def test_impossible_grids_are_refused(axis: str, values: list[float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        grid({**PAPER, axis: values})
