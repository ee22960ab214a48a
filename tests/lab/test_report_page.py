"""The report in a browser: what it draws, how it sorts, that it asks nobody, and that it fits a phone."""

from collections.abc import Iterator
from types import MappingProxyType

import pytest
from emprune_lab.report.page import write_report
from emprune_lab.report.records import find_runs

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
