"""The page in a real browser: it sorts, filters, wipes and hovers, asks for nothing, and runs nothing of a user's."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deeplab.comparison.document import compare
from deeplab.comparison.gallery import build_gallery
from deeplab.comparison.run import read_runs
from deeplab.comparison.run_folders import find_runs
from deeplab.comparison_views.page import MOST_BYTES, page
from deeplab.config.run_pictures import RunPictures
from deeplab.data.scene_drawing import CLASS_NAMES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine: apt-get install chromium"),
]
EVIL = "<script>alert(1)</script>"
MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {"executable_path": CHROMIUM, "args": flags, "headless": True}


class Opened:
    """A page with everything that it said and asked for."""

    def __init__(self, tab: Any, path: Path) -> None:
        self.tab = tab
        self.path = path
        self.complaints: list[str] = []
        self.requests: list[str] = []
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.goto(path.as_uri())

    def column(self, table: str, number: int) -> list[str]:
        cells = self.tab.locator(f"{table} tbody tr:not([hidden]) > :nth-child({number})")
        return [text.strip() for text in cells.all_inner_texts()]

    def plotted(self, key: str) -> Any:
        """Scroll to a chart, wait until it is drawn."""
        card = self.tab.locator(f'[data-chart="{key}"]')
        card.scroll_into_view_if_needed()
        card.locator(".plot .main-svg").first.wait_for(timeout=60_000)
        return card

    def check_quiet(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("data:", "blob:"))] == [self.path.as_uri()]


OpenPage = Callable[..., Opened]


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[OpenPage]:
    tabs = []

    def opened(*folders: Path, width: int = 1280, scheme: str = "light", most: int = 40) -> Opened:
        document, groups = compare(read_runs(find_runs(folders)), 100, seed=0)
        gallery = build_gallery(groups, most, None, RunPictures(None))
        path = tmp_path / "report.html"
        path.write_text(page(document, gallery), encoding="utf-8")
        assert path.stat().st_size < MOST_BYTES
        # offline: a request that did leave would fail and be told of on the console
        tabs.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True))
        return Opened(tabs[-1].new_page(), path)

    yield opened
    for tab in tabs:
        tab.close()


@pytest.fixture
def sweep(tmp_path: Path, run_in: MakeRun) -> Path:
    classes = (*CLASS_NAMES[:-1], EVIL)
    for seed in range(2):
        run_in(f"sweep/{seed}", head="ASPP-S", seed=seed, quality=0.55, class_names=classes)
        run_in(f"sweep/{seed + 2}", head="ASPP-L", seed=seed, quality=0.9, class_names=classes)
    return tmp_path / "sweep"


def test_tables_sort_and_filter(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    header = opened.tab.locator("#runs-table th:nth-child(6) button")  # after the CRF: the largest first
    header.click()
    down = [float(text) for text in opened.column("#runs-table", 6)]
    assert down == sorted(down, reverse=True) and len(down) == 4
    header.press("Enter")  # with the keyboard the other way round
    assert [float(text) for text in opened.column("#runs-table", 6)] == sorted(down)
    opened.tab.locator("#filter").fill("aspp-l")
    assert opened.column("#runs-table", 2) == ["ASPP-L", "ASPP-L"]
    assert opened.tab.locator("#shown").inner_text() == "2 of 4 runs"
    opened.tab.locator("#filter").fill("nothing has this")
    assert opened.column("#runs-table", 2) == []
    opened.check_quiet()


def test_the_sentence_alone_misleads_nobody(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    claim = opened.tab.locator("h1").inner_text()
    assert claim.startswith("ASPP-L is ahead of ASPP-S by ") and claim.endswith("and seed noise is not measured.")
    assert "2 seeds each, 12 pictures" in opened.tab.locator(".basis").inner_text()
    assert opened.tab.locator(".sentences .decided").count() == 0
    assert "With fewer than 3 seeds nothing is decided" in opened.tab.locator("#reading").inner_text()
    opened.check_quiet()


def test_charts_are_drawn_hovered_and_smoothed(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    for key in ("scores-0", "differences-0", "classes-0", "class-differences-0", "boundaries-0", "confusion-0"):
        opened.plotted(key)
    curves = opened.plotted("curves")
    lines = "document.querySelector('[data-chart=\"curves\"] .plot').data.map(trace => trace.y)"
    before = opened.tab.evaluate(lines)
    curves.locator(".smooth").focus()
    opened.tab.keyboard.press("End")
    after = opened.tab.evaluate(lines)
    assert len(before) == 4 and before != after
    assert [line[0] for line in before] == [line[0] for line in after]
    curves.locator(".nsewdrag").first.hover(timeout=60_000)
    opened.tab.locator(".hoverlayer .hovertext, .hoverlayer .legend").first.wait_for(timeout=60_000)
    choice = curves.locator(".choice")
    choice.select_option("training loss")
    assert opened.tab.evaluate(lines)[0][-1] == pytest.approx(1 / 60, abs=0.2)
    opened.check_quiet()


def test_the_wipe_moves_between_two_layers(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    tab = opened.tab
    tab.locator("#layers button").first.wait_for()
    pixels = "document.getElementById('canvas').toDataURL()"
    wipe = tab.locator("#wipe")
    wipe.focus()
    tab.keyboard.press("Home")
    all_right = tab.evaluate(pixels)
    tab.keyboard.press("End")
    all_left = tab.evaluate(pixels)
    assert all_left != all_right
    tab.locator("#right").select_option(tab.locator("#left").input_value())
    tab.keyboard.press("Home")
    tab.locator("#opacity").fill("0")
    bare = tab.evaluate(pixels)
    tab.locator("#opacity").fill("100")
    assert tab.evaluate(pixels) != bare
    box = tab.locator("#canvas").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=4)
    tab.mouse.up()
    assert 700 < int(wipe.input_value()) < 900
    opened.check_quiet()


def test_hovering_names_the_class_in_every_layer(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    tab = opened.tab
    tab.locator("#layers button").first.wait_for()
    tab.locator("#canvas").hover()
    lines = tab.locator("#tip div").all_inner_texts()
    assert [line.partition(":")[0] for line in lines] == [
        "truth", "ASPP-S", "ASPP-S after the CRF", "ASPP-L", "ASPP-L after the CRF",
    ]  # fmt: skip
    assert all(line.partition(": ")[2] in (*CLASS_NAMES[:-1], EVIL, "void") for line in lines)
    assert tab.locator("#legend li.here").count() >= 1
    opened.check_quiet()


def test_pictures_are_sorted_and_stepped_through_with_keys(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    tab = opened.tab
    tab.locator("#layers button").first.wait_for()
    names = "[...document.querySelectorAll('#thumbs button')].map(button => button.title)"
    orders = {}
    for order in ("differ", "worst", "helped", "hurt", "name"):
        tab.locator("#order").select_option(order)
        orders[order] = tab.evaluate(names)
    assert orders["name"] == sorted(orders["name"]) and len(orders["name"]) == 12
    assert orders["helped"] == orders["hurt"][::-1]
    expected = tab.evaluate("""() => { const data = JSON.parse(document.getElementById('gallery-data').textContent);
        const spread = each => Math.max(...each.after) - Math.min(...each.after);
        return data.pictures.sort((a, b) => spread(b) - spread(a)).map(each => each.id); }""")
    assert orders["differ"] == expected
    tab.locator("#canvas").hover()
    tab.locator("#next").focus()
    tab.keyboard.press("n")
    tab.wait_for_function("document.getElementById('position').textContent === '2 of 12'")
    assert tab.locator("#picture-name").inner_text() == orders["name"][1]
    tab.keyboard.press("p")
    tab.wait_for_function("document.getElementById('position').textContent === '1 of 12'")
    tab.locator("#with-class").select_option("7")
    assert 0 < tab.locator("#thumbs button").count() < 12
    opened.check_quiet()


def test_the_gallery_begins_with_the_best_variant_and_the_next(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    opened.tab.locator("#layers button").first.wait_for()
    chosen = "[...document.querySelectorAll('#left, #right')].map(each => each.selectedOptions[0].text)"
    assert opened.tab.evaluate(chosen) == ["ASPP-L after the CRF", "ASPP-S after the CRF"]
    assert opened.tab.locator("#mistakes").is_enabled()
    opened.check_quiet()


def test_the_keyboard_takes_one_stop_for_all_pictures(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    tab = opened.tab
    tab.locator("#layers button").first.wait_for()
    tab.locator("#opacity").focus()
    tab.keyboard.press("Tab")
    for key, place in (("ArrowRight", 2), ("End", 12), ("ArrowRight", 1), ("ArrowLeft", 12), ("Home", 1)):
        tab.keyboard.press(key)
        tab.wait_for_function(f"document.getElementById('position').textContent === '{place} of 12'")
        tab.wait_for_function("document.activeElement.getAttribute('aria-selected') === 'true'")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "left"
    opened.plotted("scores-0")
    assert tab.locator('[data-chart="scores-0"] .modebar-btn').count() <= 3
    opened.check_quiet()


@pytest.mark.parametrize(
    ("lacking", "changes", "layers"),
    [
        ("truth", {"data__layout": {"_target_": "deeplab.data.voc.VOC", "root": "nowhere"}}, 4),
        ("prediction", {"predictions": False}, 2),
    ],
)
def test_mistakes_cannot_be_chosen_without_a_truth_and_a_prediction(
    lacking: str, changes: dict[str, Any], layers: int, tmp_path: Path, run_in: MakeRun, open_page: OpenPage
) -> None:
    run_in("0", head="ASPP-S", **changes)
    run_in("1", head="ASPP-L", **changes)
    opened = open_page(tmp_path)
    opened.tab.locator("#layers button").first.wait_for()
    assert opened.tab.locator("#layers button").count() == layers
    assert opened.tab.locator("#mistakes").is_disabled()
    assert f"no {lacking} for this picture" in opened.tab.locator("label.check").get_attribute("title")
    opened.check_quiet()


def test_long_names_fit_a_phone(tmp_path: Path, run_in: MakeRun, open_page: OpenPage) -> None:
    for number in range(2):
        name = f"a_long_name_of_{number}_" + "x" * 80
        folder = run_in(name, optim__schedule=f"{number}{'y' * 100}", quality=0.5 + 0.3 * number)
        record = json.loads((folder / "run.json").read_text()) | {"device": "z" * 300}
        (folder / "run.json").write_text(json.dumps(record))
    opened = open_page(tmp_path, width=360)
    opened.plotted("differences-0")
    opened.tab.locator("#layers button").first.wait_for()
    assert opened.tab.evaluate("document.documentElement.scrollWidth") <= 360
    height = "Math.max(...[...document.querySelectorAll('#runs-table tbody tr')].map(row => row.offsetHeight))"
    assert opened.tab.evaluate(height) < 450
    opened.check_quiet()


def test_a_class_named_as_a_script_is_a_name(sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep)
    bars = opened.plotted("classes-0")
    assert EVIL in bars.locator(".xtick text").all_text_contents()
    assert opened.tab.locator("#with-class option").last.inner_text() == EVIL
    assert EVIL not in opened.path.read_text(encoding="utf-8")
    opened.check_quiet()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (2560, "light"), (2560, "dark")])
def test_it_fits_small_and_large_screens(width: int, scheme: str, sweep: Path, open_page: OpenPage) -> None:
    opened = open_page(sweep, width=width, scheme=scheme)
    opened.plotted("differences-0")
    opened.tab.locator("#layers button").first.wait_for()
    assert opened.tab.evaluate("document.documentElement.scrollWidth") <= width
    paper = "getComputedStyle(document.body).backgroundColor"
    first = opened.tab.evaluate(paper)
    assert (first == "rgb(255, 255, 255)") == (scheme == "light")
    opened.tab.locator("#theme").click()
    assert opened.tab.evaluate(paper) != first
    opened.check_quiet()


def test_what_is_not_comparable_is_said_in_red(tmp_path: Path, run_in: MakeRun, open_page: OpenPage) -> None:
    run_in("one", head="ASPP-S", split="val")
    run_in("other", head="ASPP-L", split="test")
    opened = open_page(tmp_path)
    warning = opened.tab.get_by_role("alert")
    assert "different splits (val and test)" in warning.inner_text()
    red, green, blue = opened.tab.evaluate(
        "(e => getComputedStyle(e).color.match(/\\d+/g).map(Number))(document.querySelector('.warning'))"
    )
    assert red > 150 and green < 80 and blue < 80
    opened.check_quiet()


@pytest.mark.slow
def test_a_hundred_runs(tmp_path: Path, run_in: MakeRun, open_page: OpenPage) -> None:
    for number in range(100):
        run_in(f"sweep/{number}", seed=number % 2, optim__lr=0.01 + (number // 2) / 1000, pictures=3)
    opened = open_page(tmp_path / "sweep", most=3)
    assert len(opened.column("#runs-table", 1)) == 100
    assert opened.tab.locator("#variants-table tbody tr").count() == 50
    opened.plotted("curves")
    assert opened.tab.evaluate("document.querySelector('#gallery').offsetHeight") < 1600
    assert opened.tab.evaluate("document.querySelector('.group').offsetHeight") < 5000
    opened.tab.locator("#filter").fill("optim.lr=0.01 ")
    assert opened.tab.evaluate("document.documentElement.scrollWidth") <= 1280
    opened.check_quiet()


def test_a_page_without_any_scores(tmp_path: Path, run_in: MakeRun, open_page: OpenPage) -> None:
    (run_in("one") / "metrics.json").unlink()
    opened = open_page(tmp_path)
    assert "No comparison" in opened.tab.locator("h1").inner_text()
    opened.check_quiet()
