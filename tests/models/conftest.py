from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same weights and pictures whichever tests ran before, or the bounds on rounding hold only mostly."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def settle() -> Callable[[nn.Module], nn.Module]:
    """Put a network into eval mode and float64, its biases and BN statistics away from their initial 0 and 1.

    Small gammas keep deep residual networks, whose BN here does not normalise, from exploding.
    """

    def settle(network: nn.Module) -> nn.Module:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.3, 0.9)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        return network.double().eval()

    return settle
