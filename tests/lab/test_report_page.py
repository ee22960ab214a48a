"""The report in a browser: what it draws, how it sorts, that it asks nobody, and that it fits a phone."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, ViewportSize, sync_playwright

from emprune.lab.report.page import write_report
from emprune.lab.report.records import find_runs
from tests.lab.reports import write_comparison

CHROMIUM = shutil.which("chromium")
LOADING_MS = 240_000
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs the program chromium, as Debian's package of that name brings it"
    ),
    pytest.mark.timeout(600),
]


@dataclass
class Shown:
    """The page, and what the browser had to say of it."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One page for all the tests: a browser takes a while to start, and plotly.js to be read."""
    out = tmp_path_factory.mktemp("shown")
    write_comparison(out)
    path = write_report(find_runs([out]), out)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        seen = Shown(browser.new_page(viewport=DESKTOP))
        seen.page.set_default_timeout(LOADING_MS)
        seen.page.on("console", lambda message: seen.said.append(f"{message.type}: {message.text}"))
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.goto(path.as_uri())
        yield seen
        browser.close()


@pytest.fixture(autouse=True)
def _as_at_first(shown: Shown) -> None:
    shown.page.set_viewport_size(DESKTOP)
    shown.page.emulate_media(color_scheme="light")


def test_it_says_nothing_to_the_console_and_asks_nobody(shown: Shown) -> None:
    assert shown.said == []
    own = shown.page.url
    assert [url for url in shown.asked if not url.startswith(("data:", "blob:"))] == [own]
    assert own.startswith("file:")


def test_every_figure_is_drawn_and_has_axes_with_titles(shown: Shown) -> None:
    sizes = shown.page.evaluate(
        """() => [...document.querySelectorAll("[data-figure]")].map((figure) => {
            const box = figure.querySelector("svg.main-svg")?.getBoundingClientRect();
            const titles = [...figure.querySelectorAll(".xtitle, .ytitle")].map((title) => title.textContent);
            const traces = figure.querySelectorAll(".trace").length;
            const room = figure.getBoundingClientRect().width;
            return [figure.dataset.figure, room, box?.width ?? 0, box?.height ?? 0, titles, traces];
        })"""
    )
    assert len(sizes) == 11
    for name, room, width, height, titles, traces in sizes:
        assert min(width, height) > 200, name
        assert width <= room + 1, f"{name} lies over its neighbour"
        assert len(titles) == 2, name
        assert all(titles), name
        assert traces > 0, name


def rows(page: Page, column: int) -> list[str]:
    texts = page.locator("table.sortable >> nth=0").locator("tbody tr").all_inner_texts()
    return [text.split("\t")[column].strip() for text in texts]


def test_a_click_sorts_the_table_and_another_turns_it_round(shown: Shown) -> None:
    table = shown.page.locator("table.sortable >> nth=0")
    for place, numbers in ((0, False), (1, True)):
        head = table.locator("thead th").nth(place)
        for wanted in ("descending", "ascending") if numbers else ("ascending", "descending"):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == wanted
            cells = rows(shown.page, place)
            keys = [float(cell.split()[0]) for cell in cells] if numbers else cells
            assert keys == sorted(keys, reverse=wanted == "descending")
        others = [h.get_attribute("aria-sort") for h in table.locator("thead th").all()]
        assert others.count("none") == len(others) - 1


def test_the_keyboard_sorts_too_and_what_has_no_number_comes_last(shown: Shown) -> None:
    table = shown.page.locator("table.sortable >> nth=0")
    head = table.locator("thead th", has_text="− full")
    place = table.locator("thead th").all_inner_texts().index(head.inner_text())
    head.locator("button").focus()
    for wanted in ("descending", "ascending"):
        shown.page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == wanted
        cells = rows(shown.page, place)
        assert cells[-1] == "–"
        numbers = [float(cell.split()[0]) for cell in cells[:-1]]
        assert numbers == sorted(numbers, reverse=wanted == "descending")


def test_the_legend_hides_a_method_in_all_figures(shown: Shown) -> None:
    def visible() -> list[bool]:
        found: list[bool] = shown.page.evaluate(
            """() => [...document.querySelectorAll(".js-plotly-plot")].flatMap((figure) =>
                figure.data.filter((trace) => trace.meta === "emp:pool=2").map((trace) => trace.visible !== false))"""
        )
        return found

    box = shown.page.locator(".legend input[value='emp:pool=2']")
    assert len(visible()) > 11
    assert all(visible())
    box.uncheck()
    assert not any(visible())
    box.check()
    assert all(visible())


def widest(page: Page, selector: str) -> float:
    width: float = page.evaluate(
        "(name) => Math.max(...[...document.querySelectorAll(name)].map((e) => e.getBoundingClientRect().width))",
        selector,
    )
    return width


def test_a_phone_shows_all_of_it_without_scrolling_sideways(shown: Shown) -> None:
    shown.page.set_viewport_size(PHONE)
    while widest(shown.page, ".main-svg") > PHONE["width"]:  # plotly draws anew; wait_for_function may not: no eval
        shown.page.wait_for_timeout(50)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    widths = shown.page.evaluate(
        "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll') && !e.closest('svg'))"
        ".map((e) => Math.round(e.getBoundingClientRect().right))"
    )
    assert max(widths) <= PHONE["width"]
    smallest = shown.page.evaluate(
        "Math.min(...[...document.querySelectorAll('.xtick text')].map((t) => parseInt(getComputedStyle(t).fontSize)))"
    )
    assert smallest >= 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper_in_both_schemes(scheme: str, shown: Shown) -> None:
    shown.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    colours = shown.page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
                  getComputedStyle(document.querySelector(".note")).color,
                  ...[".xtick text", ".xtitle"].map((name) => getComputedStyle(document.querySelector(name)).fill)]"""
    )
    paper, *inks = map(luminance, colours)
    assert (paper > 0.5) == (scheme == "light")
    for ink in inks:
        assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) > 4.5  # WCAG AA


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
