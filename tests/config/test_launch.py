import gc
import os
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from deeplab.config.launch import import_from_the_same_places, import_uncollected, quote_paths
from deeplab.config.options import apart

AWKWARD = [
    "My Photos (1)",
    "Müller/straße",
    "epoch=3,miou=0.5.ckpt",
    "a,b",
    "it's",
    'say "hi"',
    "back\\slash",
    "ends with \\",
    "\\'mixed",
    "[x]{y}",
    "#hash",
    "tab\there",
    "tilde~:colon",
    "100%",
    "true",
    "12",
    " lead and trail ",
]


@pytest.mark.parametrize("path", AWKWARD)
@pytest.mark.parametrize("key", ["checkpoint", "input", "data.root", "+data.root", "data.layout.root", "init.path"])
def test_any_path_arrives_as_the_shell_passes_it(key: str, path: str) -> None:
    [quoted] = quote_paths([f"{key}={path}"])
    override = OverridesParser.create().parse_override(quoted)
    assert override.value() == path
    assert override.key_or_group == key.lstrip("+")


@pytest.mark.parametrize(
    "argument",
    ["checkpoint='quoted, already'", 'input="x"', "data.root=null", "optim.lr=1e-3", "-m", "data.root=${oc.env:VOC}"],
)
def test_what_needs_no_quotes_is_left_alone(argument: str) -> None:
    assert quote_paths([argument]) == [argument]


def test_a_sweep_over_paths_stays_a_sweep() -> None:
    assert quote_paths(["-m", "checkpoint=a.ckpt,b.ckpt"]) == ["-m", "checkpoint=a.ckpt,b.ckpt"]


def test_a_name_that_begins_with_a_tilde_is_no_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert quote_paths(["input=~nobody:/x"]) == [f"input='{tmp_path}/~nobody:/x'"]
    assert quote_paths(["input=~/x"]) == ["input='~/x'"]


@pytest.mark.parametrize(
    "argument", ["model.input={scale: 1.0}", "model/input=caffe_bgr", "data.layout.masks=[SegmentationClass]"]
)
def test_sections_and_lists_are_no_paths(argument: str) -> None:
    assert quote_paths([argument]) == [argument]


def test_options_may_stand_anywhere():
    given = ["seed=0,1", "-m", "name=x", "--config-dir", "a=b", "--cfg", "job", "~callbacks", "+trainer.x=1"]
    options = ["-m", "--config-dir", "a=b", "--cfg", "job"]
    assert apart(given) == (options, ["seed=0,1", "name=x", "~callbacks", "+trainer.x=1"])


def test_garbage_is_collected_again_after_an_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, more in (("imported_well", ""), ("imported_badly", "1 / 0")):
        (tmp_path / f"{name}.py").write_text(f"import gc\nenabled = gc.isenabled()\n{more}\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_uncollected("imported_well")
    assert not sys.modules.pop("imported_well").enabled
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        import_uncollected("imported_badly")
    assert gc.isenabled()


@pytest.mark.parametrize("on_ours", [True, False])
def test_children_look_in_the_current_folder_only_if_we_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, on_ours: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["" if on_ours else "/elsewhere"])
    monkeypatch.setattr(os, "environ", {})
    import_from_the_same_places()
    assert os.environ == ({} if on_ours else {"PYTHONSAFEPATH": "1"})
