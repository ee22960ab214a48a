"""Every analysis's page in a browser, of runs that are pretended: how it looks is no question of training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from emprune_lab.analyses.finished_run import FinishedRun
from emprune_lab.analyses.registry import ANALYSES
from emprune_lab.comparison.queue import make_queue

from tests.lab import browser
from tests.lab.analyses.support import experiment_of, leave
from tests.lab.browser import NEEDS_CHROMIUM, PageContract, Shown

pytestmark = NEEDS_CHROMIUM

METHODS = ("full", "random-permutation", "emp:pool=2")
FIGURES = {
    "frontier": ["frontier"],
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
    runs = [FinishedRun(job.run, job.folder) for job in make_queue(experiment, out).jobs]
    for place, run in enumerate(runs):
        pretend(run, np.random.default_rng(place))
    _, page = analysis.write(experiment, analysis.conclude(experiment, runs), out)
    return page


def pretend(run: FinishedRun, draw: np.random.Generator) -> None:
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


@pytest.fixture(scope="module")
def names(name: str) -> list[str]:
    return FIGURES[name]


class TestAnalysis(PageContract):
    def test_it_says_what_was_run_and_what_was_found(self, name: str, shown: Shown) -> None:
        text = shown.page.locator("header").inner_text()
        assert f"emprune analyze {name}" in text
        assert "digits: 3 runs a method, " in text
        assert len(set(browser.rows(shown.page, 0))) == 3
        heads, notes = (shown.page.locator(place).all_inner_texts() for place in ("thead th", ".note"))
        (what,) = [note for note in notes if note.startswith("Means over the runs ± 95 % intervals (Student t)")]
        assert any("difference" in head for head in heads) == ("difference: " in what)
