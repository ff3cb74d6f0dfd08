"""Batch normalisation kept as it was loaded: statistics, scale and shift (released prototxts: lr_mult 0 on all)."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: nn.Module) -> Iterator[nn.Module]:
    """Every batch normalisation of the network, synchronised ones included."""
    return (module for module in network.modules() if isinstance(module, _BatchNorm))


def freeze_batch_norms(network: nn.Module) -> None:
    """Stop the statistics from moving and the affine parameters from being trained.

    `.train()` undoes the first half: call `hold_statistics` after it.
    """
    hold_statistics(network)
    for module in batch_norms(network):
        for parameter in module.parameters():
            parameter.requires_grad_(False)


def hold_statistics(network: nn.Module) -> None:
    """Put every batch normalisation into evaluation mode."""
    for module in batch_norms(network):
        module.eval()
