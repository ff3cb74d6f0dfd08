import errno
import stat

import numpy as np
import pytest
from PIL import Image

from deeplab.errors import InputError
from deeplab.reporting import writing
from deeplab.reporting.predictions import label_image, write_labels
from deeplab.reporting.writing import replacing

PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_written_labels_are_read_back_as_indices(tmp_path, dtype):
    labels = np.random.default_rng(0).integers(0, 256, (23, 31)).astype(dtype)
    path = tmp_path / "sub" / "Müller (1), a=b.png"
    write_labels(path, labels, PALETTE)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.size == (31, 23)
        np.testing.assert_array_equal(np.asarray(image), labels)
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (-1, 3)), PALETTE)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), PALETTE[labels])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_few_classes_keep_their_indices_and_any_layout_is_taken(tmp_path):
    labels = np.asfortranarray(np.array([[0, 1, 2], [2, 0, 0]], dtype=np.uint8))[:, ::-1]
    write_labels(tmp_path / "a.png", labels, PALETTE)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), labels)
        assert image.convert("RGB").getpixel((0, 0)) == tuple(PALETTE[2].tolist())


@pytest.mark.parametrize(
    "labels", [np.array([[256]]), np.array([[-1]]), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)]
)
def test_what_is_no_label_map_is_refused(labels):
    with pytest.raises(ValueError, match=r"classes 0\.\.255|is \(H, W\)"):
        label_image(labels, PALETTE)


def test_a_failed_write_leaves_the_older_file_and_no_rest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"Cannot write .*new: No space left"), replacing(tmp_path / "new") as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"), replacing(tmp_path / "file" / "below"):
        pass


def test_a_replaced_file_has_the_usual_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with replacing(tmp_path / "replaced"):
        pass
    assert stat.S_IMODE((tmp_path / "replaced").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with writing.replacing(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"
