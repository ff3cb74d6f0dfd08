"""`deeplab weights convert`, and initial weights that decide what a network is fed with."""

import hashlib
from functools import partial

import pytest
import torch

from caffe_files import blob, layer, net
from deeplab.models.checkpoint_file import CHECKPOINT_KEY
from deeplab.models.deeplab import DeepLab
from deeplab.models.heads import DirectASPP, LargeFOV
from deeplab.models.image_input import ImageInput
from deeplab.models.layout import CAFFE_INPUT, TORCHVISION_INPUT
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.vgg import VGG16
from deeplab.models.weight_file import read_weight_file
from deeplab.models.weights import load_weights


def network(backbone, head, convention=TORCHVISION_INPUT, num_classes=3):
    convention = ImageInput(convention.channels, convention.scale, convention.mean, convention.std)
    return DeepLab(convention, backbone, head, num_classes)


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """The full VGG-16 as a caffemodel, with 16 channels instead of 4096, and its network."""
    torch.manual_seed(0)
    full = network(VGG16(), partial(LargeFOV, kernel_size=7, rate=4, hidden_channels=16), CAFFE_INPUT)
    for name in ("fc6", "fc7"):
        torch.nn.init.normal_(full.get_submodule(f"head.{name}").bias)
    layers = []
    for name, tensor in full.state_dict().items():
        module, _, kind = name.removeprefix("backbone.").removeprefix("head.").rpartition(".")
        if kind == "weight" and module != "fc8":
            bias = full.get_submodule(name.rpartition(".")[0]).bias.detach()
            if module.startswith("fc"):
                layers.append(layer(module, "InnerProduct", [blob(tensor.flatten(1)), blob(bias)]))
            else:
                layers.append(layer(module, "Convolution", [blob(tensor), blob(bias)]))
    layers.append(layer("fc8", "InnerProduct", [blob(torch.zeros(10, 16)), blob(torch.zeros(10))]))
    path = tmp_path_factory.mktemp("vgg") / "VGG (16) = ü.caffemodel"
    path.write_bytes(net(*layers))
    return path, full


def test_a_caffemodel_becomes_a_file_of_ours(run, vgg16, tmp_path):
    source, full = vgg16
    result = run(
        "weights convert", str(source), "out/a b=c.pth", "kernel_size=3", "hidden_channels=4", "seed=5"
    ).worked()
    for line in (
        "(Caffe VGG-16)",
        f"sha256: {hashlib.sha256(source.read_bytes()).hexdigest()}",
        "matched: 30 tensors",
        "skipped: 2 (fc8.weight, fc8.bias)",
        "random when loaded: 0",
        "input: BGR, scale 1,",
        "subsampled to 4 filters, seed 5",
    ):
        assert line in result.out + result.err
    target = result.folder / "out" / "a b=c.pth"
    small = network(VGG16(), partial(LargeFOV, hidden_channels=4), CAFFE_INPUT)
    report = load_weights(target, small)
    assert report.convention == CAFFE_INPUT and report.random == ("head.fc8.weight", "head.fc8.bias")
    assert torch.equal(small.backbone.conv5_3.weight, full.backbone.conv5_3.weight)
    kept = [full.head.fc6.bias.tolist().index(bias) for bias in small.head.fc6.bias.tolist()]
    assert torch.equal(small.head.fc6.weight, full.head.fc6.weight[kept][:, :, ::3, ::3])
    with pytest.raises(ValueError, match="the weights expect BGR"):
        load_weights(target, network(VGG16(), partial(LargeFOV, hidden_channels=4)))


def test_conversion_leaves_fc6_whole_and_loading_subsamples(run, vgg16, tmp_path):
    source, _ = vgg16
    folder = run("weights convert", f"source={source}", "target=whole.pth").worked().folder
    small, direct = (network(VGG16(), partial(LargeFOV, hidden_channels=4), CAFFE_INPUT) for _ in range(2))
    report = load_weights(folder / "whole.pth", small)
    assert report.notes == ("fc6 and fc7: 4 of 16 filters, 3x3",)
    load_weights(source, direct)
    assert torch.equal(small.head.fc6.weight, direct.head.fc6.weight)


def test_the_note_of_a_network_that_saw_val_travels(run, vgg16, tmp_path):
    source, _ = vgg16
    (tmp_path / "train2_iter_20000.caffemodel").write_bytes(source.read_bytes())
    result = run("weights convert", str(tmp_path / "train2_iter_20000.caffemodel"), "released.pth").worked()
    assert "trained on VOC's val pictures too" in result.out + result.err
    small = network(VGG16(), partial(LargeFOV, hidden_channels=4), CAFFE_INPUT)
    assert any("val pictures too" in note for note in load_weights(result.folder / "released.pth", small).notes)


def test_what_cannot_be_converted_leaves_nothing(run, vgg16, tmp_path):
    source, _ = vgg16
    content = source.read_bytes()
    (tmp_path / "cut.caffemodel").write_bytes(content[: len(content) // 3])
    (tmp_path / "folder.caffemodel").mkdir()
    torch.save({"strange.weight": torch.zeros(1)}, tmp_path / "strange.pth")
    # Without its last stage.
    torch.save({f"conv{n}_1.weight": torch.zeros(1) for n in range(1, 5)}, tmp_path / "part.pth")
    for arguments, parts in (
        ([f"{tmp_path}/cut.caffemodel", "x.pth"], ["source: ", "truncated or damaged"]),
        ([f"{tmp_path}/strange.pth", "x.pth"], ["no known layout names its tensors like 'strange.weight'"]),
        ([f"{tmp_path}/part.pth", "x.pth"], ["no known layout"]),
        ([f"{tmp_path}/folder.caffemodel", "x.pth"], ["is a folder; name the .caffemodel file in it"]),
        ([f"{tmp_path}/nowhere.pth", "x.pth"], ["nowhere.pth: cannot be read"]),
        ([str(source)], ["No value for target"]),
        ([str(source), str(source)], ["is the source"]),
        ([str(source), "x.pth", "hidden_channels=17"], ["cannot be subsampled to 17 filters"]),
        ([str(source), "x.pth", "kernel_size=0"], ["kernel_size=0: it must be at least 1"]),
        ([str(source), "/proc/x.pth"], ["Cannot write /proc/x.pth"]),
    ):
        result = run("weights convert", *arguments)
        result.refused(*parts)
        assert not (result.folder / "x.pth").exists() and not list(result.folder.glob(".*.part"))


def test_missing_and_other_tensors_are_named(run, vgg16, tmp_path):
    _, full = vgg16
    state = {name.partition(".")[2]: tensor for name, tensor in full.state_dict().items() if "backbone" in name}
    del state["conv2_2.bias"]
    state["conv4_1.weight"] = torch.zeros(512, 256, 1, 1)
    torch.save(state, tmp_path / "x.pth")
    sentence = run("weights convert", f"{tmp_path}/x.pth", "y.pth").refused("2 tensors do not fit the backbone")
    assert "backbone.conv2_2.bias: nothing in the file, (128,) in the backbone" in sentence
    allowed = "allow=[backbone.conv2_2.bias,backbone.conv4_1]"
    result = run("weights convert", f"{tmp_path}/x.pth", "y.pth", allowed).worked()
    assert "random when loaded: 2 (backbone.conv2_2.bias, backbone.conv4_1.weight)" in result.out + result.err


TINY = ("model/backbone=mobilenetv2", "model/head=aspp_s", "optim.max_steps=1", "data.crop_size=33", "evaluate=none")
DATA = (
    "data.layout.sizes={train:4,val:1,test:1}",
    "data.num_workers=0",
    "crf=none",
    "optim.global_batch_size=2",
    "optim.loss_group=2",
    "trainer.progress_bar=false",
)


def test_the_file_decides_the_input(run, tmp_path):
    torch.manual_seed(0)
    state = network(MobileNetV2(), partial(DirectASPP, rates=(1,))).backbone.state_dict()
    torch.save(dict(state), tmp_path / "mobilenet.pth")
    arguments = (*TINY, *DATA, "model/input=caffe_bgr", "init=file", f"init.path={tmp_path}/mobilenet.pth")
    result = run("train", *arguments, "init.allow=[head]").worked()
    assert "model.input is now what the weights" in result.out + result.err
    [path] = result.folder.rglob("last.ckpt")
    carried = torch.load(path, weights_only=True)[CHECKPOINT_KEY]["config"]["model"]["input"]
    assert carried["channels"] == "rgb" and carried["std"] == list(TORCHVISION_INPUT.std)

    # The checkpoint tells its input too, although its names do not.
    assert read_weight_file(path).convention == TORCHVISION_INPUT
    again = (*TINY, *DATA, "model/input=caffe_bgr", "init=file", f"init.path={path}", "init.allow=[input]")
    result = run("train", *again, "hydra.run.dir=kept").worked()
    assert "model.input is now" not in result.out + result.err
    carried = torch.load(result.folder / "kept/checkpoints/last.ckpt", weights_only=True)[CHECKPOINT_KEY]["config"]
    assert carried["model"]["input"]["channels"] == "bgr"


def test_strides_go_with_torchvisions_resnet(run, tmp_path):
    from deeplab.models.resnet import ResNet

    torch.save(ResNet(50, stride_in_1x1=False, width=0.0625).state_dict(), tmp_path / "resnet.pth")
    arguments = (*TINY, *DATA, "model/backbone=resnet50", "model.backbone.width=0.0625", "init=file")
    result = run("train", *arguments, f"init.path={tmp_path}/resnet.pth", "init.allow=[head]").worked()
    assert "stride_in_1x1 and ceil_pool False" in result.out + result.err
    [path] = result.folder.rglob("last.ckpt")
    backbone = torch.load(path, weights_only=True)[CHECKPOINT_KEY]["config"]["model"]["backbone"]
    assert backbone["stride_in_1x1"] is False and backbone["ceil_pool"] is False
