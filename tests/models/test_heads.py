from functools import partial

import pytest
import torch
import torch.nn.functional as F

from deeplab.models.heads import ASPP, Classifier, DirectASPP, DirectLargeFOV, LargeFOV, same_padding


def with_holes(x, weight, bias, rate):
    """Convolve with the kernel that the paper draws: rate - 1 zeros between its taps (Figure 2)."""
    kernel_size = weight.shape[-1]
    effective = kernel_size + (kernel_size - 1) * (rate - 1)
    kernel = weight.new_zeros(*weight.shape[:2], effective, effective)
    kernel[..., ::rate, ::rate] = weight
    return F.conv2d(x, kernel, bias, padding=(effective - 1) // 2)


def large_fov(state, prefix, x, rate):
    x = F.relu(with_holes(x, state[f"{prefix}fc6.weight"], state[f"{prefix}fc6.bias"], rate))
    x = F.relu(F.conv2d(x, state[f"{prefix}fc7.weight"], state[f"{prefix}fc7.bias"]))
    return F.conv2d(x, state[f"{prefix}fc8.weight"], state[f"{prefix}fc8.bias"])


FEATURES = (2, 6, 13, 11)


@pytest.mark.parametrize(("kernel_size", "rate"), [(7, 4), (4, 4), (4, 8), (3, 12)])  # Table 1
def test_large_fov_is_three_layers_and_keeps_the_size(kernel_size, rate, settle):
    head = settle(LargeFOV(6, 5, rate, kernel_size, hidden_channels=8))
    x = torch.randn(FEATURES, dtype=torch.float64)
    logits = head(x)
    assert logits.shape == (2, 5, 13, 11)
    torch.testing.assert_close(logits, large_fov(head.state_dict(), "", x, rate), rtol=0, atol=1e-12)


def test_aspp_sums_one_large_fov_a_rate(settle):
    head = settle(ASPP(6, 5, rates=(2, 4, 8, 12), hidden_channels=8))
    x = torch.randn(FEATURES, dtype=torch.float64)
    expected = sum(
        large_fov(head.state_dict(), f"branches.{branch}.", x, rate) for branch, rate in enumerate((2, 4, 8, 12))
    )
    torch.testing.assert_close(head(x), expected, rtol=0, atol=1e-12)


def test_direct_aspp_sums_one_dilated_classifier_a_rate(settle):
    head = settle(DirectASPP(6, 5, rates=(1, 6, 12)))
    state = head.state_dict()
    x = torch.randn(FEATURES, dtype=torch.float64)
    expected = sum(
        with_holes(x, state[f"branches.{branch}.weight"], state[f"branches.{branch}.bias"], rate)
        for branch, rate in enumerate((1, 6, 12))
    )
    torch.testing.assert_close(head(x), expected, rtol=0, atol=1e-12)


def test_direct_large_fov_and_classifier_are_one_convolution(settle):
    x = torch.randn(FEATURES, dtype=torch.float64)
    for head, rate in ((DirectLargeFOV(6, 5, rate=3), 3), (Classifier(6, 5), 1)):
        state = settle(head).state_dict()
        torch.testing.assert_close(
            head(x), with_holes(x, state["fc.weight"], state["fc.bias"], rate), rtol=0, atol=1e-12
        )
    assert Classifier(6, 5).fc.kernel_size == (1, 1)


def test_dropout_is_element_wise_and_only_in_training():
    head = LargeFOV(64, 5, rate=1, hidden_channels=64)
    head.fc7 = torch.nn.Identity()
    head.fc8 = torch.nn.Identity()
    x = torch.randn(1, 64, 20, 20)
    plain = head.eval()(x)
    dropped = head.train()(x)
    is_kept = (dropped != 0)[plain > 0]
    assert abs(is_kept.float().mean() - 0.25) < 0.02  # two layers of one half each
    torch.testing.assert_close(dropped[dropped != 0], 4 * plain[dropped != 0])
    planes = (dropped != 0).float().mean(dim=(2, 3)) / (plain > 0).float().mean(dim=(2, 3))
    assert planes.min() > 0 and planes.max() < 1  # no channel is dropped or kept whole


@pytest.mark.parametrize("head", [Classifier, DirectLargeFOV, DirectASPP, LargeFOV, ASPP])
def test_classifiers_start_from_the_released_gaussian(head):
    layers = {name: m for name, m in head(512, 21).named_modules() if isinstance(m, torch.nn.Conv2d)}
    for name, layer in layers.items():
        assert torch.count_nonzero(layer.bias) == 0
        is_hidden = name.endswith(("fc6", "fc7"))
        expected = (2 / layer.weight[0].numel()) ** 0.5 if is_hidden else 0.01
        assert abs(layer.weight.std().item() / expected - 1) < 0.03
        assert abs(layer.weight.mean().item()) < 0.05 * expected


@pytest.mark.parametrize(("kernel_size", "rate", "padding"), [(7, 4, 12), (4, 4, 6), (4, 8, 12), (3, 12, 12)])
def test_padding_of_table_1(kernel_size, rate, padding):
    assert same_padding(kernel_size, rate) == padding


@pytest.mark.parametrize(("kernel_size", "rate"), [(4, 3), (2, 1), (3, 0), (0, 2)])
def test_kernels_that_cannot_keep_the_size_are_refused(kernel_size, rate):
    with pytest.raises(ValueError, match=f"kernel_size={kernel_size}, rate={rate}: no padding keeps the size"):
        LargeFOV(4, 2, rate=rate, kernel_size=kernel_size)


@pytest.mark.parametrize("head", [ASPP, DirectASPP])
def test_aspp_without_rates_is_refused(head):
    with pytest.raises(ValueError, match="at least one rate"):
        partial(head, rates=())(4, 2)
