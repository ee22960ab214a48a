"""The report in a browser: what it draws, how it sorts, that it asks nobody, and that it fits a phone."""

import csv
from collections.abc import Iterator
from types import MappingProxyType

import pytest
from emprune_lab.report.page import write_report
from emprune_lab.report.records import find_runs
from PIL import Image

from tests.lab import browser
from tests.lab.browser import NEEDS_CHROMIUM, PageContract, Shown
from tests.lab.reports import FIGURES, write_comparison

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One page for all the tests: plotly.js takes a while to be read."""
    out = tmp_path_factory.mktemp("shown")
    write_comparison(out, label_noise=0.2)
    with browser.browser() as shown:
        shown.open(write_report(find_runs([out]), out))
        yield shown


@pytest.fixture(scope="module")
def names() -> list[str]:
    return FIGURES


class TestReport(PageContract):
    fewest_lines = MappingProxyType({"emp:pool=2": 12})

    def test_the_keyboard_sorts_too_and_what_has_no_number_comes_last(self, shown: Shown) -> None:
        table = shown.page.locator("table.sortable >> nth=0")
        head = table.locator("thead th", has_text="− full")
        place = table.locator("thead th").all_inner_texts().index(head.inner_text())
        head.locator("button").focus()
        for wanted in ("descending", "ascending"):
            shown.page.keyboard.press("Enter")
            assert head.get_attribute("aria-sort") == wanted
            cells = browser.rows(shown.page, place)
            assert cells[-1] == "–"
            numbers = [browser.number(cell) for cell in cells[:-1]]
            assert numbers == sorted(numbers, reverse=wanted == "descending")

    def test_the_first_screen_holds_the_three_answers_and_one_picture(self, shown: Shown) -> None:
        shown.page.evaluate("window.scrollTo(0, 0)")
        answers = shown.page.locator("dl.answers")
        assert [text.split("\n")[0] for text in answers.locator("div").all_inner_texts()] == ["Save", "Lose", "Which"]
        for part in (answers, shown.page.locator("[data-figure='accuracy-time'] .main-svg").first):
            box = part.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= browser.DESKTOP["height"]

    def test_a_table_is_saved_as_csv_with_all_its_cells(self, shown: Shown) -> None:
        with shown.page.expect_download() as waited:
            shown.page.locator("button.csv").first.click()
        assert waited.value.suggested_filename == "comparison-keep-0-3.csv"
        with waited.value.path().open(encoding="utf-8-sig", newline="") as file:
            heads, *lines = csv.reader(file)
        assert heads[:2] == ["method", "accuracy %"]
        assert {line[0] for line in lines} == {"full", "random-permutation", "emp:pool=2"}
        assert all(len(line) == len(heads) and all(line) for line in lines)

    def test_a_figure_is_saved_as_png(self, shown: Shown) -> None:
        with shown.page.expect_download() as waited:
            shown.page.get_by_role("button", name="Save as PNG: Accuracy against measured time").click()
        assert waited.value.suggested_filename == "accuracy-against-measured-time.png"
        picture = Image.open(waited.value.path())
        assert picture.size == (1600, 960)
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)

    def test_every_figure_has_an_accessible_name_of_its_title_and_note(self, shown: Shown) -> None:
        for figure in shown.page.locator("figure.drawn").all():
            title, note = figure.locator("figcaption b").inner_text(), figure.locator("p.note").inner_text()
            assert figure.locator("[role=img]").get_attribute("aria-label") == f"{title}. {note}"

    def test_methods_differ_in_their_markers_as_well_as_their_colours(self, shown: Shown) -> None:
        symbols = shown.page.evaluate(
            """() => document.querySelector("[data-figure='accuracy-time'] .js-plotly-plot").data
                .filter((trace) => trace.mode === "markers").map((trace) => [trace.marker.symbol].flat()[0])"""
        )
        assert len(set(symbols)) == len(symbols) == 3
