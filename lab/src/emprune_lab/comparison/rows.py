"""What finished runs say when put side by side: rows of estimates, one for each method."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emprune_lab.comparison.statistics import Estimate, holm, mean_interval, paired_difference

__all__ = ["Fit", "Row", "held_out_loss", "outcome", "scored_part", "summarise", "unequal_cost"]

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """How the losses that two methods end with differ, paired by seed: in nats, the plain cross-entropy.

    Args:
        train: On the training probe.
        held_out: On the validation part where one was split off, else on the test set.
    """

    train: Estimate
    held_out: Estimate


@dataclass(frozen=True)
class Row:
    """A method's line in the table.

    Args:
        method: The method and its options.
        metric: What is compared: accuracy in per cent, or the task's own metric in points.
        score: Its value after the last epoch.
        difference: Paired difference to the baseline; None for the baseline itself, or where there is none.
        fit: The differences of the losses to the baseline's; None likewise, or where runs have no training probe.
        p_holm: The difference's p-value, adjusted for the number of methods compared to the baseline (Holm).
        to_full: Paired difference to `full`, likewise None.
        visits_fraction: Visits over those of as many epochs on all the data.
        optimizer_steps: Mean over the seeds.
        train_seconds: Mean over the seeds; planning included, scoring not.
        relative_time: Training time over that of `full` with the same seeds; None where `full` was not run.
    """

    method: str
    metric: str
    score: Estimate
    difference: Estimate | None
    fit: Fit | None
    p_holm: float
    to_full: Estimate | None
    visits_fraction: float
    optimizer_steps: float
    train_seconds: float
    relative_time: float | None


def summarise(results: Sequence[Result], *, baseline: str) -> list[Row]:
    """Return a row for each method, in order of first appearance.

    Args:
        results: Results of finished runs; each method at most once for each seed.
        baseline: The method that differences are taken to.
    """
    by_method: dict[str, dict[int, Result]] = {}
    for result in results:
        by_method.setdefault(result["config"]["method"], {})[result["config"]["seed"]] = result
    rows = [_row(runs, by_method.get(baseline), by_method.get("full")) for runs in by_method.values()]
    adjusted = holm([math.nan if row.difference is None else row.difference.p_value for row in rows])
    return [dataclasses.replace(row, p_holm=p_holm) for row, p_holm in zip(rows, adjusted, strict=True)]


def scored_part(results: Iterable[Mapping[str, Any]]) -> str:
    """Return what runs are compared on, in words."""
    return "validation part" if any("validation_accuracy" in result for result in results) else "test set"


def outcome(result: Result) -> float:
    """Return what a run counts with: its metric on the validation part where one was split off, else on the test set.

    Who splits a part off is choosing something, and the test set is for the end.
    """
    part = "validation_" if "validation_accuracy" in result else ""
    return float(result.get(f"{part}score", result[f"{part}accuracy"]))


def held_out_loss(result: Result) -> float:
    """Return the loss that a run ends with where its outcome is measured: the validation part, else the test set."""
    return float(result.get("validation_loss", result["loss"]))


def unequal_cost(results: Sequence[Result]) -> str | None:
    """Say how runs of equal cost differ in optimizer steps or in the learning rate they end at; None if they do not.

    Of equal cost are all runs, but for `full`: their steps differ by one at most.
    """
    pruned = [r for r in results if r["config"]["method"] != "full"]
    steps = [r["optimizer_steps"] for r in pruned]
    rates = [r["final_learning_rate"] for r in pruned]
    if steps and max(steps) - min(steps) > 1:
        return f"Not of equal cost: from {min(steps):,} to {max(steps):,} optimizer steps."
    if rates and max(rates) - min(rates) > 1e-6 * max(r["config"]["max_lr"] for r in pruned):
        return f"Not the same schedule: the learning rate ends at {min(rates):.3g} to {max(rates):.3g}."
    return None


def _difference(
    runs: Mapping[int, Result], other: Mapping[int, Result] | None, value: Callable[[Result], float] = outcome
) -> Estimate | None:
    if other is None or other is runs:
        return None
    return paired_difference(_values(runs, value), _values(other, value))


def _fit(runs: Mapping[int, Result], other: Mapping[int, Result] | None) -> Fit | None:
    if any("probe_loss" not in result for part in (runs, other or {}) for result in part.values()):
        return None
    train = _difference(runs, other, lambda result: float(result["probe_loss"]))
    held_out = _difference(runs, other, held_out_loss)
    return None if train is None or held_out is None else Fit(train, held_out)


def _row(runs: Mapping[int, Result], baseline: Mapping[int, Result] | None, full: Mapping[int, Result] | None) -> Row:
    """Return a method's row, whose p-value is not adjusted yet."""
    result = next(iter(runs.values()))
    return Row(
        result["config"]["method"],
        result.get("metric", "accuracy"),
        mean_interval(list(_values(runs, outcome).values())),
        _difference(runs, baseline),
        _fit(runs, baseline),
        math.nan,
        _difference(runs, full),
        _mean(runs.values(), "visits_fraction"),
        _mean(runs.values(), "optimizer_steps"),
        _mean(runs.values(), "train_seconds"),
        _relative_time(runs, full),
    )


def _relative_time(runs: Mapping[int, Result], full: Mapping[int, Result] | None) -> float | None:
    common = sorted(runs.keys() & (full or {}).keys())
    if full is None or not common:
        return None
    return _mean((runs[s] for s in common), "train_seconds") / _mean((full[s] for s in common), "train_seconds")


def _values(runs: Mapping[int, Result], value: Callable[[Result], float]) -> dict[int, float]:
    return {seed: value(result) for seed, result in runs.items()}


def _mean(results: Iterable[Result], name: str) -> float:
    values = [float(result[name]) for result in results]
    return sum(values) / len(values)
