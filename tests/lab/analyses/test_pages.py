"""Every analysis's page in a browser, of runs that are pretended: how it looks is no question of training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emprune.lab.analyses import ANALYSES, Run
from emprune.lab.compare import make_queue
from tests.lab import browser
from tests.lab.analyses.support import experiment_of, leave
from tests.lab.browser import NEEDS_CHROMIUM, Shown

pytestmark = NEEDS_CHROMIUM

METHODS = ("full", "random-permutation", "emp:pool=2")
FIGURES = {
    "visits": ["visits", "lorenz", "gini"],
    "loss-curves": ["probe-loss"],
    "leave-one-out": ["left-out-1", "left-out-2", "left-out-3", "difference"],
    "static-removal": ["static-removal"],
    "theorem-1": ["caps", "stored"],
    "memorization": ["distribution", "mean"],
    "alignment-gap": ["distribution", "mean"],
}


def page_of(name: str, out: Path) -> Path:
    analysis = ANALYSES[name]
    task = "simclr-digits" if analysis.objective == "contrastive" else "digits"
    experiment = experiment_of(name, task, methods=METHODS, num_runs=3)
    runs = [Run(job) for job in make_queue(experiment, out).jobs]
    for place, run in enumerate(runs):
        pretend(run, np.random.default_rng(place))
    _, page = analysis.write(experiment, analysis.conclude(experiment, runs), out)
    return page


def pretend(run: Run, draw: np.random.Generator) -> None:
    """Leave what any of the analyses asks of a run."""
    labels, size = run.training_set.y.numpy(), len(run.training_set)
    classes = np.where(draw.random(size) < 0.7, labels, draw.integers(0, 10, size))
    leave(
        run,
        visits=draw.integers(0, 9, int(run.trained_on.sum())).tolist(),
        probe_losses={epoch: float(2 / (epoch + 1) + draw.random()) for epoch in range(4)},
        measured={
            "train-outputs": np.stack([draw.exponential(size=size), classes], axis=1),
            "memorization": classes == labels,
            "alignment-gap": -draw.random(size),
        },
    )


@pytest.fixture(scope="module")
def screen() -> Iterator[Shown]:
    with browser.browser() as shown:
        yield shown


@pytest.fixture(scope="module", params=ANALYSES)
def name(request: pytest.FixtureRequest) -> str:
    analysis: str = request.param
    return analysis


@pytest.fixture(scope="module")
def opened(name: str, screen: Shown, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """One page for all the tests of an analysis: plotly.js takes a while to be read."""
    screen.as_at_first()
    screen.open(page_of(name, tmp_path_factory.mktemp("page")))
    return screen


@pytest.fixture
def shown(opened: Shown) -> Shown:
    opened.as_at_first()
    return opened


def test_it_says_nothing_to_the_console_and_asks_nobody(shown: Shown) -> None:
    browser.check_that_it_is_quiet_and_asks_nobody(shown)


def test_every_figure_is_drawn_and_has_axes_with_titles(name: str, shown: Shown) -> None:
    browser.check_that_figures_are_drawn(shown.page, names=FIGURES[name])


def test_it_says_what_was_run_and_what_was_found(name: str, shown: Shown) -> None:
    text = shown.page.locator("header").inner_text()
    assert f"emprune analyze {name}" in text
    assert "digits: 3 runs a method, " in text
    assert len(set(browser.rows(shown.page, 0))) == 3


def test_a_click_sorts_the_table_and_another_turns_it_round(shown: Shown) -> None:
    browser.check_that_a_click_sorts_and_another_turns_round(shown.page)


def test_the_legend_hides_a_method_in_all_figures(shown: Shown) -> None:
    for method in shown.page.locator(".legend input").evaluate_all("(boxes) => boxes.map((box) => box.value)"):
        browser.check_that_the_legend_hides(shown.page, method, at_least=1)


def test_a_phone_shows_all_of_it_without_scrolling_sideways(shown: Shown) -> None:
    browser.check_that_a_phone_needs_no_scrolling_sideways(shown.page)


def test_text_stands_out_from_the_paper_in_both_schemes(shown: Shown) -> None:
    browser.check_that_text_stands_out(shown.page)
