"""Archives as the servers take them, and the many ways in which they do not."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from deeplab.data.cityscapes_labels import LABEL_IDS
from deeplab.data.palette import voc_palette
from deeplab.errors import InputError
from deeplab.submission.archives import read_archive, write_archive
from deeplab.submission.export import export
from deeplab.submission.formats import FORMATS, server_format
from deeplab.submission.validate import Expected, expected, photo_sizes, validate

Predictions = Callable[..., dict[str, Path]]
VOC, CITY = FORMATS["voc12"], FORMATS["cityscapes"]
VOC_IDS = ["2008_000006", "2008_000011"]
CITY_IDS = ["berlin_000000_000019", "bonn_000001_000019"]
CONF = Path(__file__).parents[2] / "conf" / "data"
FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"


def sizes(names: list[str], width: int = 8, height: int = 6) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(names, (width, height))


def test_voc(tmp_path: Path, predictions: Predictions, quiet: Console) -> None:
    made = predictions(VOC_IDS)
    archive = export(VOC, made, sizes(VOC_IDS), tmp_path / "out", quiet)
    with tarfile.open(archive) as packed:
        assert packed.getnames() == [f"{FOLDER}/{name}.png" for name in VOC_IDS]
        for name in VOC_IDS:
            content = packed.extractfile(f"{FOLDER}/{name}.png")
            assert content is not None
            picture = Image.open(content)
            assert picture.mode == "P" and (picture.getpalette() or [])[:63] == voc_palette()[:21].ravel().tolist()
            assert np.array_equal(np.asarray(picture), np.asarray(Image.open(made[name])))


def test_cityscapes_has_original_ids(tmp_path: Path, predictions: Predictions, quiet: Console) -> None:
    made = predictions(CITY_IDS, 1024, 2048, 19)
    archive = export(CITY, made, sizes(CITY_IDS, 2048, 1024), tmp_path, quiet)
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == [f"{name}_pred_labelIds.png" for name in CITY_IDS]
        picture = Image.open(packed.open(packed.namelist()[1]))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), LABEL_IDS[np.asarray(Image.open(made[CITY_IDS[1]]))])


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path, predictions: Predictions, quiet: Console) -> None:
    made = predictions(VOC_IDS)
    first, second = (export(VOC, made, sizes(VOC_IDS), tmp_path / name, quiet) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_classes_are_those_of_the_data_files() -> None:
    for server, name in ((VOC, "voc12"), (CITY, "cityscapes")):
        server.check_classes(yaml.safe_load((CONF / f"{name}.yaml").read_text())["class_names"])
    with pytest.raises(InputError, match=r"export=voc12: the network has other classes \(2: a, b, \.\.\.\)"):
        VOC.check_classes(["a", "b"])
    with pytest.raises(InputError, match="export=coco: choose one of voc12, voc12_comp5, cityscapes"):
        server_format("coco", "export")


def test_photos_are_checked_before_any_work(tmp_path: Path) -> None:
    def photo(name: str, width: int = 8, height: int = 6) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (width, height)).save(path)
        return path

    assert photo_sizes([photo("2008_000006.jpg")], VOC) == {"2008_000006": (8, 6)}
    with pytest.raises(InputError, match=r"Müller\.jpg: this is no name"):
        photo_sizes([photo("Müller.jpg")], VOC)
    with pytest.raises(InputError, match="another picture is called 2008_000006"):
        photo_sizes([photo("2008_000006.jpg"), photo("a/2008_000006.jpg")], VOC)
    with pytest.raises(InputError, match="it is 8x6 pixels, the server wants 2048x1024"):
        photo_sizes([photo("bonn_000001_000019_leftImg8bit.png")], CITY)
    (tmp_path / "2008_000007.jpg").write_text("no picture")
    with pytest.raises(InputError, match="no picture that can be read"):
        photo_sizes([tmp_path / "2008_000007.jpg"], VOC)


def test_labels_of_another_network_are_refused(tmp_path: Path, predictions: Predictions, quiet: Console) -> None:
    made = predictions(VOC_IDS, classes=40)
    with pytest.raises(InputError, match=r"label 3\d is no class of voc12"):
        export(VOC, made, sizes(VOC_IDS), tmp_path / "out", quiet)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_that_would_be_refused_is_not_left(tmp_path: Path, predictions: Predictions, quiet: Console) -> None:
    with pytest.raises(InputError, match=r"would refuse the archive: .*it is 8x6 pixels, its picture 8x7"):
        export(VOC, predictions(VOC_IDS), sizes(VOC_IDS, height=7), tmp_path / "out", quiet)
    assert list((tmp_path / "out").iterdir()) == []


def png(labels: np.ndarray, mode: str = "P", palette: np.ndarray | None = None) -> bytes:
    image = Image.fromarray(labels.astype(np.uint8))
    if mode == "P":
        image.putpalette((voc_palette() if palette is None else palette).tobytes())
    elif mode != "L":
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


GOOD = png(np.arange(21).reshape(3, 7))
CITY_GOOD = png(np.full((1024, 2048), 7), "L")


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", GOOD)], "there are 1 pictures, not 2."),
        ([("Segmentation/2008_000006.png", GOOD)], "the server expects results/VOC2012"),
        ([(f"{FOLDER}/._2008_000006.png", GOOD)], "the server expects results/VOC2012"),
        ([(f"{FOLDER}/2008_000006_overlay.jpg", GOOD)], "the server expects results/VOC2012"),
        ([(f"{FOLDER}/2008_000007.png", GOOD)], "2008_000007 is none of the pictures asked for"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", GOOD)] * 2, "there are two files for 2008_000006"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", png(np.arange(21).reshape(3, 7), "L"))], "wants an indexed PNG, this is PNG"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", png(np.zeros((3, 7)), "RGB"))], "no PNG of labels"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", GOOD[:-20])], "no PNG of labels"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", b"")], "no PNG of labels"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", png(np.full((3, 7), 255)))], "the value 255 is no class"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", png(np.zeros((3, 7)), palette=voc_palette()[::-1]))], "palette is not VOC's"),
        ([(f"{FOLDER}/{VOC_IDS[0]}.png", png(np.zeros((4, 7))))], "it is 7x4 pixels, its picture 7x3"),
    ],
)
def test_what_vocs_server_would_refuse(
    tmp_path: Path, quiet: Console, entries: list[tuple[str, bytes]], problem: str
) -> None:
    write_archive(tmp_path / "a.tgz", "tgz", entries)
    wanted = Expected(2, frozenset(VOC_IDS), sizes(VOC_IDS, 7, 3))
    assert any(problem in each for each in validate(tmp_path / "a.tgz", VOC, wanted, quiet))


def test_a_right_archive_has_no_problems(tmp_path: Path, quiet: Console) -> None:
    write_archive(tmp_path / "a.tgz", "tgz", [(f"./{FOLDER}/{name}.png", GOOD) for name in VOC_IDS])
    assert validate(tmp_path / "a.tgz", VOC, Expected(2, frozenset(VOC_IDS), sizes(VOC_IDS, 7, 3)), quiet) == []
    assert validate(tmp_path / "a.tgz", VOC, Expected(2), quiet) == []
    assert validate(tmp_path / "a.tgz", VOC, expected(VOC), quiet) == ["there are 2 pictures, not 1456."]
    assert expected(CITY).count == 1525


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([("berlin_000000_000019.png", png(np.full((1024, 2048), 3), "L"))], "are these train ids?"),
        ([("berlin_000000_000019.png", png(np.full((1024, 2048), 255), "L"))], "the value 255 is no class"),
        (
            [("berlin_000000_000019.png", png(np.full((512, 1024), 7), "L"))],
            "it is 1024x512 pixels, its picture 2048x1024",
        ),
        ([("berlin_000000_000019.png", png(np.full((1024, 2048), 7), "P"))], "wants a grey PNG"),
        ([("a/berlin_000000_000019_x.png", CITY_GOOD), ("berlin_000000_000019.png", CITY_GOOD)], "two files for"),
        ([("berlin.png", CITY_GOOD)], "the server expects {id}_pred_labelIds.png"),
    ],
)
def test_what_cityscapes_server_would_refuse(
    tmp_path: Path, quiet: Console, entries: list[tuple[str, bytes]], problem: str
) -> None:
    write_archive(tmp_path / "a.zip", "zip", entries)
    assert any(problem in each for each in validate(tmp_path / "a.zip", CITY, Expected(1), quiet))


def test_what_to_expect_comes_from_a_list_or_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("2008_000006\n2008_000011\n")
    (tmp_path / "images").mkdir()
    for name in ("2008_000006.jpg", "notes.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
    assert expected(VOC, tmp_path / "test.txt") == Expected(2, frozenset(VOC_IDS))
    assert expected(VOC, images=tmp_path / "images") == Expected(1, frozenset(VOC_IDS[:1]), {"2008_000006": (8, 6)})
    with pytest.raises(InputError, match="there is no such folder"):
        expected(VOC, images=tmp_path / "nothing")
    with pytest.raises(InputError, match="no picture of cityscapes"):
        expected(CITY, images=tmp_path / "images")


@pytest.mark.parametrize("name", ["a.tgz", "a.zip"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_an_archive_that_breaks_off_is_named(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    entries = [(entry, np.random.default_rng(0).bytes(20_000)) for entry in ("x.png", "y.png")]
    write_archive(path, "zip" if name == "a.zip" else "tgz", entries)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"no tgz or zip file, or it breaks off"):
        list(read_archive(path))


def test_absence_and_links_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        list(read_archive(tmp_path / "a.tgz"))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as packed:
        member = tarfile.TarInfo("x.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(member)
    with pytest.raises(InputError, match=r"x\.png is a link"):
        list(read_archive(tmp_path / "a.tgz"))


def test_the_checksum_at_the_end_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    write_archive(path, "tgz", [("x.png", b"x" * 20_000)])
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="no tgz or zip file, or it breaks off"):
        list(read_archive(path))
