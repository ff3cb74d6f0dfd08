"""Parameters and multiply-adds of a network, layer by layer."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# One operation a value, no parameters: they would only lengthen the list.
ELEMENTWISE = (nn.Identity, nn.ReLU, nn.ReLU6, nn.Dropout)


@dataclass(frozen=True)
class LayerCost:
    """One layer, for one picture.

    `output_shape` is (channels, height, width) of the first call. `multiply_adds` are those of convolutions, summed
    over all calls (multi-scale inputs call a layer once a scale); biases, normalisation, pooling and resizing are not
    counted.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layer_costs(network: nn.Module, height: int, width: int) -> list[LayerCost]:
    """Return the layers in the order of their first call for a picture of height x width, without computing it.

    The network is left as it is; sums over the rows are the network's.
    """
    network = _on_meta(network).eval()
    rows: dict[str, LayerCost] = {}
    _observe(network, rows)
    with torch.no_grad():
        network(torch.empty(1, 3, height, width, device="meta"))
    return list(rows.values())


def _on_meta(network: nn.Module) -> nn.Module:
    """Copy a network without its values."""
    memo: dict[int, Tensor] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, memo)  # type: ignore[arg-type]


def _observe(network: nn.Module, rows: dict[str, LayerCost]) -> None:
    """Make every layer that a forward pass calls enter itself into `rows`."""

    def enter(name: str, layer: nn.Module, output: Tensor) -> None:
        earlier = rows.get(name)
        rows[name] = LayerCost(
            name=name,
            type=type(layer).__name__,
            output_shape=earlier.output_shape if earlier else tuple(output.shape[1:]),
            parameters=sum(parameter.numel() for parameter in layer.parameters()),
            multiply_adds=_multiply_adds(layer, output) + (earlier.multiply_adds if earlier else 0),
        )

    for name, layer in network.named_modules():
        if not any(layer.children()) and not isinstance(layer, ELEMENTWISE):
            layer.register_forward_hook(lambda layer, _, output, name=name: enter(name, layer, output))


def _multiply_adds(layer: nn.Module, output: Tensor) -> int:
    if not isinstance(layer, nn.Conv2d):
        return 0
    return output.numel() * layer.weight[0].numel()
