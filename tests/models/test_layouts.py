"""State dicts and caffemodels in each known layout, made of a small network of ours, come back as they were."""

from functools import partial

import pytest
import torch
from torch import nn

from caffe_files import blob, layer, net, old_layer, resnet_layers
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import ASPP, Classifier, DirectASPP, LargeFOV
from deeplab.models.image_input import ImageInput
from deeplab.models.layout import CAFFE_INPUT
from deeplab.models.multi_scale import MultiScale
from deeplab.models.resnet import ResNet
from deeplab.models.vgg import VGG16
from deeplab.models.weight_file import SEEN_VAL, read_weight_file
from deeplab.models.weights import COUNTER, load_weights

RATES = (6, 12, 18, 24)


def bgr(backbone, head=Classifier, num_classes=3):
    network_input = ImageInput(CAFFE_INPUT.channels, CAFFE_INPUT.scale, CAFFE_INPUT.mean, CAFFE_INPUT.std)
    network = DeepLab(network_input, backbone, head, num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias)
    return network


resnet = partial(ResNet, depth=101, width=1 / 16)


def kazuto(name):
    """The name in kazuto1011/deeplab-pytorch of a tensor of ours."""
    part, _, rest = name.partition(".")
    if part == "head":
        return rest.replace("branches.", "aspp.c")
    if rest.startswith(("conv1.", "bn1.")):
        return "layer1.conv1." + rest.replace("1.", ".", 1)
    stage, block, *unit, kind = rest.split(".")
    if unit[0] == "downsample":
        names = ("shortcut", "conv" if unit[1] == "0" else "bn")
    else:
        names = (("reduce", "conv3x3", "increase")[int(unit[0][-1]) - 1], unit[0][:-1])
    return f"layer{int(stage[-1]) + 1}.block{int(block) + 1}.{names[0]}.{names[1]}.{kind}"


def scale(name, classifier="layer5"):
    part, _, rest = name.partition(".")
    return rest.replace("branches", f"{classifier}.conv2d_list") if part == "head" else rest


WRITERS = {
    "kazuto1011": lambda state: {f"base.{kazuto(name)}": tensor for name, tensor in state.items()},
    "kazuto1011 on several GPUs": lambda state: {f"module.base.{kazuto(name)}": t for name, t in state.items()},
    "kazuto1011 single scale": lambda state: {kazuto(name): tensor for name, tensor in state.items()},
    "isht7 or speedinghzl": lambda state: {f"Scale.{scale(name)}": tensor for name, tensor in state.items()},
    "AdaptSegNet or speedinghzl": lambda state: {scale(name): tensor for name, tensor in state.items()},
    "AdaptSegNet of two levels": lambda state: {
        **{scale(name, "layer6"): tensor for name, tensor in state.items()},
        **{f"layer5.conv2d_list.{n}.weight": torch.zeros(3, 64, 3, 3) for n in range(4)},
    },
}


def assert_equal(first, second, rtol=0.0):
    tensors, expected = second.state_dict(), first.state_dict()
    for name, tensor in expected.items():
        if not name.endswith(COUNTER):
            torch.testing.assert_close(tensors[name], tensor, rtol=rtol, atol=0)


@pytest.mark.parametrize("layout", WRITERS)
def test_ports_of_the_resnet(tmp_path, layout):
    first, second = (bgr(resnet(), partial(DirectASPP, rates=RATES)) for _ in range(2))
    torch.save(WRITERS[layout](first.state_dict()), tmp_path / "x.pth")
    report = load_weights(tmp_path / "x.pth", MultiScale(second))
    assert_equal(first, second)
    assert layout.startswith(report.layout) and report.convention == CAFFE_INPUT
    assert report.random == () and len(report.skipped) == (4 if "two levels" in layout else 0)
    assert any("only the first two branches" in note for note in report.notes) == ("kazuto" not in layout)


def test_what_only_two_branches_were_trained_for(tmp_path):
    first, second = bgr(resnet(), partial(DirectASPP, rates=RATES)), bgr(resnet(), partial(DirectASPP, rates=(6, 12)))
    torch.save(WRITERS["AdaptSegNet or speedinghzl"](first.state_dict()), tmp_path / "x.pth")
    report = load_weights(tmp_path / "x.pth", second, allow=["head.branches.2", "head.branches.3"])
    assert report.skipped == tuple(f"layer5.conv2d_list.{n}.{kind}" for n in (2, 3) for kind in ("weight", "bias"))
    assert torch.equal(second.head.branches[1].weight, first.head.branches[1].weight)


def test_pre_training_on_coco_leaves_another_head_random(tmp_path):
    first, second = bgr(resnet(), num_classes=91), bgr(resnet(), partial(DirectASPP, rates=RATES))
    torch.save({kazuto(name): tensor for name, tensor in first.state_dict().items()}, tmp_path / "coco.pth")
    with pytest.raises(ValueError, match=r"the file has, and the network lacks, 2 tensors \(head\.fc\.weight"):
        load_weights(tmp_path / "coco.pth", second, allow=["head.branches"])
    report = load_weights(tmp_path / "coco.pth", second, allow=["head"])
    assert report.skipped == ("fc.weight", "fc.bias") and len(report.random) == 8
    assert_equal(first.backbone, second.backbone)


def vgg_ours(name):
    return name.partition(".")[2]


def test_wangleihitcs(tmp_path):
    first, second = (bgr(VGG16(), partial(LargeFOV, hidden_channels=8)) for _ in range(2))
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 32, 35, 38]
    names = [name.rpartition(".")[0] for name in first.state_dict() if name.endswith("weight")]
    index = dict(zip(names, convolutions, strict=True))
    state = {}
    for name, tensor in first.state_dict().items():
        module, _, kind = name.rpartition(".")
        state[f"module.features.{index[module]}.{kind}"] = tensor
    torch.save(state, tmp_path / "x.pth")
    report = load_weights(tmp_path / "x.pth", second)
    assert_equal(first, second)
    assert report.layout == "wangleihitcs" and report.convention == CAFFE_INPUT
    assert report.random == report.skipped == () and "avg_pool=true" in report.notes[0]


@pytest.mark.parametrize("name", ["train_iter_20000.caffemodel", "train2_iter_20000.caffemodel"])
def test_the_released_resnet(tmp_path, name):
    first, second = (bgr(resnet(), partial(DirectASPP, rates=RATES)) for _ in range(2))
    state = first.state_dict()
    layers = list(resnet_layers(state, copies=("", "_res075", "_res05")))
    copies = 2 * len(layers) // 3 // 4 * (1 + 2 + 2)  # of four layers a unit, three have weights
    for copy in ("", "_res075", "_res05"):
        for branch in range(4):
            blobs = [blob(state[f"head.branches.{branch}.{kind}"]) for kind in ("weight", "bias")]
            layers.append(layer(f"fc1_voc12_c{branch}{copy}", "Convolution", blobs))
    (tmp_path / name).write_bytes(net(*layers))
    report = load_weights(tmp_path / name, second)
    assert_equal(first, second, rtol=1e-6)  # mean * factor / factor
    assert report.layout == "Caffe ResNet" and report.convention == CAFFE_INPUT and report.random == ()
    assert len(report.skipped) == copies + 16 and all("_res0" in key for key in report.skipped)
    assert report.notes == ((SEEN_VAL,) if name.startswith("train2") else ())


def caffe_vgg(state, rename, write):
    names = dict.fromkeys(name.rpartition(".")[0] for name in state)
    return net(
        *(write(rename(name), [blob(state[f"{name}.weight"]), blob(state[f"{name}.bias"])]) for name in names),
        write("fc8", [blob(torch.zeros(10, 4)), blob(torch.zeros(10))]),
    )


@pytest.fixture(scope="module")
def vgg_files(tmp_path_factory):
    """Two caffemodels, in the new form and in the old, with the networks that they are of."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vgg")
    branches = bgr(VGG16(), partial(ASPP, rates=(6, 12), hidden_channels=4))
    single = bgr(VGG16(), partial(LargeFOV, hidden_channels=4))

    def of_branches(name):
        part, _, rest = name.partition(".")
        _, number, fc = ("", "", "") if part == "backbone" else rest.split(".")
        return rest if part == "backbone" else f"{'fc8_voc12' if fc == 'fc8' else fc}_{int(number) + 1}"

    def of_one(name):
        return name.partition(".")[2].replace("fc8", "fc8_voc12")

    def new(name, blobs):
        return layer(name, "Convolution", blobs)

    def old(name, blobs):
        return old_layer(name, 4, blobs)

    (folder / "aspp.caffemodel").write_bytes(caffe_vgg(branches.state_dict(), of_branches, new))
    (folder / "large_fov.caffemodel").write_bytes(caffe_vgg(single.state_dict(), of_one, old))
    return folder, branches, single


def test_the_released_vgg16_networks(vgg_files):
    folder, branches, single = vgg_files
    for name, first, head in (
        ("aspp", branches, partial(ASPP, rates=(6, 12), hidden_channels=4)),
        ("large_fov", single, partial(LargeFOV, hidden_channels=4)),
    ):
        second = bgr(VGG16(), head)
        report = load_weights(folder / f"{name}.caffemodel", second)
        assert_equal(first, second)
        assert report.layout == "Caffe VGG-16" and report.convention == CAFFE_INPUT
        assert report.random == () and report.skipped == ("fc8.weight", "fc8.bias")


def test_large_fov_starts_every_branch_of_aspp(vgg_files):
    folder, _, single = vgg_files
    second = bgr(VGG16(), partial(ASPP, rates=(6, 12), hidden_channels=4))
    with pytest.raises(ValueError, match="lacks"):  # its classifier fits no branch
        load_weights(folder / "large_fov.caffemodel", second)
    report = load_weights(folder / "large_fov.caffemodel", second, allow=["head"])
    for branch in second.head.branches:
        assert_equal(single.head.fc6, branch.fc6)
        assert_equal(single.head.fc7, branch.fc7)
    assert {name.split(".")[3] for name in report.random} == {"fc8"}


def test_a_truncated_caffemodel_changes_nothing(vgg_files, tmp_path):
    folder, *_ = vgg_files
    content = (folder / "aspp.caffemodel").read_bytes()
    (tmp_path / "x.caffemodel").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_weight_file(tmp_path / "x.caffemodel")
