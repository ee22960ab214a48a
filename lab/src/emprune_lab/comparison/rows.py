"""What finished runs say when put side by side: rows of estimates, one for each method."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emprune_lab.comparison.statistics import Estimate, differences, holm, mean_interval
from emprune_lab.metrics import Metric, metric_of
from emprune_lab.results.record import RunRecord

__all__ = ["Fit", "Row", "compared_by", "held_out_loss", "outcome", "place", "scored_part", "summarise", "unequal_cost"]


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
        metric: What is compared: accuracy, or the task's own metric.
        score: Its value after the last epoch.
        difference: Paired difference to the baseline; None for the baseline itself, or where there is none.
        fit: The differences of the losses to the baseline's. None where `difference` is, or without a training probe.
        p_holm: The difference's p-value, adjusted for the number of methods compared to the baseline (Holm).
        to_full: Paired difference to `full`; None for `full` itself, or where there is none.
        visits_fraction: Visits over those of as many epochs on all the data.
        optimizer_steps: Mean over the seeds.
        train_seconds: Mean over the seeds; planning included, scoring not.
        relative_time: Training time over that of `full`, on the seeds that both ran in one place; None without any.
    """

    method: str
    metric: Metric
    score: Estimate
    difference: Estimate | None
    fit: Fit | None
    p_holm: float
    to_full: Estimate | None
    visits_fraction: float
    optimizer_steps: float
    train_seconds: float
    relative_time: float | None

    @property
    def gain(self) -> Estimate | None:
        """The difference to the baseline, turned so that better is positive."""
        return None if self.difference is None else self.difference.scaled(self.metric.better)


def summarise(results: Sequence[RunRecord], *, baseline: str) -> list[Row]:
    """Return a row for each method, in order of first appearance.

    Args:
        results: Results of finished runs; each method at most once for each seed.
        baseline: The method that differences are taken to.
    """
    by_method: dict[str, dict[int, RunRecord]] = {}
    for result in results:
        by_method.setdefault(result.method, {})[result.seed] = result
    scores = _values(by_method, outcome)
    to_baseline, to_full = differences(scores, baseline), differences(scores, "full")
    probed = {method: runs for method, runs in by_method.items() if all("probe_loss" in r for r in runs.values())}
    train = differences(_values(probed, lambda result: float(result["probe_loss"])), baseline)
    held_out = differences(_values(probed, held_out_loss), baseline)
    fits = {
        method: Fit(fitted, held)
        for method in probed
        if (fitted := train[method]) is not None and (held := held_out[method]) is not None
    }
    p_values = [math.nan if gap is None else gap.p_value for gap in to_baseline.values()]
    return [
        Row(
            method,
            metric_of(next(iter(runs.values())).get("metric", "accuracy")),
            mean_interval(list(scores[method].values())),
            to_baseline[method],
            fits.get(method),
            p_holm,
            to_full[method],
            _mean(runs.values(), "visits_fraction"),
            _mean(runs.values(), "optimizer_steps"),
            _mean(runs.values(), "train_seconds"),
            _relative_time(runs, by_method.get("full")),
        )
        for (method, runs), p_holm in zip(by_method.items(), holm(p_values), strict=True)
    ]


def compared_by(rows: Sequence[Row]) -> Metric:
    """Return the metric of all rows; accuracy where there is none."""
    return rows[0].metric if rows else metric_of("accuracy")


def scored_part(results: Iterable[RunRecord]) -> str:
    """Return what runs are compared on, in words."""
    return "validation part" if any("validation_accuracy" in result for result in results) else "test set"


def outcome(result: Mapping[str, Any]) -> float:
    """Return what a run counts with: its metric on the validation part where one was split off, else on the test set.

    Who splits a part off is choosing something, and the test set is for the end.
    """
    part = "validation_" if "validation_accuracy" in result else ""
    return float(result.get(f"{part}score", result[f"{part}accuracy"]))


def place(result: Mapping[str, Any]) -> str:
    """Return where a run was computed, the device and its precision: times of two places do not compare."""
    return f"{result['machine']['device_name']} ({result['machine']['precision']})"


def held_out_loss(result: Mapping[str, Any]) -> float:
    """Return the loss that a run ends with where its outcome is measured: the validation part, else the test set."""
    return float(result.get("validation_loss", result["loss"]))


def unequal_cost(results: Sequence[RunRecord]) -> str | None:
    """Say how runs of equal cost differ in optimizer steps or in the learning rate they end at; None if they do not.

    All runs except those of `full` have equal cost: their steps differ by one at most.
    """
    pruned = [r for r in results if r.method != "full"]
    steps = [r["optimizer_steps"] for r in pruned]
    rates = [r["final_learning_rate"] for r in pruned]
    if steps and max(steps) - min(steps) > 1:
        return f"Not of equal cost: from {min(steps):,} to {max(steps):,} optimizer steps."
    if rates and max(rates) - min(rates) > 1e-6 * max(r.settings.training.max_lr for r in pruned):
        return f"Not the same schedule: the learning rate ends at {min(rates):.3g} to {max(rates):.3g}."
    return None


def _relative_time(runs: Mapping[int, RunRecord], full: Mapping[int, RunRecord] | None) -> float | None:
    full = full or {}
    common = sorted(seed for seed in runs.keys() & full.keys() if place(runs[seed]) == place(full[seed]))
    if not common:
        return None
    return _mean((runs[s] for s in common), "train_seconds") / _mean((full[s] for s in common), "train_seconds")


def _values(
    by_method: Mapping[str, Mapping[int, RunRecord]], value: Callable[[RunRecord], float]
) -> dict[str, dict[int, float]]:
    return {method: {seed: value(result) for seed, result in runs.items()} for method, runs in by_method.items()}


def _mean(results: Iterable[RunRecord], name: str) -> float:
    values = [float(result[name]) for result in results]
    return sum(values) / len(values)
