"""A new analysis from its question to its files: the example of docs/lab/analyses.md, whose class this is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.analyses.analysis import Analysis, Conclusion, paired_remark
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import Question
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import differences, mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.pages.drawing import Figure, colours, estimate_rows

from tests.lab.analyses.support import SMALL, runs_of


class Unvisited(Analysis):
    """The share of the samples that a run never visits."""

    question = Question(
        name="unvisited",
        num_runs=5,
        settings={"keep": 0.1},
        text="""The share of the samples that a run never visits, by method.

        [bold]Example[/bold]

        emprune analyze unvisited digits --epochs 10 --out runs/unvisited
        """,
    )
    objective = None  # for texts and pre-training too

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the shares."""
        shares = {
            method: {run.seed: float((run.visits == 0).mean()) for run in own}
            for method, own in by_method(runs).items()
        }
        gaps = differences(shares, experiment.baseline)
        found: dict[str, dict[str, Any]] = {
            method: {"unvisited": mean_interval(list(own.values())), "difference": gaps[method]}
            for method, own in shares.items()
        }
        rows = [[method, own["unvisited"], own["difference"]] for method, own in found.items()]
        means = {method: own["unvisited"] for method, own in found.items()}
        drawing = estimate_rows("samples never visited, share of all", means, colours(found))
        return Conclusion(
            quantity="unvisited: the share of the samples that a run never visits",
            methods=found,
            table=Table.of({"method": "", "never": ".1%", "difference": "+.3f"}, rows, title="samples never visited"),
            figures=[Figure("unvisited", "Samples never visited", "Bars are 95 % intervals.", drawing)],
            remarks=[paired_remark(experiment, found)],
        )


def test_a_class_is_all_that_a_new_analysis_takes(tmp_path: Path) -> None:
    analysis = Unvisited()
    methods = ["random-permutation", "greedy"]
    experiment = analysis.experiment("digits", methods=methods, num_runs=2, baseline=DEFAULT_BASELINE, settings=SMALL)
    conclusion = analysis.conclude(experiment, runs_of(experiment, tmp_path))
    numbers, page = analysis.write(experiment, conclusion, tmp_path)
    document = json.loads(numbers.read_text())
    even, greedy = document["methods"].values()
    assert even["unvisited"]["mean"] == pytest.approx(0.8)  # 2 epochs of a tenth
    assert even["difference"] is None
    assert greedy["difference"]["mean"] == pytest.approx(greedy["unvisited"]["mean"] - 0.8)
    assert conclusion.table.rows[0] == ["random-permutation", "80.0% (all equal)", "–"]
    assert 'data-figure="unvisited"' in page.read_text()
