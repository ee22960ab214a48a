"""The report in a browser: what it draws, how it sorts, that it asks nobody, and that it fits a phone."""

from collections.abc import Iterator

import pytest

from emprune.lab.report.page import write_report
from emprune.lab.report.records import find_runs
from tests.lab import browser
from tests.lab.browser import NEEDS_CHROMIUM, Shown
from tests.lab.reports import FIGURES, write_comparison

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One page for all the tests: plotly.js takes a while to be read."""
    out = tmp_path_factory.mktemp("shown")
    write_comparison(out)
    with browser.browser() as shown:
        shown.open(write_report(find_runs([out]), out))
        yield shown


@pytest.fixture
def shown(opened: Shown) -> Shown:
    opened.as_at_first()
    return opened


def test_it_says_nothing_to_the_console_and_asks_nobody(shown: Shown) -> None:
    browser.check_that_it_is_quiet_and_asks_nobody(shown)


def test_every_figure_is_drawn_and_has_axes_with_titles(shown: Shown) -> None:
    browser.check_that_figures_are_drawn(shown.page, names=FIGURES)


def test_a_click_sorts_the_table_and_another_turns_it_round(shown: Shown) -> None:
    browser.check_that_a_click_sorts_and_another_turns_round(shown.page)


def test_the_keyboard_sorts_too_and_what_has_no_number_comes_last(shown: Shown) -> None:
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


def test_the_legend_hides_a_method_in_all_figures(shown: Shown) -> None:
    browser.check_that_the_legend_hides(shown.page, "emp:pool=2", at_least=12)


def test_a_phone_shows_all_of_it_without_scrolling_sideways(shown: Shown) -> None:
    browser.check_that_a_phone_needs_no_scrolling_sideways(shown.page)


def test_text_stands_out_from_the_paper_in_both_schemes(shown: Shown) -> None:
    browser.check_that_text_stands_out(shown.page)
