"""Reading Caffe's `.caffemodel` files: tensors by layer name; nothing in them is run.

A file is a protobuf message `NetParameter`. Only the fields that carry weights are described here (numbers as in
Caffe's caffe.proto); the library skips all others.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from torch import Tensor

_Field = descriptor_pb2.FieldDescriptorProto
_INT32, _INT64, _BYTES = _Field.TYPE_INT32, _Field.TYPE_INT64, _Field.TYPE_BYTES
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED

# Message: name, number, type (a message's name or one of protobuf's), label. Caffe packs the numbers of a blob, and
# packed numbers are bytes on the wire: read as such, they become a tensor without a Python object each.
_MESSAGES: dict[str, tuple[tuple[str, int, Any, int], ...]] = {
    "BlobShape": (("dim", 1, _INT64, _MANY),),
    "Blob": (
        ("num", 1, _INT32, _ONE),
        ("channels", 2, _INT32, _ONE),
        ("height", 3, _INT32, _ONE),
        ("width", 4, _INT32, _ONE),
        ("data", 5, _BYTES, _MANY),
        ("shape", 7, "BlobShape", _ONE),
        ("double_data", 8, _BYTES, _MANY),
    ),
    "OldLayer": (("name", 4, _BYTES, _ONE), ("type", 5, _INT32, _ONE), ("blobs", 6, "Blob", _MANY)),
    "Layer": (("name", 1, _BYTES, _ONE), ("type", 2, _BYTES, _ONE), ("blobs", 7, "Blob", _MANY)),
    "Net": (("name", 1, _BYTES, _ONE), ("layers", 2, "OldLayer", _MANY), ("layer", 100, "Layer", _MANY)),
}
# NetParameter's fields without weights: input, input_dim, force_backward, state, debug_info, input_shape.
_OTHER_FIELDS = {3, 4, 5, 6, 7, 8}
OLD_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}  # V1LayerParameter.LayerType


def read_caffemodel(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file as "LAYER.KIND", both of the old form (`layers`) and of the new (`layer`).

    KIND is weight and bias for convolutions, fully connected layers and Scale layers; running_mean and running_var,
    divided by the factor that is stored beside them, for BatchNorm; blob0, blob1, ... for others.
    Fully connected weights are (out, in), convolutions (out, in, height, width).

    Raises ValueError for a file that is not readable, no caffemodel, truncated, or inconsistent in itself.
    """
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise ValueError(f"{path}: is a folder; name the .caffemodel file in it.") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the path of a weight file.") from error
    net = _net_class()()
    try:
        net.ParseFromString(content)
    except message.DecodeError as error:
        raise ValueError(
            f"{path}: neither a weight file of torch.save nor a caffemodel, or truncated or damaged; fetch or write it "
            "again."
        ) from error
    unknown = {field.field_number for field in UnknownFieldSet(net)} - _OTHER_FIELDS
    if unknown:
        raise ValueError(f"{path}: holds fields that no caffemodel has ({min(unknown)}); the file is damaged.")
    state: dict[str, Tensor] = {}
    for name, kind, blobs in _layers(net):
        for key, tensor in _tensors(f"{path}: layer {name}", kind, blobs):
            if f"{name}.{key}" in state:
                raise ValueError(f"{path}: two layers with weights are named {name}; give a file as Caffe writes it.")
            state[f"{name}.{key}"] = tensor
    if not state:
        raise ValueError(
            f"{path}: neither a weight file of torch.save nor a caffemodel with weights, or truncated or damaged; "
            "fetch or write it again."
        )
    return state


@cache
def _net_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="caffemodel.proto", package="caffemodel", syntax="proto2")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            if isinstance(kind, str):
                described.field.add(
                    name=field, number=number, type=_Field.TYPE_MESSAGE, type_name=f".caffemodel.{kind}", label=label
                )
            else:
                described.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()  # an own one: other packages may describe Caffe's messages too
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffemodel.Net"))


def _layers(net: Any) -> Iterator[tuple[str, str, Any]]:
    for layer in net.layers:
        yield layer.name.decode(errors="replace"), OLD_TYPES.get(layer.type, ""), layer.blobs
    for layer in net.layer:
        yield layer.name.decode(errors="replace"), layer.type.decode(errors="replace"), layer.blobs


def _tensors(where: str, kind: str, blobs: Any) -> Iterator[tuple[str, Tensor]]:
    values = [_blob(where, blob) for blob in blobs]
    if kind == "BatchNorm" and len(values) == 3:
        mean, variance, factor = values
        if factor.numel() != 1 or factor.item() == 0:
            raise ValueError(f"{where}: its statistics have no factor to divide by; the layer was never trained.")
        yield "running_mean", mean.flatten() / factor.item()
        yield "running_var", variance.flatten() / factor.item()
    elif kind in ("Convolution", "Deconvolution", "InnerProduct", "Scale") and len(values) in (1, 2):
        yield "weight", _weight(kind, values[0])
        if len(values) == 2:
            yield "bias", values[1].flatten()
    else:
        yield from ((f"blob{number}", value) for number, value in enumerate(values))


def _weight(kind: str, value: Tensor) -> Tensor:
    if kind == "Scale":
        return value.flatten()
    if kind == "InnerProduct" and value.ndim == 4:  # the old form writes (1, 1, out, in)
        return value.flatten(0, 2)
    return value


def _blob(where: str, blob: Any) -> Tensor:
    raw, dtype = (b"".join(blob.data), torch.float32) if blob.data else (b"".join(blob.double_data), torch.float64)
    shape: Sequence[int] = (
        tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    )
    if min(shape, default=1) < 0 or len(raw) != prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{where}: a blob of shape {tuple(shape)} holds {len(raw) // dtype.itemsize} values; the file is damaged."
        )
    values = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.zeros(0)
    return values.to(torch.float32).reshape(tuple(shape))
