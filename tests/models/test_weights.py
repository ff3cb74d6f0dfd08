from functools import partial

import pytest
import torch

from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import Classifier, DirectASPP, LargeFOV
from deeplab.models.image_input import ImageInput, InputConvention
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import ResNet
from deeplab.models.vgg import VGG16
from deeplab.models.weights import assign_weights, load_weights

CAFFE = InputConvention("bgr", 1.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0))
TORCHVISION = InputConvention("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VGG_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG_NAMES = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"]
torchvision_resnet = partial(ResNet, stride_in_1x1=False, ceil_pool=False)


def deeplab(backbone, head=Classifier, num_classes=5, convention=TORCHVISION):
    network_input = ImageInput(convention.channels, convention.scale, convention.mean, convention.std)
    return DeepLab(network_input, backbone, head, num_classes)


def batch_norm(name, channels):
    kinds = {kind: torch.rand(channels) for kind in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.{kind}": tensor for kind, tensor in kinds.items()} | {
        f"{name}.num_batches_tracked": torch.tensor(7)
    }


def torchvision_vgg16(with_classifier):
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    state = {}
    for index, before, after in zip(VGG_INDICES, channels, channels[1:], strict=False):
        state[f"features.{index}.weight"] = torch.rand(after, before, 3, 3)
        state[f"features.{index}.bias"] = torch.rand(after)
    if with_classifier:  # 12 channels where the real one has 4096
        shapes = {0: (12, 512 * 7 * 7), 3: (12, 12), 6: (10, 12)}
        state |= {f"classifier.{i}.weight": torch.rand(shape) for i, shape in shapes.items()}
        state |= {f"classifier.{i}.bias": torch.rand(shape[0]) for i, shape in shapes.items()}
    return state


def torchvision_resnet18(blocks=(2, 2, 2, 2)):
    state = {"conv1.weight": torch.rand(64, 3, 7, 7), **batch_norm("bn1", 64)}
    channels = 64
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            state |= {f"{name}.conv1.weight": torch.rand(width, channels, 3, 3), **batch_norm(f"{name}.bn1", width)}
            state |= {f"{name}.conv2.weight": torch.rand(width, width, 3, 3), **batch_norm(f"{name}.bn2", width)}
            if channels != width:
                state[f"{name}.downsample.0.weight"] = torch.rand(width, channels, 1, 1)
                state |= batch_norm(f"{name}.downsample.1", width)
            channels = width
    return state | {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}


def torchvision_mobilenet():
    state = {"features.0.0.weight": torch.rand(32, 3, 3, 3), **batch_norm("features.0.1", 32)}
    table = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    number, channels = 1, 32
    for expansion, width, repetitions in table:
        for _ in range(repetitions):
            name, hidden, layer = f"features.{number}.conv", channels * expansion, 0
            if expansion > 1:
                state |= {f"{name}.0.0.weight": torch.rand(hidden, channels, 1, 1), **batch_norm(f"{name}.0.1", hidden)}
                layer = 1
            state[f"{name}.{layer}.0.weight"] = torch.rand(hidden, 1, 3, 3)
            state |= batch_norm(f"{name}.{layer}.1", hidden)
            state[f"{name}.{layer + 1}.weight"] = torch.rand(width, hidden, 1, 1)
            state |= batch_norm(f"{name}.{layer + 2}", width)
            number, channels = number + 1, width
    state |= {"features.18.0.weight": torch.rand(1280, 320, 1, 1), **batch_norm("features.18.1", 1280)}
    return state | {"classifier.1.weight": torch.rand(1000, 1280), "classifier.1.bias": torch.rand(1000)}


def assert_filled(network, state, names):
    """Check that the network's tensors are those of the file; `names` maps the file's names to the network's."""
    tensors = network.state_dict()
    for key, name in names.items():
        torch.testing.assert_close(tensors[name], state[key], rtol=0, atol=0, check_dtype=False)


@pytest.mark.parametrize("with_classifier", [True, False])
@pytest.mark.parametrize("convention", [CAFFE, TORCHVISION])
def test_torchvision_vgg16(tmp_path, with_classifier, convention):
    state, network = (
        torchvision_vgg16(with_classifier),
        deeplab(VGG16(), partial(LargeFOV, hidden_channels=8), convention=convention),
    )
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    torch.save(state, tmp_path / "vgg.pth")
    report = load_weights(tmp_path / "vgg.pth", network)

    pairs = zip(VGG_INDICES, VGG_NAMES, strict=True)
    names = {f"features.{i}.{k}": f"backbone.conv{n}.{k}" for i, n in pairs for k in ("weight", "bias")}
    assert_filled(network, state, names)
    assert report.layout == "torchvision VGG-16" and report.convention is None  # the names do not tell
    taken = (
        [f"head.{layer}.{kind}" for layer in ("fc6", "fc7") for kind in ("weight", "bias")] if with_classifier else []
    )
    assert report.matched == (*names.values(), *taken)
    assert report.skipped == (("classifier.6.weight", "classifier.6.bias") if with_classifier else ())
    assert report.random == tuple(f"head.{name}" for name in head if f"head.{name}" not in taken)
    for name, tensor in network.head.state_dict().items():
        assert torch.equal(tensor, head[name]) == (f"head.{name}" in report.random)
    assert report.notes == (("fc6 and fc7: 8 of 12 filters, 3x3",) if with_classifier else ())
    assert str(report).startswith(f"{tmp_path / 'vgg.pth'} (torchvision VGG-16): {26 + len(taken)} tensors matched")


def test_a_head_without_fc6_leaves_those_of_a_vgg16_alone():
    report = assign_weights(torchvision_vgg16(True), deeplab(VGG16()))
    assert report.random == ("head.fc.weight", "head.fc.bias") and report.notes == ()
    assert len(report.skipped) == 6 and all(name.startswith("classifier") for name in report.skipped)


def test_torchvision_resnet():
    state, network = torchvision_resnet18(), deeplab(torchvision_resnet(18))
    report = assign_weights(state, network)
    assert_filled(network, state, {key: f"backbone.{key}" for key in state if not key.startswith("fc.")})
    assert report.skipped == ("fc.weight", "fc.bias") and report.convention == TORCHVISION
    assert report.random == ("head.fc.weight", "head.fc.bias")


def test_torchvision_files_from_before_batches_were_counted():
    state = {key: tensor for key, tensor in torchvision_resnet18().items() if not key.endswith("num_batches_tracked")}
    report = assign_weights(state, deeplab(torchvision_resnet(18)))
    assert report.random == ("head.fc.weight", "head.fc.bias")


@pytest.mark.parametrize("last_conv", [True, False])
def test_torchvision_mobilenet(last_conv):
    state, network = torchvision_mobilenet(), deeplab(MobileNetV2(last_conv=last_conv))
    report = assign_weights(state, network)
    used = {key: f"backbone.{key}" for key in state if f"backbone.{key}" in network.state_dict()}
    assert_filled(network, state, used)
    assert report.matched == tuple(used.values())
    assert set(report.skipped) == state.keys() - used.keys()
    assert any(key.startswith("features.18") for key in report.skipped) != last_conv


def own(seed, num_classes=5, wrap=lambda network: network):
    torch.manual_seed(seed)
    return wrap(deeplab(MobileNetV2(width=0.25), partial(DirectASPP, rates=(1, 2)), num_classes))


@pytest.mark.parametrize("source", [lambda network: network, MultiScale])
@pytest.mark.parametrize("target", [lambda network: network, MultiScale])
@pytest.mark.parametrize("prefix", ["", "network.", "network._orig_mod.", "module.network."])
def test_own_state_dicts_fill_everything_bare_wrapped_or_multi_scale(tmp_path, source, target, prefix):
    first, second = own(1, wrap=source), own(2, wrap=target)
    state = {prefix + name: tensor for name, tensor in first.state_dict().items()}
    checkpoint = {"state_dict": state | {"confusion.matrix": torch.zeros(5, 5)}, "epoch": 3}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    report = load_weights(tmp_path / "last.ckpt", second)
    for part in ("backbone", "head"):
        expected, loaded = getattr(first, part).state_dict(), getattr(second, part).state_dict()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert report.layout == "DeepLab" and report.random == () and report.skipped == ("confusion.matrix",)


def refusal(state, network, allow=()):
    """Return the message of the refusal, and check that it left the network as it was."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        assign_weights(state, network, allow, source="some.pth")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    message = str(caught.value)
    assert message.startswith("some.pth") and "\n" not in message and message.endswith(".")
    return message


def test_another_number_of_classes_is_refused_unless_the_head_may_differ():
    state, network = own(1, num_classes=7).state_dict(), own(2, num_classes=5)
    message = refusal(state, network)
    assert "head.branches.0.weight has shape (7, 80, 3, 3) in the file and (5, 80, 3, 3) in the network" in message
    report = assign_weights(state, network, allow=["head"])
    assert report.random == report.skipped == tuple(f"head.{name}" for name in network.head.state_dict())
    assert_filled(network, state, {name: name for name in state if name.startswith("backbone.")})


def test_missing_tensors_are_refused_unless_allowed_by_name():
    state = {name: tensor for name, tensor in own(1).state_dict().items() if "branches.1" not in name}
    assert "lacks 2 tensors (head.branches.1.weight, head.branches.1.bias)" in refusal(state, own(2))
    refusal(state, own(2), allow=["head.branches.0"])
    report = assign_weights(state, own(2), allow=["head.branches.1"])
    assert report.random == ("head.branches.1.weight", "head.branches.1.bias")


def test_a_deeper_networks_weights_are_refused():
    message = refusal(torchvision_resnet18(blocks=(2, 2, 3, 2)), deeplab(torchvision_resnet(18)))
    assert "has, and the network lacks, 10 tensors (backbone.layer3.2.conv1.weight, " in message


def test_another_backbones_weights_are_refused():
    message = refusal(torchvision_mobilenet(), deeplab(VGG16()))
    assert "torchvision MobileNetV2" in message and "lacks 26 tensors (backbone.conv1_1.weight" in message


def test_another_input_convention_is_refused_unless_allowed():
    state = torchvision_mobilenet()
    message = refusal(state, deeplab(MobileNetV2(), convention=CAFFE))
    assert "expect RGB" in message and "input gives BGR" in message
    report = assign_weights(state, deeplab(MobileNetV2(), convention=CAFFE), allow=["input"])
    assert report.convention == TORCHVISION


def test_strides_elsewhere_are_refused_unless_allowed():
    torch.manual_seed(0)
    state = torchvision_resnet(50).state_dict() | {"fc.weight": torch.rand(2, 2)}
    network = deeplab(ResNet(50))
    assert "made for stride_in_1x1=False" in refusal(state, network)
    assert not assign_weights(state, network, allow=["stride_in_1x1"]).random[2:]


def test_allowing_what_does_not_exist_is_refused():
    assert "'haed'" in refusal(own(1).state_dict(), own(2), allow=["haed"])


@pytest.mark.parametrize(
    "state",
    [
        {"encoder.conv.weight": torch.zeros(1)},
        {f"features.{i}.weight": torch.zeros(2, 2, 3, 3) for i in (0, 3, 6)},
        # Other classifiers under the name by which segmentation networks on BGR input carry theirs.
        torchvision_resnet18() | {"layer5.0.weight": torch.zeros(1)},
    ],
)
def test_unknown_layouts_are_refused(state):
    assert "no known layout" in refusal(state, deeplab(torchvision_resnet(18)))


def test_weights_are_converted_to_the_networks_dtype():
    state = {name: tensor.double() for name, tensor in own(1).state_dict().items()}
    network = own(2)
    assign_weights(state, network)
    assert network.head.branches[0].weight.dtype == torch.float32
