"""A browser that shows one page after the other, and the contract of every page of the lab."""

import itertools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

import pytest
from playwright.sync_api import Page, ViewportSize, sync_playwright

CHROMIUM = shutil.which("chromium")
LOADING_MS = 240_000
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}

NEEDS_CHROMIUM = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs the program chromium, as Debian's package of that name brings it"
    ),
    pytest.mark.timeout(600),
]


@dataclass
class Shown:
    """A page, and what the browser had to say of it."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, path: Path) -> None:
        self.said.clear()
        self.asked.clear()
        self.page.goto(path.as_uri())
        self.page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")

    def as_at_first(self) -> None:
        self.page.set_viewport_size(DESKTOP)
        self.page.emulate_media(color_scheme="light")


@contextmanager
def browser() -> Iterator[Shown]:
    """Yield one for many tests: it takes a while to start."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = Shown(chromium.new_page(viewport=DESKTOP))
        shown.page.set_default_timeout(LOADING_MS)
        shown.page.on("console", lambda message: shown.said.append(f"{message.type}: {message.text}"))
        shown.page.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.page.on("request", lambda request: shown.asked.append(request.url))
        yield shown
        chromium.close()


class PageContract:
    """What every page must keep to. Subclass it, and have fixtures `opened`, the page, and `names`, of its figures.

    Attributes:
        fewest_lines: How many lines a method has at least in all the figures together; of others one will do.
    """

    fewest_lines: ClassVar[Mapping[str, int]] = MappingProxyType({})

    @pytest.fixture
    def shown(self, opened: Shown) -> Shown:
        opened.as_at_first()
        return opened

    def test_it_says_nothing_to_the_console_and_asks_nobody(self, shown: Shown) -> None:
        assert shown.said == []
        own = shown.page.url
        assert [url for url in shown.asked if not url.startswith(("data:", "blob:"))] == [own]
        assert own.startswith("file:")

    def test_every_figure_is_drawn_in_its_place_with_titles_on_both_axes_and_all_its_points_between_them(
        self, names: list[str], shown: Shown
    ) -> None:
        sizes = shown.page.evaluate(
            """() => [...document.querySelectorAll("[data-figure]")].map((figure) => {
                const box = figure.querySelector("svg.main-svg")?.getBoundingClientRect();
                const titles = [...figure.querySelectorAll(".xtitle, .ytitle")].map((title) => title.textContent);
                const traces = figure.querySelectorAll(".trace").length;
                const room = figure.getBoundingClientRect().width;
                const plot = figure.querySelector(".js-plotly-plot"), [low, high] = plot._fullLayout.xaxis.range;
                const marked = plot.data.filter((trace) => trace.mode.includes("markers"));
                const outside = marked.flatMap((trace) => [...trace.x]).filter((x) => x < low || x > high);
                return [figure.dataset.figure, room, box?.width ?? 0, box?.height ?? 0, titles, traces, outside];
            })"""
        )
        assert [size[0] for size in sizes] == names
        for name, room, width, height, titles, traces, outside in sizes:
            assert min(width, height) > 200, name
            assert width <= room + 1, f"{name} lies over its neighbour"
            assert len(titles) == 2, name
            assert all(titles), name
            assert traces > 0, name
            assert outside == [], name

    def test_a_click_sorts_the_table_and_another_turns_it_round(self, shown: Shown) -> None:
        table = shown.page.locator("table.sortable >> nth=0")
        for place, numbers in ((0, False), (1, True)):
            head = table.locator("thead th").nth(place)
            for wanted in ("descending", "ascending") if numbers else ("ascending", "descending"):
                head.locator("button").click()
                assert head.get_attribute("aria-sort") == wanted
                cells = rows(shown.page, place)
                keys = [number(cell) for cell in cells] if numbers else cells
                assert keys == sorted(keys, reverse=wanted == "descending")
            others = [h.get_attribute("aria-sort") for h in table.locator("thead th").all()]
            assert others.count("none") == len(others) - 1

    def test_the_legend_hides_a_method_in_all_figures_and_brings_it_back(self, shown: Shown) -> None:
        def visible(method: str) -> list[bool]:
            found: list[bool] = shown.page.evaluate(
                """(method) => [...document.querySelectorAll(".js-plotly-plot")].flatMap((figure) =>
                    figure.data.filter((trace) => trace.meta === method)
                        .map((trace) => !figure.closest("figure").hidden && trace.visible !== false))""",
                method,
            )
            return found

        def shown_empty() -> list[str]:
            found: list[str] = shown.page.evaluate(
                """() => [...document.querySelectorAll("figure")].filter((figure) => !figure.hidden && figure
                    .querySelector(".js-plotly-plot").data.every((trace) => !trace.meta || trace.visible === false))
                    .map((figure) => figure.dataset.figure)"""
            )
            return found

        methods = shown.page.locator(".legend input").evaluate_all("(boxes) => boxes.map((box) => box.value)")
        assert self.fewest_lines.keys() <= set(methods)
        for method in methods:
            box = shown.page.locator(f".legend input[value='{method}']")
            assert len(visible(method)) >= self.fewest_lines.get(method, 1)
            assert all(visible(method))
            box.uncheck()
            assert not any(visible(method))
            assert shown_empty() == []
            box.check()
            assert all(visible(method))
        assert shown.page.locator("figure[hidden]").count() == 0

    def test_a_phone_shows_all_of_it_without_scrolling_sideways(self, shown: Shown) -> None:
        page = shown.page
        page.set_viewport_size(PHONE)
        while _widest(page, ".main-svg") > PHONE["width"]:  # plotly draws anew; wait_for_function may not: no eval
            page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        widths = page.evaluate(
            "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll') && !e.closest('svg'))"
            ".map((e) => Math.round(e.getBoundingClientRect().right))"
        )
        assert max(widths) <= PHONE["width"]
        sizes = "[...document.querySelectorAll('.xtick text')].map((t) => parseInt(getComputedStyle(t).fontSize))"
        assert page.evaluate(f"Math.min(...{sizes})") >= 11
        cut_off = page.evaluate(
            """[...document.querySelectorAll(".xtitle, .ytitle, .annotation-text")].filter((text) => {
                const [own, svg] = [text, text.closest("svg")].map((e) => e.getBoundingClientRect());
                return own.left < svg.left - 1 || own.right > svg.right + 1 || own.top < svg.top - 1;
            }).map((text) => text.textContent)"""
        )
        assert cut_off == [], cut_off

    def test_a_phone_keeps_the_names_of_the_rows_in_sight(self, shown: Shown) -> None:
        shown.page.set_viewport_size(PHONE)
        for table in shown.page.locator(".scroll").all():
            left, right, room = table.evaluate(
                """(region) => {
                    region.scrollLeft = region.scrollWidth;
                    const name = region.querySelector("tbody th").getBoundingClientRect();
                    const all = region.getBoundingClientRect();
                    return [name.left - all.left, name.right - all.left, all.width];
                }"""
            )
            assert left >= 0
            assert 0.3 * room < right < 0.5 * room

    def test_headings_leave_out_no_level(self, shown: Shown) -> None:
        levels = shown.page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("(all) => all.map((h) => +h.tagName[1])")
        assert levels[0] == 1
        assert all(below <= above + 1 for above, below in itertools.pairwise(levels))

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_stands_out_from_the_paper_in_both_schemes(
        self, scheme: Literal["light", "dark"], shown: Shown
    ) -> None:
        shown.page.emulate_media(color_scheme=scheme)
        colours = shown.page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
                    ...[...document.querySelectorAll(".note, em")].map((text) => getComputedStyle(text).color),
                    ...[".xtick text", ".xtitle"].map((name) => getComputedStyle(document.querySelector(name)).fill)]"""
        )
        paper, *inks = map(_luminance, colours)
        assert (paper > 0.5) == (scheme == "light")
        for ink in inks:
            assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) > 4.5  # WCAG AA


def rows(page: Page, column: int) -> list[str]:
    texts = page.locator("table.sortable >> nth=0").locator("tbody tr").all_inner_texts()
    return [text.split("\t")[column].strip() for text in texts]


def number(cell: str) -> float:
    return float(cell.split()[0].removesuffix("%"))


def _widest(page: Page, selector: str) -> float:
    width: float = page.evaluate(
        "(name) => Math.max(...[...document.querySelectorAll(name)].map((e) => e.getBoundingClientRect().width))",
        selector,
    )
    return width


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
