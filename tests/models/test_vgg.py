import pytest
import torch
import torch.nn.functional as F

from deeplab.models.vgg import VGG16, DilatedAveragePool, DilatedMaxPool


def released(state, image, pools=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2)):
    """The released prototxt, written out: pools of kernel 3, never dilated; conv5 dilated by 2."""
    x = image
    for stage, (convolutions, stride, dilation) in enumerate(zip((2, 2, 3, 3, 3), pools, dilations, strict=True), 1):
        for index in range(1, convolutions + 1):
            weight, bias = (state[f"conv{stage}_{index}.{kind}"] for kind in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, padding=dilation, dilation=dilation))
        x = F.max_pool2d(x, 3, stride, padding=1, ceil_mode=True)
    return x


def test_names_and_shapes_are_those_of_the_released_network():
    state = VGG16().state_dict()
    names = [f"conv{s}_{i}" for s, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    assert list(state) == [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    for name, before, after in zip(names, channels, channels[1:], strict=False):
        assert state[f"{name}.weight"].shape == (after, before, 3, 3)
    assert sum(tensor.numel() for tensor in state.values()) == 14_714_688


def test_default_is_the_released_network(settle):
    network = settle(VGG16())
    image = torch.randn(1, 3, 65, 50, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(image), released(network.state_dict(), image), rtol=0, atol=1e-12)


def test_released_form_departs_from_the_atrous_property_by_its_undilated_pool5(settle):
    state = settle(VGG16()).state_dict()
    image = torch.randn(1, 3, 97, 65, dtype=torch.float64)
    with torch.no_grad():
        original = released(state, image, pools=(2, 2, 2, 2, 2), dilations=(1, 1, 1, 1, 1))
        dense = {}
        for dilated in (False, True):
            network = VGG16(dilated_pools=dilated).double()
            network.load_state_dict(state)
            dense[dilated] = network(image)[..., ::4, ::4]
    torch.testing.assert_close(dense[True], original, rtol=0, atol=1e-12)
    assert (dense[False] - original).abs().mean() > 0.05 * original.abs().mean()
    assert (dense[False] <= dense[True]).float().mean() > 0.5  # a maximum over a smaller window


def test_at_stride_16_only_pool5_loses_its_stride_and_both_forms_agree(settle):
    network = settle(VGG16(output_stride=16))
    exact = VGG16(output_stride=16, dilated_pools=True).double()
    exact.load_state_dict(network.state_dict())
    image = torch.randn(1, 3, 49, 33, dtype=torch.float64)
    with torch.no_grad():
        expected = released(network.state_dict(), image, pools=(2, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1))
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(exact(image), expected, rtol=0, atol=1e-12)


def test_avg_pool_is_caffes_mean_over_nine_taps_border_included(settle):
    network = settle(VGG16(avg_pool=True))
    image = torch.randn(1, 3, 33, 41, dtype=torch.float64)
    with torch.no_grad():
        pool5 = released(network.state_dict(), image)
        padded = F.pad(pool5, [1, 1, 1, 1])
        height, width = pool5.shape[-2:]
        expected = sum(padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_dilated_pools_take_their_taps_from_inside_the_picture(dilation):
    x = -1 - torch.rand(2, 3, 7, 9, dtype=torch.float64)  # below 0: padding with 0 would win every maximum
    largest, mean = torch.empty_like(x), torch.zeros_like(x)
    for i in range(7):
        for j in range(9):
            rows = [k for k in (i - dilation, i, i + dilation) if 0 <= k < 7]
            columns = [k for k in (j - dilation, j, j + dilation) if 0 <= k < 9]
            window = x[:, :, rows][:, :, :, columns]
            largest[:, :, i, j] = window.amax(dim=(2, 3))
            mean[:, :, i, j] = window.sum(dim=(2, 3)) / 9
    assert torch.equal(DilatedMaxPool(dilation)(x), largest)
    torch.testing.assert_close(DilatedAveragePool(dilation)(x), mean, rtol=0, atol=1e-14)


def test_dilated_pool_lets_gradients_through_only_to_the_maximum():
    x = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    DilatedMaxPool(2)(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.sum() == 36
