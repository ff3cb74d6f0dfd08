import pytest
from torch import nn

from deeplab.models.heads import ASPP, DirectASPP
from deeplab.training.batch_norm import freeze_batch_norms
from deeplab.training.parameter_groups import check_groups, classifiers, parameter_groups

MULTIPLIERS = {"backbone_weight": 1.0, "backbone_bias": 2.0, "head_weight": 10.0, "head_bias": 20.0}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)


def test_groups_have_the_released_rates_and_no_decay_on_biases() -> None:
    network = Network()
    groups = {group["name"]: group for group in parameter_groups(network, network.head, 0.5, 1e-3, MULTIPLIERS)}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "backbone_weight": 0.5,
        "backbone_bias": 1.0,
        "head_weight": 5.0,
        "head_bias": 10.0,
    }
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "backbone_weight": 1e-3,
        "backbone_bias": 0.0,
        "head_weight": 1e-3,
        "head_bias": 0.0,
    }
    assert groups["head_bias"]["params"] == [network.head.bias]
    assert len(groups["backbone_bias"]["params"]) == 3  # the convolution's bias, BN's scale and shift


def test_frozen_parameters_are_in_no_group() -> None:
    network = Network()
    freeze_batch_norms(network)
    groups = parameter_groups(network, network.head, 1.0, 0.0, MULTIPLIERS)
    grouped = {id(p) for group in groups for p in group["params"]}
    assert grouped == {id(p) for p in network.parameters() if p.requires_grad}
    assert not any(id(p) in grouped for p in network.backbone[1].parameters())


def test_a_parameter_in_two_groups_or_none_is_refused() -> None:
    network = Network()
    groups = parameter_groups(network, network.head, 1.0, 0.0, MULTIPLIERS)
    with pytest.raises(ValueError, match=r"in no group: head\.bias"):
        check_groups(network, [group for group in groups if group["name"] != "head_bias"])
    with pytest.raises(ValueError, match="in two"):
        check_groups(network, [*groups, groups[0]])


def test_fc6_and_fc7_can_learn_as_the_backbone() -> None:
    head = ASPP(8, 3, rates=(1, 2), hidden_channels=4)
    last = {id(parameter) for branch in head.branches for parameter in branch.fc8.parameters()}
    assert {id(parameter) for parameter in classifiers(head).parameters()} == last
    direct = DirectASPP(8, 3, rates=(1, 2))
    assert classifiers(direct) is direct
