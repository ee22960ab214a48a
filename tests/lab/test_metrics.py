"""A metric says which way is better, and tables, verdicts and reports are right about it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from emprune_lab.comparison.notes import notes
from emprune_lab.comparison.rows import summarise
from emprune_lab.comparison.table import comparison_table
from emprune_lab.method_spec import DEFAULT_BASELINE as BASE
from emprune_lab.metrics import METRICS, Metric, metric_of
from emprune_lab.report.over_time import time_to_target
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.sections import CostGroup
from emprune_lab.report.verdict import best_first, verdict_of
from emprune_lab.results.record import RunRecord
from emprune_lab.tasks import TASKS
from emprune_lab.training.scores import METRICS as COMPUTED

from tests.lab.reports import record_of

RANDOM = [2.0, 2.01, 1.99, 2.02, 2.0]
FULL = [1.9, 1.91, 1.89, 1.92, 1.9]
WORSE, BETTER = [[value + gain for value in RANDOM] for gain in (0.05, -0.05)]
WIGGLE = [0.001, -0.001, 0.002, -0.002, 0.0]


def runs(metric: str, scores: Mapping[str, Sequence[float]]) -> list[RunRecord]:
    """Runs that end with these scores, and with an accuracy that says nothing."""
    more: dict[str, Any] = {"metric": metric, "accuracy": 50.0, "optimizer_steps": 10, "train_seconds": 10.0}
    return [
        record_of(
            method,
            seed,
            score=value + WIGGLE[seed] * (method not in (BASE, "full")),
            visits_fraction=1.0 if method == "full" else 0.3,
            final_learning_rate=0.0,
            machine={"device_name": "a processor", "precision": "fp32"},
            **more,
        )
        for method, own in scores.items()
        for seed, value in enumerate(own)
    ]


def test_only_bits_per_byte_are_better_where_they_are_lower() -> None:
    assert [metric.name for metric in METRICS.values() if not metric.higher_is_better] == ["bits per byte"]
    assert metric_of("another").higher_is_better
    assert metric_of("another").heading == "another × 100"


def test_every_task_counts_with_a_metric_that_is_known() -> None:
    assert {task.metric for task in TASKS.values()} <= set(METRICS)
    assert set(COMPUTED) <= set(METRICS)


def test_where_lower_is_better_the_method_that_is_lower_is_advised() -> None:
    results = runs("bits per byte", {"full": FULL, BASE: RANDOM, "emp": BETTER, "greedy": WORSE})
    lose, which = verdict_of(results).answers[1:]
    assert lose.short == "0.0500 ± 0.0020 bits per byte above full"
    assert which.short == "emp"
    assert which.sentences == (
        "The score is worth having. emp, the best of 2 that score, is 0.0500 ± 0.0020 bits per byte below random "
        "permutation."
    )


def test_where_lower_is_better_a_method_that_is_higher_loses() -> None:
    which = verdict_of(runs("bits per byte", {BASE: RANDOM, "emp": WORSE})).answers[-1]
    assert which.short == "random permutation"
    assert which.sentences.endswith("emp is 0.0500 ± 0.0020 bits per byte above it.")


def test_the_margin_that_is_too_small_to_matter_is_the_metrics_own() -> None:
    scores = {BASE: RANDOM, "emp": [value + 0.001 for value in RANDOM]}
    assert verdict_of(runs("bits per byte", scores)).answers[-1].sentences.endswith("bits per byte, inside ±0.01.")
    assert verdict_of(runs("bits per byte", scores), margin=0.0005).answers[-1].short == "5 seeds cannot tell"
    assert verdict_of(runs("F1", scores)).answers[-1].sentences.endswith("points, inside ±0.5.")


@pytest.mark.parametrize(("metric", "first"), [("bits per byte", "emp"), ("F1", "greedy")])
def test_the_best_row_is_first_whichever_way_is_better(metric: str, first: str) -> None:
    rows = best_first(summarise(runs(metric, {BASE: RANDOM, "greedy": WORSE, "emp": BETTER}), baseline=BASE))
    assert rows[0].method == first


@pytest.mark.parametrize(("metric", "inferior"), [("bits per byte", "greedy"), ("F1", "emp")])
def test_non_inferior_is_what_is_not_worse_than_the_margin(metric: str, inferior: str) -> None:
    results = runs(metric, {BASE: RANDOM, "greedy": WORSE, "emp": BETTER})
    rows = summarise(results, baseline=BASE)
    table = comparison_table(rows, margin=0.02)
    column = table.heads.index("non-inferior")
    assert {line[0]: line[column] for line in table.rows} == {
        BASE: "–",
        inferior: "no",
        ({"greedy", "emp"} - {inferior}).pop(): "yes",
    }
    said = " ".join(notes(rows, results, baseline=BASE, margin=0.02))
    lower = metric == "bits per byte"
    assert ("lower is better" in said) == lower
    assert ("lies below 0.02 bits per byte" if lower else "lies above −0.02 points") in said


def test_a_table_has_the_metrics_head_and_its_digits() -> None:
    table = comparison_table(summarise(runs("bits per byte", {BASE: RANDOM, "emp": BETTER}), baseline=BASE))
    assert table.heads[1] == "bits per byte"
    assert table.rows[1][1:3] == ["1.9540 ± 0.0123", "-0.0500 ± 0.0020 *"]


def test_full_trainings_result_is_reached_from_above_where_lower_is_better() -> None:
    results = runs("bits per byte", {"full": [2.0], "emp": [2.0]})
    log = pd.DataFrame({"seconds": [1.0, 1.0, 1.0], "test_accuracy": 50.0, "test_score": [3.0, 2.2, 2.0]})
    reported = [ReportedRun(result, Path("nowhere")) for result in results]
    for run in reported:
        run.__dict__["log"] = log  # a cached property, as if it had been read
    table = time_to_target(CostGroup({}, reported, BASE, None))
    assert table is not None
    assert table.heads[1:] == ["125 % of full's, s", "111 % of full's, s", "105 % of full's, s", "101 % of full's, s"]
    assert table.rows[0][1:] == ["2.0", "2.0", "3.0", "3.0"]


def test_a_metric_turns_a_difference_into_a_gain() -> None:
    assert Metric("one").better == 1
    assert Metric("two", higher_is_better=False).better == -1
