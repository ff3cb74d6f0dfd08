"""Published weights by name, from a server on the loopback."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deeplab import initial_weights
from deeplab.errors import InputError
from deeplab.initial_weights import PUBLISHED, Published, place_initial_weights

CONTENT = b"weights" * 1000
DIGITS = hashlib.sha256(CONTENT).hexdigest()[:8]
VGG = {"_target_": "deeplab.models.vgg.VGG16"}


@pytest.fixture
def server(tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / f"vgg-{DIGITS}.pth").write_bytes(CONTENT)
    (shop / "vgg-00000000.pth").write_bytes(CONTENT)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(shop)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def config(folder, backbone=VGG, **init):
    base = {"path": None, "name": "imagenet", "folder": str(folder), "download": True}
    return {"init": base | init, "model": {"backbone": backbone}}


@pytest.fixture
def offered(server, monkeypatch):
    def offer(digits=DIGITS):
        published = Published(f"{server}/vgg-{digits}.pth", "a public file")
        monkeypatch.setitem(initial_weights.PUBLISHED["imagenet"], "VGG16", published)

    return offer


def test_a_file_is_downloaded_once(offered, tmp_path, monkeypatch):
    offered()
    first, place = config(tmp_path / "hub"), tmp_path / "hub" / f"vgg-{DIGITS}.pth"
    place_initial_weights(first)
    assert first["init"]["path"] == str(place) and place.read_bytes() == CONTENT
    monkeypatch.setattr(initial_weights, "_download", None)
    second = config(tmp_path / "hub", download=False)
    place_initial_weights(second)
    assert second["init"]["path"] == str(place)


def test_two_processes_download_it_once(offered, tmp_path, monkeypatch):
    offered()
    place, begun, may_go_on = tmp_path / "hub" / f"vgg-{DIGITS}.pth", threading.Event(), threading.Event()
    downloads = []

    def download(url, target, checksum):
        downloads.append(url)
        begun.set()
        assert may_go_on.wait(20)
        target.write_bytes(CONTENT)

    monkeypatch.setattr("deeplab.preparation.download.download", download)
    monkeypatch.setattr(initial_weights.log, "info", lambda text, *_: "Another" in text and may_go_on.set())
    configs = [config(tmp_path / "hub"), config(tmp_path / "hub")]
    threads = [threading.Thread(target=place_initial_weights, args=(each,)) for each in configs]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()  # says that it waits, which lets the first one go on
    for thread in threads:
        thread.join(20)
    assert len(downloads) == 1
    assert [each["init"]["path"] for each in configs] == [str(place)] * 2


def test_a_folder_that_cannot_be_written_is_named(offered, tmp_path):
    offered()
    (tmp_path / "hub").write_text("")
    with pytest.raises(InputError, match=r"Cannot write .*hub.*init\.folder"):
        place_initial_weights(config(tmp_path / "hub"))


def test_another_checksum_is_refused(offered, tmp_path):
    offered("00000000")
    with pytest.raises(InputError, match="another checksum than sha256:00000000; it was deleted"):
        place_initial_weights(config(tmp_path / "hub"))
    assert not (tmp_path / "hub" / "vgg-00000000.pth").exists()
    offered()
    (tmp_path / "hub" / f"vgg-{DIGITS}.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=f"its sha256 does not begin with {DIGITS}; delete it"):
        place_initial_weights(config(tmp_path / "hub"))


def test_without_a_network_it_says_which_file_to_place_where(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=rf"{tmp_path}/vgg16-397923af\.pth .*download\.pytorch\.org") as caught:
        place_initial_weights(config(tmp_path, download=False))
    assert "place it there" in str(caught.value)
    monkeypatch.setattr("deeplab.preparation.download._LOST", (ConnectionError,))
    monkeypatch.setattr("deeplab.preparation.download.requests.get", _no_network)
    monkeypatch.setattr("deeplab.preparation.download.time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match=rf"place the file at {tmp_path}/vgg16-397923af\.pth"):
        place_initial_weights(config(tmp_path))


def _no_network(*arguments, **options):
    raise ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("backbone", "name", "words"),
    [
        (VGG, "coco", "no published weights are known for VGG16, but for ResNet101"),
        (VGG | {"width": 0.5}, "imagenet", "no published weights"),
        (VGG, "places", "init.name=places: choose one of imagenet, coco"),
    ],
)
def test_what_is_not_published(tmp_path, backbone, name, words):
    with pytest.raises(InputError, match=words):
        place_initial_weights(config(tmp_path, backbone, name=name))


def test_a_path_goes_before_a_name(tmp_path):
    given = config(tmp_path, path="mine.pth")
    place_initial_weights(given)
    assert given["init"]["path"] == "mine.pth"


def test_a_path_with_the_name_of_a_published_file_has_to_be_it(tmp_path):
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"another")
    with pytest.raises(InputError, match=r"resnet18-f37072fd\.pth: its sha256 does not begin with f37072fd"):
        place_initial_weights(config(tmp_path, path=str(tmp_path / "resnet18-f37072fd.pth")))


def test_every_published_file_has_a_checksum_in_its_name():
    for backbones in PUBLISHED.values():
        for published in backbones.values():
            digits = published.checksum.removeprefix("sha256:")
            assert len(digits) == 8 and int(digits, 16) > 0
