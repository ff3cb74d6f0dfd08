"""What a network costs, layer by layer."""

from collections.abc import Sequence
from typing import Protocol

from rich import box
from rich.table import Table


class Cost(Protocol):
    """A layer: its name and type, the shape of its output, parameters and multiply-adds."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    @property
    def parameters(self) -> int: ...
    @property
    def multiply_adds(self) -> int: ...


def cost_table(costs: Sequence[Cost], title: str) -> Table:
    """Return a row a layer and their sum; multiply-adds in millions, one multiply-add being two FLOPs."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_footer=True)
    parameters, multiply_adds = (sum(getattr(cost, key) for cost in costs) for key in ("parameters", "multiply_adds"))
    table.add_column("layer", "total", no_wrap=True)
    table.add_column("type", f"{2 * multiply_adds / 1e9:.1f} GFLOPs")
    table.add_column("output", justify="right")
    table.add_column("parameters", f"{parameters:,}", justify="right")
    table.add_column("M multiply-adds", f"{multiply_adds / 1e6:,.1f}", justify="right")
    for cost in costs:
        shape = "x".join(map(str, cost.output_shape))
        table.add_row(cost.name, cost.type, shape, f"{cost.parameters:,}", f"{cost.multiply_adds / 1e6:,.1f}")
    return table
