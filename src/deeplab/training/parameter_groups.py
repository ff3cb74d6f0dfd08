"""Four groups of parameters with their own learning rate and weight decay (released solver files)."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def parameter_groups(
    network: nn.Module, head: nn.Module, lr: float, weight_decay: float, multipliers: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Groups `backbone_weight`, `backbone_bias`, `head_weight`, `head_bias` of the parameters that are trained.

    Weights of convolutions decay; biases, and scales and shifts of batch normalisation, do not.  Groups without a
    parameter are left out.

    Raises ValueError when a parameter is in no group or in two.
    """
    in_head = {id(parameter) for parameter in head.parameters()}
    members: dict[str, list[nn.Parameter]] = {name: [] for name in multipliers}
    for parameter in network.parameters():
        if parameter.requires_grad:
            part = "head" if id(parameter) in in_head else "backbone"
            kind = "weight" if parameter.ndim > 1 else "bias"
            members[f"{part}_{kind}"].append(parameter)
    groups = [
        {
            "name": name,
            "params": parameters,
            "lr": lr * multipliers[name],
            "weight_decay": weight_decay if name.endswith("weight") else 0.0,
        }
        for name, parameters in members.items()
        if parameters
    ]
    check_groups(network, groups)
    return groups


def classifiers(head: nn.Module) -> nn.Module:
    """The head without fc6 and fc7, which the released VGG-16 solvers train as the backbone; other heads whole."""
    last = [module for name, module in head.named_modules() if name.rpartition(".")[2] == "fc8"]
    return nn.ModuleList(last) if last else head


def check_groups(network: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Raise ValueError unless the groups are disjoint and hold every parameter that is trained."""
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    if len(grouped) != len(set(grouped)):
        raise ValueError("A parameter is in two parameter groups.")
    missing = [name for name, p in network.named_parameters() if p.requires_grad and id(p) not in set(grouped)]
    if missing:
        raise ValueError(f"Parameters in no group: {', '.join(missing)}.")
