"""`deeplab model`: layers, parameters and multiply-adds of a configuration."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def model(config: "DictConfig", folder: Path) -> None:
    """Print the network of a training configuration, counted for one crop of `data.crop_size`."""
    from rich.console import Console

    from deeplab.config.build import build_network
    from deeplab.config.preflight import preflight, to_plain
    from deeplab.models.complexity import layer_costs
    from deeplab.reporting.cost_table import cost_table

    # Only what the network needs has to have a value: `deeplab model` asks for no data and no weights.
    section = to_plain(config.model)
    preflight({"model": section}, {"model.head": {"in_channels", "num_classes"}})
    size = int(config.data.crop_size)
    network = build_network(section, len(config.data.class_names))
    console = Console()
    console.width = max(console.width, 110)  # names are not cut where output goes into a file
    console.print(cost_table(layer_costs(network, size, size), f"{config.name}, {size}x{size} pixels"))


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("model", model, imports="deeplab.config.build")


if __name__ == "__main__":
    main()
