from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from deeplab.errors import InputError
from deeplab.inference.score_files import ScoreMap, enlarge, read_scores, score_file

LOGITS = np.random.default_rng(0).normal(0, 3, (4, 5, 7)).astype(np.float32)
PROBABILITIES = torch.from_numpy(LOGITS).softmax(0).numpy()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("shape", [(40, 53), (5, 7), (11, 7), (3, 4), (1, 1), (37, 1)])
def test_enlarging_agrees_with_torch(shape: tuple[int, int], align_corners: bool) -> None:
    expected = F.interpolate(torch.from_numpy(LOGITS)[None], shape, mode="bilinear", align_corners=align_corners)[0]
    np.testing.assert_allclose(enlarge(LOGITS, shape, align_corners), expected.numpy(), atol=2e-5)


def test_the_kinds_convert_into_each_other() -> None:
    logits = ScoreMap(LOGITS, "logits")
    np.testing.assert_allclose(logits.unary("probabilities"), PROBABILITIES, atol=1e-6)
    assert logits.unary("logits") is LOGITS
    difference = ScoreMap(PROBABILITIES, "probabilities").unary("logits") - LOGITS
    np.testing.assert_allclose(difference - difference[:1], 0, atol=1e-4)  # a constant a pixel
    assert np.isfinite(ScoreMap(np.zeros((2, 1, 1), np.float32), "probabilities").unary("logits")).all()


def test_npz_and_npy(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=LOGITS.astype(np.float16))
    np.savez(tmp_path / "b_probabilities.npz", probabilities=PROBABILITIES)
    np.save(tmp_path / "c.npy", PROBABILITIES.astype(np.float64))
    np.save(tmp_path / "d.npy", LOGITS)
    for name, kind, values in [
        ("a", "logits", LOGITS.astype(np.float16)),
        ("b", "probabilities", PROBABILITIES),
        ("c", "probabilities", PROBABILITIES),
        ("d", "logits", LOGITS),
    ]:
        path = score_file(tmp_path, name)
        assert path is not None
        scores = read_scores(path)
        assert scores.kind == kind
        assert scores.values.dtype == np.float32
        np.testing.assert_allclose(scores.values, values, atol=1e-6)
    assert read_scores(tmp_path / "c.npy", "logits").kind == "logits"
    assert score_file(tmp_path, "e") is None


def test_png_score_maps(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "two.png")
    path = score_file(tmp_path, "two")
    assert path is not None
    np.testing.assert_allclose(read_scores(path).values, np.stack([1 - grey / 255, grey / 255]), atol=1e-6)
    deep = (np.random.default_rng(1).random((11, 3, 4)) * 65535).astype(np.uint16)
    (tmp_path / "many").mkdir()
    for k, each in enumerate(deep):  # the tenth comes after the ninth, not after the first
        Image.fromarray(each).save(tmp_path / "many" / f"{k}.png")
    path = score_file(tmp_path, "many")
    assert path is not None
    np.testing.assert_allclose(read_scores(path).values, deep / deep.sum(0, dtype=np.float64), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("a.npz", lambda path: np.savez(path, scores=LOGITS), "needs one of the keys logits and probabilities"),
        ("a.npz", lambda path: np.savez(path, logits=LOGITS[0]), r"scores of shape \(5, 7\)"),
        ("a.npz", lambda path: np.savez(path, logits=LOGITS.astype(int)), "type int64; expected floats"),
        ("a.npz", lambda path: np.savez(path, probabilities=LOGITS), "they lie in 0..1"),
        ("a.npz", lambda path: np.savez(path, logits=LOGITS * np.nan), "NaN or infinity"),
        ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04 broken"), "no scores that can be read"),
        ("a.npy", lambda path: path.write_bytes(b""), "no scores that can be read"),
        ("a.npy", lambda path: np.save(path, np.array([{}], dtype=object)), "no scores that can be read"),
        ("a.png", lambda path: Image.new("RGB", (3, 3)).save(path), "grey, 8 or 16 bits .* mode RGB"),
        ("a.png", lambda path: path.write_bytes(b"no"), "no PNG that can be read"),
    ],
)
def test_files_that_cannot_be_used_are_one_sentence(tmp_path: Path, name: str, write, sentence: str) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=sentence) as caught:
        read_scores(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=np.random.default_rng(0).normal(size=(3, 40, 40)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[4000:5000] = bytes(1000)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        read_scores(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "packed.npz"])
def test_flipped_bytes_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, LOGITS)
    else:
        (np.savez if name == "a.npz" else np.savez_compressed)(path, logits=LOGITS)
    sound = path.read_bytes()
    refused = 0
    for place in range(0, min(len(sound), 260), 3):
        for value in (0x28, 0xFF):  # the first opens a bracket in numpy's header
            path.write_bytes(sound[:place] + bytes([value]) + sound[place + 1 :])
            try:
                read_scores(path)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 500
    assert refused > 50
