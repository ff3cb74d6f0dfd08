from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from deeplab.errors import InputError
from deeplab.inference.probabilities import Inference
from deeplab.models.mobilenet import MobileNetV2

PAD_RGB = (123.0, 117.0, 104.0)


def by_hand(network, image):
    """Pad, look up the grid points, interpolate rows and columns one by one with np.interp, softmax: all in float64."""
    height, width = image.shape[:2]
    stride, multiple = network.output_stride, network.size_multiple
    padded_height = multiple * int(np.ceil((height - 1) / multiple)) + 1
    padded_width = multiple * int(np.ceil((width - 1) / multiple)) + 1
    padded = np.tile(np.array(PAD_RGB), (padded_height, padded_width, 1))
    padded[:height, :width] = image
    weight = network.mix.weight.detach().double().numpy()[:, :, 0, 0]
    grid = padded[::stride, ::stride] @ weight.T + network.mix.bias.detach().double().numpy()
    ys, xs = np.arange(0, padded_height, stride), np.arange(0, padded_width, stride)
    logits = np.empty((network.num_classes, height, width))
    for k in range(network.num_classes):
        rows = np.array([np.interp(np.arange(width), xs, row) for row in grid[:, :, k]])
        logits[k] = np.array([np.interp(np.arange(height), ys, column) for column in rows.T]).T
    exponentials = np.exp(logits - logits.max(0))
    return exponentials / exponentials.sum(0)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (9, 9), (8, 10), (33, 32), (37, 21)])
@pytest.mark.parametrize(("stride", "multiple"), [(4, 4), (8, 8), (4, 16)])
def test_equals_an_independent_computation(sampler, picture, size, stride, multiple):
    network = sampler(5, stride, multiple)
    image = picture(*size)
    got = Inference().probabilities(network, image)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    np.testing.assert_allclose(got.numpy(), by_hand(network, image), atol=2e-6)


def test_a_tensor_and_any_array_layout_give_the_same(tiny, picture):
    image = picture(21, 30)
    expected = Inference().probabilities(tiny, image)
    frozen = image.copy()
    frozen.flags.writeable = False
    assert torch.equal(Inference().probabilities(tiny, torch.from_numpy(image)), expected)
    assert torch.equal(Inference().probabilities(tiny, frozen), expected)
    assert torch.equal(Inference().probabilities(tiny, np.asfortranarray(image)), expected)
    assert torch.equal(Inference().probabilities(tiny, image[::-1][::-1]), expected)
    assert torch.equal(Inference().probabilities(tiny, image[:, ::-1].copy()[:, ::-1]), expected)


def ramp(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 255 - 3 * x, 3 * y], axis=2).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 2.0])
def test_scaled_views_lie_on_the_same_pixels(sampler, scale):
    """A linear picture stays the same linear picture at every scale, so nothing may change; a shift would."""
    network = sampler(5, 4, 4)
    image = ramp(49, 65)
    got = Inference(scales=[scale]).probabilities(network, image)
    np.testing.assert_allclose(got.numpy(), by_hand(network, image), atol=1e-4)


def test_scales_show_the_network_resized_and_padded_pictures(sampler, picture):
    network = sampler(5, 4, 8)
    Inference(scales=[1, 0.5, 1.5]).probabilities(network, picture(40, 60))  # padded to 41 x 65
    assert network.seen == [(41, 65), (25, 33), (65, 97)]  # 0.5: 21 x 33; 1.5: 61 x 97


def test_probabilities_are_averaged_over_scales_and_mirror_images(tiny, picture):
    image = picture(33, 41)
    alone = {scale: Inference(scales=[scale]).probabilities(tiny, image) for scale in (1.0, 0.5, 1.25)}
    together = Inference(scales=list(alone)).probabilities(tiny, image)
    torch.testing.assert_close(together, sum(alone.values()) / 3, atol=1e-6, rtol=0)
    mirrored = Inference().probabilities(tiny, image[:, ::-1].copy()).flip(-1)
    flipped = Inference(flip=True).probabilities(tiny, image)
    torch.testing.assert_close(flipped, (alone[1.0] + mirrored) / 2, atol=1e-6, rtol=0)
    assert not torch.allclose(mirrored, alone[1.0], atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (30, 44)])
def test_flip_of_a_padded_picture_stays_on_its_pixels(sampler, picture, size):
    network = sampler(5, 4, 8)  # no receptive field: a mirrored view sees the same grid points
    image = picture(*size)
    torch.testing.assert_close(
        Inference(flip=True).probabilities(network, image), Inference().probabilities(network, image)
    )


def test_foreign_weights_get_the_picture_unpadded_and_logits_stretched(tiny, picture):
    image = picture(22, 35)
    got = Inference(align_corners=False).probabilities(tiny, image)
    assert tiny.seen == [(22, 35)]
    with torch.no_grad():
        logits = tiny(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0].numpy()
    # Pixel centres aligned: output pixel i lies at (i + 0.5) * h / H - 0.5, held at the outermost logits.
    ys = (np.arange(22) + 0.5) * logits.shape[1] / 22 - 0.5
    xs = (np.arange(35) + 0.5) * logits.shape[2] / 35 - 0.5
    stretched = np.empty((5, 22, 35))
    for k in range(5):
        rows = np.array([np.interp(xs, np.arange(logits.shape[2]), row) for row in logits[k]])
        stretched[k] = np.array([np.interp(ys, np.arange(logits.shape[1]), column) for column in rows.T]).T
    expected = np.exp(stretched) / np.exp(stretched).sum(0)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


def test_labels_are_the_most_probable_classes(tiny, picture):
    image = picture(50, 37)
    inference = Inference(scales=[1, 0.5], flip=True)
    labels = inference.labels(tiny, image)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), inference.probabilities(tiny, image).argmax(0))
    assert len(labels.unique()) > 1


def test_many_classes_need_int16(sampler, picture):
    network = sampler(300, 4, 4)
    with torch.no_grad():
        network.mix.bias[299] = 100
    labels = Inference().labels(network, picture(6, 6))
    assert labels.dtype == torch.int16
    assert labels.unique().tolist() == [299]


def test_autocast_and_low_precision_weights_give_float32(tiny, picture):
    image = picture(33, 33)
    expected = Inference().probabilities(tiny, image)
    with torch.autocast("cpu", torch.bfloat16):
        cast = Inference().probabilities(tiny, image)
    low = Inference().probabilities(tiny.bfloat16(), image)
    for got in (cast, low):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.sum(0), torch.ones(33, 33))
        assert (got - expected).abs().max() < 0.1
        assert not torch.equal(got, expected)


def test_no_gradient_is_kept(tiny, picture):
    assert not Inference().probabilities(tiny, picture(9, 9)).requires_grad


def test_a_network_in_training_mode_is_refused(tiny, picture):
    tiny.train()
    for ask in (Inference().probabilities, Inference().labels):
        with pytest.raises(ValueError, match="training mode"):
            ask(tiny, picture(9, 9))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((3, 9, 9), np.uint8),
        np.zeros((9, 9, 3), np.float32),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_other_images_are_refused(tiny, image):
    with pytest.raises(ValueError, match="RGB uint8"):
        Inference().probabilities(tiny, image)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"scales": []}, "inference.scales"),
        ({"scales": [1, 0]}, "inference.scales"),
        ({"scales": [float("nan")]}, "inference.scales"),
        ({"max_pixels": 0}, "inference.max_pixels=0"),
        ({"tile": 0}, "inference.tile=0"),
        ({"tile": 64, "overlap": 64}, "inference.overlap=64"),
        ({"overlap": -1}, "inference.overlap=-1"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(InputError, match=named):
        Inference(**settings)


def test_logits_off_the_grid_are_refused(sampler, picture):
    network = sampler(5, 4, 4)
    network.output_stride = 8
    network.forward = lambda image: torch.zeros(1, 5, 3, 3)
    with pytest.raises(ValueError, match="output stride"):
        Inference().probabilities(network, picture(9, 9))


class MobileNet(nn.Module):
    def __init__(self, output_stride: int) -> None:
        super().__init__()
        self.num_classes, self.output_stride, self.size_multiple = 3, output_stride, output_stride
        self.input = SimpleNamespace(pad_rgb=PAD_RGB)
        self.backbone = MobileNetV2(output_stride, width=0.35)
        self.head = nn.Conv2d(self.backbone.out_channels, 3, 1)

    def forward(self, image):
        return self.head(self.backbone(image / 128 - 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 2), (50, 61)])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_real_network_takes_any_size(picture, size, output_stride):
    torch.manual_seed(0)
    network = MobileNet(output_stride).eval()
    got = Inference(scales=[0.5, 1], flip=True).probabilities(network, picture(*size))
    assert got.shape == (3, *size)
    torch.testing.assert_close(got.sum(0), torch.ones(size))
