import hashlib
import os
import random
import re
import struct

import pytest
import torch

from deeplab.models.checkpoint_file import CHECKPOINT_KEY, read_checkpoint, read_state_dict
from deeplab.models.mobilenet import MobileNetV2
from deeplab.models.weight_file import read_weight_file

STATE = {"a.weight": torch.arange(12.0).view(3, 4), "a.bias": torch.zeros(3)}
FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def save(path, content, is_zip=True):
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def refusal(path, read=read_checkpoint):
    """Return the message of the refusal, which is one sentence that begins with the file."""
    with pytest.raises(ValueError) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is ValueError and message.startswith(f"{path}: ")
    assert "\n" not in message and message.endswith(".") and not re.search(r"\. [A-Z]", message)
    return message


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@FORMATS
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3, "config": {}}])
def test_state_dicts_are_read_bare_and_wrapped(tmp_path, is_zip, wrap):
    state = read_state_dict(save(tmp_path / "Müller, (1) = ü.pth", wrap(STATE), is_zip))
    assert list(state) == list(STATE) and all(torch.equal(state[name], STATE[name]) for name in STATE)


@FORMATS
def test_code_is_refused_and_not_run(tmp_path, is_zip):
    trace = tmp_path / "trace"
    path = save(tmp_path / "evil.pth", {"a": Malicious(f"touch {trace}"), **STATE}, is_zip)
    assert f"pickled code ({os.system.__module__}.system)" in refusal(path)
    assert not trace.exists()


def test_a_pickled_module_is_refused_with_the_remedy(tmp_path):
    message = refusal(save(tmp_path / "module.pth", torch.nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in message and "state_dict()" in message


@FORMATS
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.99])
def test_truncated_files_are_refused(tmp_path, is_zip, share):
    content = save(tmp_path / "whole.pth", STATE, is_zip).read_bytes()
    path = tmp_path / "part.pth"
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated or damaged" in refusal(path)


@FORMATS
@pytest.mark.parametrize("size", [5_000, 20_000, 60_000, 70_000])
def test_files_cut_within_the_reach_of_the_zips_directory_are_refused_as_truncated(tmp_path, is_zip, size):
    content = save(tmp_path / "whole.pth", {"a": torch.zeros(30_000)}, is_zip).read_bytes()
    path = tmp_path / "part.pth"
    path.write_bytes(content[:size])
    assert "truncated or damaged" in refusal(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@FORMATS
def test_damaged_files_are_read_or_refused_but_nothing_else(tmp_path, is_zip):
    content = save(tmp_path / "whole.pth", STATE, is_zip).read_bytes()
    path, draw, refused = tmp_path / "damaged.pth", random.Random(0), 0
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 3, 10])):
            damaged[draw.randrange(min(len(damaged), 900))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_state_dict(path)
        except ValueError as error:
            assert type(error) is ValueError
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "content", [b"", b"hello\n" * 50, b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(99)]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "picture.pth"
    path.write_bytes(content)
    assert "not a weight file" in refusal(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.pth")
    assert "is a folder; name a file in it, of a run checkpoints/best.ckpt" in refusal(tmp_path)


@pytest.mark.parametrize(("content", "message"), [([1, 2], "holds a list"), ({"epoch": 3}, "holds no tensors by name")])
def test_files_without_tensors_by_name_are_refused(tmp_path, content, message):
    assert message in refusal(save(tmp_path / "x.pth", content), read_state_dict)


def test_a_flipped_bit_in_a_weight_is_refused(tmp_path):
    path = save(tmp_path / "a.pth", {"features.0.weight": torch.full((4, 3, 3, 3), 0.5)})
    whole, half = path.read_bytes(), struct.pack("<f", 0.5)
    path.write_bytes(whole.replace(4 * half, 3 * half + struct.pack("<f", 0.75), 1))
    assert read_checkpoint(path)["features.0.weight"].max() == 0.75  # torch does not see it
    assert "the checksum of " in refusal(path, read_weight_file)


@pytest.mark.parametrize("model", [{}, {"input": {}}, {"input": {"channels": "bgr", "scale": "x"}}, 3])
def test_a_checkpoint_whose_configuration_is_damaged_tells_no_input(tmp_path, model):
    state = {f"backbone.{name}": tensor for name, tensor in MobileNetV2(8, width=0.1).state_dict().items()}
    path = save(tmp_path / "a.ckpt", {"state_dict": state, CHECKPOINT_KEY: {"config": {"model": model}}})
    file = read_weight_file(path)
    assert file.convention is None and file.stride_in_1x1 is None


def test_what_follows_the_tensors_of_an_old_file_is_refused(tmp_path):
    path = save(tmp_path / "old.pth", STATE, is_zip=False)
    path.write_bytes(path.read_bytes() + bytes(8))
    assert "8 bytes follow its tensors" in refusal(path)


@FORMATS
def test_a_weight_file_tells_its_sha256(tmp_path, is_zip):
    path = save(tmp_path / "m.pth", MobileNetV2(width=0.25).state_dict(), is_zip)
    assert read_weight_file(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@FORMATS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features.0.0.weight", float("nan")),
        ("features.0.0.weight", float("-inf")),
        ("features.0.0.weight", -3e30),
        ("features.0.1.running_mean", 1e8),
        ("features.0.1.running_var", -1.0),
    ],
)
def test_values_that_no_trained_network_has_are_refused(tmp_path, is_zip, name, value):
    state = MobileNetV2(width=0.25).state_dict()
    state[name].view(-1)[3] = value
    message = refusal(save(tmp_path / "m.pth", state, is_zip), read_weight_file)
    assert f"{name} holds {value:.3g}" in message
