from pathlib import Path

from deeplab.data.fingerprint import MOST, fingerprint
from deeplab.data.samples import FilePictures


def pictures(folder: Path, count: int = 3) -> FilePictures:
    ids = [f"p{number}" for number in range(count)]
    masks = [folder / f"{name}.png" for name in ids]
    for mask in masks:
        mask.write_bytes(mask.name.encode())
    return FilePictures(ids, masks, masks)


def test_another_mask_and_another_list_are_noticed(tmp_path: Path) -> None:
    first = fingerprint(pictures(tmp_path))
    assert first["pictures"] == 3
    assert fingerprint(pictures(tmp_path)) == first
    assert fingerprint(pictures(tmp_path, 4)) != first
    changed = pictures(tmp_path)
    changed.masks[2].write_bytes(b"corrected")
    assert fingerprint(changed) != first
    changed.masks[2].unlink()
    assert fingerprint(changed)["pictures"] == 3


def test_large_sets_are_sampled_evenly(tmp_path: Path) -> None:
    many = pictures(tmp_path, 2 * MOST)
    first = fingerprint(many)
    many.masks[-1].write_bytes(b"not looked at")
    assert fingerprint(many) == first
    many.masks[-2].write_bytes(b"looked at")
    assert fingerprint(many) != first
