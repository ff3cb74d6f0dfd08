import pytest
import torch

from caffe_files import blob, layer, net, number, old_layer, packed, piece
from deeplab.models.caffemodel import read_caffemodel

WEIGHT, BIAS = torch.arange(2 * 3 * 1 * 2.0).view(2, 3, 1, 2), torch.tensor([0.5, -2.0])


def written(tmp_path, *layers):
    path = tmp_path / "Müller (1) = ü.caffemodel"
    path.write_bytes(net(*layers))
    return path


@pytest.mark.parametrize("options", [{}, {"old": True}, {"double": True}, {"with_diff": True}])
@pytest.mark.parametrize("make", [lambda *a: layer(a[0], "Convolution", a[1]), lambda *a: old_layer(a[0], 4, a[1])])
def test_convolutions_of_both_forms(tmp_path, make, options):
    path = written(tmp_path, old_layer("relu", 18, []), make("conv", [blob(WEIGHT, **options), blob(BIAS, **options)]))
    state = read_caffemodel(path)
    assert list(state) == ["conv.weight", "conv.bias"]
    assert torch.equal(state["conv.weight"], WEIGHT) and torch.equal(state["conv.bias"], BIAS)
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


@pytest.mark.parametrize("old", [True, False])
def test_fully_connected_weights_are_out_by_in(tmp_path, old):
    weight = torch.arange(6.0).view(2, 3)
    make = old_layer("fc6", 14, [blob(weight, old), blob(BIAS, old)])
    state = read_caffemodel(written(tmp_path, make))
    assert torch.equal(state["fc6.weight"], weight) and torch.equal(state["fc6.bias"], BIAS)


def test_statistics_are_divided_by_the_factor_beside_them(tmp_path):
    mean, variance = torch.tensor([1.0, -3.0]), torch.tensor([4.0, 0.25])
    batch_norm = layer("bn", "BatchNorm", [blob(mean * 8), blob(variance * 8), blob(torch.tensor([8.0]))])
    scale = layer("scale", "Scale", [blob(BIAS), blob(-BIAS)])
    state = read_caffemodel(written(tmp_path, batch_norm, scale))
    assert torch.equal(state["bn.running_mean"], mean) and torch.equal(state["bn.running_var"], variance)
    assert torch.equal(state["scale.weight"], BIAS) and torch.equal(state["scale.bias"], -BIAS)


def test_numbers_in_several_pieces_are_joined(tmp_path):
    data = packed(5, [1.0, 2.0]) + packed(5, [3.0])
    path = written(tmp_path, layer("a", "Convolution", [piece(7, piece(1, b"\x03")) + data]))
    assert read_caffemodel(path)["a.weight"].tolist() == [1.0, 2.0, 3.0]


def test_blobs_of_other_layers_are_kept_under_numbers(tmp_path):
    assert list(read_caffemodel(written(tmp_path, layer("norm", "Normalize", [blob(BIAS)])))) == ["norm.blob0"]


def refusal(path):
    with pytest.raises(ValueError) as caught:
        read_caffemodel(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message
    return message


@pytest.mark.parametrize("cut", [1, 5, 40, -1])
def test_truncated_files_are_refused(tmp_path, cut):
    path = written(tmp_path, layer("conv", "Convolution", [blob(WEIGHT), blob(BIAS)]))
    path.write_bytes(path.read_bytes()[:cut])
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"name: 'a prototxt, not a model'\n", b"\x89HDF\r\n\x1a\n", b"GIF89a" * 9])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert "neither a weight file of torch.save nor a caffemodel" in refusal(tmp_path / "x")


def test_a_network_without_weights_is_refused(tmp_path):
    assert "with weights" in refusal(written(tmp_path, layer("relu", "ReLU", [])))


@pytest.mark.parametrize("shape", [[2, 3, 1, 3], [1]])
def test_shapes_that_do_not_fit_the_numbers_are_refused(tmp_path, shape):
    wrong = piece(7, piece(1, bytes(shape))) + packed(5, WEIGHT.flatten().tolist())
    assert "layer conv: a blob of shape" in refusal(written(tmp_path, layer("conv", "Convolution", [wrong])))


def test_negative_shapes_and_missing_numbers_are_refused(tmp_path):
    negative = piece(7, piece(1, b"\xff" * 9 + b"\x01")) + packed(5, [1.0])
    assert "shape (-1,)" in refusal(written(tmp_path, layer("conv", "Convolution", [negative])))
    unpacked = number(1, 1) + number(2, 1) + number(3, 1) + number(4, 1) + b"\x2d\0\0\x80\x3f"
    assert "holds 0 values" in refusal(written(tmp_path, layer("conv", "Convolution", [unpacked])))


def test_two_layers_of_one_name_and_untrained_statistics_are_refused(tmp_path):
    twice = [layer("conv", "Convolution", [blob(WEIGHT)])] * 2
    assert "two layers with weights are named conv" in refusal(written(tmp_path, *twice))
    zero = layer("bn", "BatchNorm", [blob(BIAS), blob(BIAS), blob(torch.zeros(1))])
    assert "no factor to divide by" in refusal(written(tmp_path, zero))


def test_a_missing_file_is_named(tmp_path):
    assert "cannot be read" in refusal(tmp_path / "nowhere.caffemodel")
    (tmp_path / "folder.caffemodel").mkdir()
    assert "is a folder; name the .caffemodel file in it" in refusal(tmp_path / "folder.caffemodel")


def test_what_follows_the_network_is_refused_and_its_inputs_are_not(tmp_path):
    path = written(
        tmp_path, layer("conv", "Convolution", [blob(WEIGHT)]), piece(3, b"data"), number(4, 1), number(5, 0)
    )
    assert list(read_caffemodel(path)) == ["conv.weight"]
    path.write_bytes(path.read_bytes() + number(9, 1))
    assert "fields that no caffemodel has (9)" in refusal(path)
