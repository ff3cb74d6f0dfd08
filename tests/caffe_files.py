"""Writes caffemodels byte by byte (the wire format of protocol buffers), independently of the code that reads them."""

import struct


def varint(value):
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def piece(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def packed(field, values, kind="f"):
    return piece(field, struct.pack(f"<{len(values)}{kind}", *values))


def blob(tensor, old=False, double=False, with_diff=False):
    """A BlobProto: its shape as dimensions, or as the old num, channels, height, width."""
    shape = [*[1] * (4 - tensor.ndim), *tensor.shape] if old else tensor.shape
    if old:
        head = b"".join(number(field, size) for field, size in enumerate(shape, start=1))
    else:
        head = piece(7, piece(1, b"".join(map(varint, shape))))
    data = (
        piece(8, tensor.numpy().astype("<f8").tobytes()) if double else piece(5, tensor.numpy().astype("<f4").tobytes())
    )
    return head + data + (packed(6, [0.0] * tensor.numel()) if with_diff else b"")


def layer(name, kind, blobs):
    """A LayerParameter, with fields around the weights that a reader has to skip (bottom, top, phase)."""
    around = piece(3, b"data") + piece(4, name.encode()) + number(10, 1)
    return piece(100, piece(1, name.encode()) + piece(2, kind.encode()) + around + b"".join(piece(7, b) for b in blobs))


def old_layer(name, kind, blobs):
    """A V1LayerParameter; 4 is a convolution, 14 fully connected, 18 a ReLU."""
    body = piece(2, b"data") + piece(4, name.encode()) + number(5, kind) + b"".join(piece(6, b) for b in blobs)
    return piece(2, body)


def net(*layers):
    return piece(1, b"DeepLab") + b"".join(layers)


def resnet_layers(state, copies=("",)):
    """Caffe's layers of a network of ours, by Caffe's names; `copies` are suffixes of the MSC copies."""
    for copy in copies:
        yield from _unit(
            state, "backbone.conv1", "backbone.bn1", f"conv1{copy}", f"bn_conv1{copy}", f"scale_conv1{copy}"
        )
        stages = [[name.split(".") for name in state if name.endswith(".conv1.weight") and ".layer" in name]]
        for _, stage, block, *_ in stages[0]:
            number_of_stage, index = int(stage[-1]) + 1, int(block)
            count = sum(each[1] == stage for each in stages[0])
            letters = "abcdefgh"[index] if count <= 3 else ("a" if index == 0 else f"b{index}")
            ours = f"backbone.{stage}.{block}"
            pairs = [(f"conv{n}", f"bn{n}", f"branch2{'abc'[n - 1]}") for n in (1, 2, 3)]
            if f"{ours}.downsample.0.weight" in state:
                pairs.append(("downsample.0", "downsample.1", "branch1"))
            for conv, bn, branch in pairs:
                suffix = f"{number_of_stage}{letters}_{branch}{copy}"
                yield from _unit(
                    state, f"{ours}.{conv}", f"{ours}.{bn}", f"res{suffix}", f"bn{suffix}", f"scale{suffix}"
                )


def _unit(state, conv, bn, conv_name, bn_name, scale_name):
    factor = 999.5
    statistics = [state[f"{bn}.running_mean"] * factor, state[f"{bn}.running_var"] * factor]
    yield layer(conv_name, "Convolution", [blob(state[f"{conv}.weight"])])
    yield layer(bn_name, "BatchNorm", [*map(blob, statistics), blob(statistics[0].new_tensor([factor]))])
    yield layer(scale_name, "Scale", [blob(state[f"{bn}.weight"]), blob(state[f"{bn}.bias"])])
    yield layer(f"{conv_name}_relu", "ReLU", [])
