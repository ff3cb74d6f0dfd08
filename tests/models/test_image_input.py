import pytest
import torch

from deeplab.models.image_input import ImageInput, InputConvention

CAFFE = ("bgr", 1.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0))
TORCHVISION = ("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_caffe_networks_see_bgr_minus_the_mean():
    image = torch.rand(2, 3, 4, 5) * 255
    seen = ImageInput(*CAFFE)(image)
    for channel, (source, mean) in enumerate([(2, 104.008), (1, 116.669), (0, 122.675)]):
        torch.testing.assert_close(seen[:, channel], image[:, source] - mean)


def test_torchvision_networks_see_normalised_rgb():
    image = torch.rand(2, 3, 4, 5) * 255
    seen = ImageInput(*TORCHVISION)(image)
    for channel, (mean, std) in enumerate(zip(*TORCHVISION[2:], strict=True)):
        torch.testing.assert_close(seen[:, channel], (image[:, channel] / 255 - mean) / std)


@pytest.mark.parametrize("convention", [CAFFE, TORCHVISION, ("bgr", 0.5, (1, 2, 3), (4, 5, 6))])
def test_pad_rgb_becomes_zero(convention):
    network_input = ImageInput(*convention)
    image = torch.tensor(network_input.pad_rgb).view(1, 3, 1, 1)
    torch.testing.assert_close(network_input(image), torch.zeros(1, 3, 1, 1), rtol=0, atol=1e-5)
    assert ImageInput(*CAFFE).pad_rgb == (122.675, 116.669, 104.008)


def test_it_has_no_state_and_follows_the_dtype():
    network_input = ImageInput(*CAFFE)
    assert not network_input.state_dict()
    assert network_input.double()(torch.zeros(1, 3, 2, 2, dtype=torch.float64)).dtype == torch.float64


def test_conventions_agree_whatever_their_unit():
    torchvision = InputConvention(*TORCHVISION)
    in_255 = InputConvention(
        "rgb", 1.0, tuple(255 * m for m in torchvision.mean), tuple(255 * s for s in torchvision.std)
    )
    caffe, other_caffe = InputConvention(*CAFFE), InputConvention("bgr", 1.0, (103.939, 116.779, 123.68), (1, 1, 1))
    assert torchvision.agrees_with(in_255) and caffe.agrees_with(other_caffe)
    assert not torchvision.agrees_with(caffe)
    assert not caffe.agrees_with(InputConvention("rgb", *CAFFE[1:]))
    assert not torchvision.agrees_with(InputConvention("rgb", 1.0, *TORCHVISION[2:]))


@pytest.mark.parametrize(
    ("convention", "message"),
    [
        (("RGB", 1, (0, 0, 0), (1, 1, 1)), "channels='RGB': choose"),
        (("rgb", 0, (0, 0, 0), (1, 1, 1)), "scale=0: choose a positive number"),
        (("rgb", 1, (0, 0), (1, 1, 1)), r"mean=\(0, 0\): give three numbers"),
        (("rgb", 1, (0, 0, 0), (1, 0, 1)), r"std=\(1, 0, 1\): choose positive numbers"),
        (("rgb", 1, (0, 0, 0), (1,)), r"std=\(1,\): give three numbers"),
    ],
)
def test_impossible_conventions_are_refused(convention, message):
    with pytest.raises(ValueError, match=message):
        ImageInput(*convention)
