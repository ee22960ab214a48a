"""What finished runs say when put side by side: rows of estimates, one for each method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emprune.lab.statistics import Estimate, mean_interval, paired_difference

__all__ = ["Row", "summarise"]

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A method's line in the table.

    Args:
        method: The method and its options.
        accuracy: In per cent, after the last epoch.
        difference: Paired difference to the baseline; None for the baseline itself, or where there is none.
        visits_fraction: Visits over those of as many epochs on all the data.
        optimizer_steps: Mean over the seeds.
        train_seconds: Mean over the seeds; planning included, scoring not.
        relative_time: Training time over that of `full` with the same seeds; None where `full` was not run.
    """

    method: str
    accuracy: Estimate
    difference: Estimate | None
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
    return [_row(method, runs, by_method.get(baseline), by_method.get("full")) for method, runs in by_method.items()]


def _row(
    method: str, runs: Mapping[int, Result], baseline: Mapping[int, Result] | None, full: Mapping[int, Result] | None
) -> Row:
    difference = None
    if baseline is not None and baseline is not runs:
        difference = paired_difference(_accuracies(runs), _accuracies(baseline))
    return Row(
        method,
        mean_interval(list(_accuracies(runs).values())),
        difference,
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


def _accuracies(runs: Mapping[int, Result]) -> dict[int, float]:
    return {seed: result["accuracy"] for seed, result in runs.items()}


def _mean(results: Iterable[Result], name: str) -> float:
    values = [float(result[name]) for result in results]
    return sum(values) / len(values)
