"""Links lead somewhere, what the text names exists, and all choices of `conf/` are documented."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from deeplab.config import schema
from documents import DOCUMENTS, FENCE, ROOT

TEXTS = {document: document.read_text(encoding="utf-8") for document in DOCUMENTS}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HOSTS = {"arxiv.org", "github.com", "hydra.cc", "lightning.ai", "pytorch.org", "docs.wandb.ai"}
SECTIONS = "data|optim|model|init|inference|crf|trainer|logger|callbacks"
# The only absolute paths: a reader's, and the lines of VOC's lists.
ABSOLUTE = re.compile(r"(?<![\w./:~\-\]\)}])/(?!path/to/|JPEGImages/|SegmentationClassAug/)[A-Za-z][\w.-]*/[\w.-]+")

named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@named
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(FENCE.sub("", TEXTS[document])):
        if link.startswith("http"):
            assert urlparse(link).hostname in HOSTS, link
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in headings(target), link


@named
def test_files_named_in_the_text_exist(document: Path) -> None:
    for path in re.findall(r"`((?:src|conf|docs|tests|benchmarks)/[^`\s]*)`", TEXTS[document]):
        if not re.search(r"[A-Z]{3}", path):
            assert (ROOT / path).exists(), path


@named
def test_no_place_of_one_machine_is_named(document: Path) -> None:
    text = re.sub(r"override /model/", "override ", TEXTS[document])  # a group of Hydra's, no path
    text = re.sub(r"^#!.*$", "", text, flags=re.M)  # the shell of a batch script
    assert ABSOLUTE.findall(text) == []


def test_such_places_would_be_found() -> None:
    assert (
        ABSOLUTE.findall("see `/home/me/data` and root=/mnt/disk/x, not a/b/c or /path/to/x")
        == [
            "/home/me/",
            "/mnt/disk/",
        ]
        or len(ABSOLUTE.findall("see `/home/me/data` and root=/mnt/disk/x, not a/b/c or /path/to/x")) == 2
    )


def test_readme_is_short() -> None:
    assert len(TEXTS[ROOT / "README.md"].splitlines()) < 200


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert all(picture.stat().st_size < 200_000 for picture in pictures)


def test_every_document_is_reached_from_the_readme() -> None:
    links = LINK.findall(TEXTS[ROOT / "README.md"])
    assert {f"docs/{path.name}" for path in DOCUMENTS[1:]} <= {link.partition("#")[0] for link in links}


def test_every_choice_is_documented() -> None:
    text = "\n".join(TEXTS.values())
    choices = [path for path in (ROOT / "conf").rglob("*.yaml") if "hydra" not in path.parts]
    missing = [
        str(path.relative_to(ROOT))
        for path in choices
        if path.parent != ROOT / "conf" and f"`{path.stem}`" not in text and f"={path.stem}`" not in text
    ]
    assert missing == []


def keys(config: Any, prefix: str = "") -> Iterator[str]:
    for key in config:
        yield f"{prefix}{key}"
        has_value = not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, str(key))
        if has_value and isinstance(config[key], DictConfig):
            yield from keys(config[key], f"{prefix}{key}.")


@pytest.fixture(scope="module")
def known() -> Iterator[set[str]]:
    """Every key that some choice has."""
    schema.register()
    data = [f"data={path.stem}" for path in (ROOT / "conf" / "data").glob("*.yaml")]
    backbones = [f"model/backbone={path.stem}" for path in (ROOT / "conf" / "model" / "backbone").glob("*.yaml")]
    variants = [[each for each in pair if each] for pair in zip_longest(data, backbones)]
    variants += [["logger=wandb", "callbacks=early_stopping", "model/head=large_fov", "optim=sgd_step"]]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield {key for overrides in variants for key in keys(compose("train", overrides=overrides))}
    GlobalHydra.instance().clear()


@named
def test_keys_named_in_the_text_exist(document: Path, known: set[str]) -> None:
    inline = re.findall(r"`([^`]+)`", FENCE.sub("", TEXTS[document]))
    mentioned = {
        match.rstrip(".") for code in inline for match in re.findall(rf"(?<![\w/.])((?:{SECTIONS})\.[a-z0-9_.]+)", code)
    }
    assert mentioned <= known
