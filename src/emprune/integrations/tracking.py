"""What a run does, in a tracker: one call at the end of an epoch, for any loop.

`track` measures the epoch and hands it to TensorBoard, Weights & Biases, accelerate's trackers, Lightning's loggers, or
a function of your own. Neither tracker is imported here: what is handed over is told by its class.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from emprune.data.ending import fold_pending
from emprune.errors import ConfigError
from emprune.pruner import DataPruner

__all__ = ["EpochReport", "Tracker", "report_of", "track"]

PREFIX = "emprune"
_NUM_LISTED, _NUM_BINS = 20, 64
_TENSORBOARD, _WANDB = {"torch.SummaryWriter", "tensorboardX.SummaryWriter"}, {"wandb.Run"}
_SCORES = ("score_min", "score_quartile_1", "score_median", "score_quartile_3", "score_max")


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochReport:
    """An epoch in numbers.

    Attributes:
        epoch: The epoch, 0-based.
        scalars: Numbers by name, those that are known; docs/guides/tracking.md explains them.
        losses: (M,) float32, the last losses of the seen samples.
        most_visited: The samples with the most visits: position, visits and last loss of each.
    """

    epoch: int
    scalars: dict[str, float]
    losses: NDArray[np.float32]
    most_visited: tuple[tuple[int, int, float], ...]

    def __repr__(self) -> str:
        return f"EpochReport(epoch {self.epoch}: {', '.join(self.scalars)})"


class _HasPruner(Protocol):
    @property
    def pruner(self) -> DataPruner: ...


Tracker: TypeAlias = Callable[[EpochReport], object]
"""A function that does something with a report."""


def track(run: _HasPruner | DataPruner, *trackers: Any) -> EpochReport:
    """Measure the current epoch, and hand it to trackers. Call it at the end of an epoch.

    Collective on several ranks, as `DataPruner.sync`; the first rank alone hands over. It reads the columns once.

    Args:
        run: A pruner, or what has one, such as a loader.
        *trackers: TensorBoard's SummaryWriter, a run of Weights & Biases, an Accelerator, a Lightning logger, or a
            function of an `EpochReport`.

    Returns:
        The report.

    Raises:
        ConfigError: If a tracker is none of these.
        EpochError: If no epoch has begun.
        ObservationError: If losses are not finite, `nonfinite="error"`, and training goes on.

    Example:
        >>> import emprune, torch
        >>> pruner = DataPruner("greedy", num_samples=4, num_epochs=2, keep=0.5)
        >>> pruner.observe(pruner.begin_epoch(0).index, torch.rand(2))
        >>> track(pruner, lambda report: print(report.scalars["kept_fraction"])).epoch
        0.5
        0
    """
    return track_pruner(run if isinstance(run, DataPruner) else run.pruner, trackers, ends=False)


def track_pruner(pruner: DataPruner, trackers: Iterable[Any], *, ends: bool) -> EpochReport:
    """Do what `track` does; where training ends before the run's last epoch, what is not finite is a warning."""
    found = [tracker for given in trackers for tracker in _trackers(given)]
    fold_pending(pruner, ends=ends)
    report = report_of(pruner)
    if pruner.rank == 0:
        for tracker in found:
            tracker(report)
    return report


def report_of(pruner: DataPruner) -> EpochReport:
    """Return the current epoch's report, as of the last fold."""
    plan, seen = pruner.plan, pruner.stats.seen
    summary = pruner.summary(greedy_overlap=False).to_dict()
    quantiles = summary["score_quantiles"] or ()
    names = ("kept_fraction", "churn", "visit_gini", "total_visits", "staleness", "never_seen", "planning_seconds")
    known = {name: summary[name] for name in names} | dict(zip(_SCORES, quantiles, strict=False))
    known |= {"gap": pruner.gap, "mean_loss": pruner.mean_loss if bool(seen.any()) else None}
    losses, visits = pruner.stats["loss"], pruner.visits
    most = torch.topk(visits, min(_NUM_LISTED, len(visits))).indices.sort().values
    listed = sorted(most.tolist(), key=lambda position: -int(visits[position]))
    return EpochReport(
        epoch=plan.epoch,
        scalars={name: float(value) for name, value in known.items() if value is not None},
        losses=losses[seen].numpy(),
        most_visited=tuple((position, int(visits[position]), float(losses[position])) for position in listed),
    )


def _trackers(given: Any) -> list[Tracker]:
    """Return the functions that a tracker of some package comes to."""
    kinds = _kinds(given)
    if kinds & _TENSORBOARD:
        return [lambda report: _to_tensorboard(given, report)]
    if kinds & _WANDB:
        return [lambda report: _to_wandb(given, report)]
    if "accelerate.Accelerator" in kinds:
        return [one for tracker in given.trackers for one in _trackers(tracker)]
    if "accelerate.GeneralTracker" in kinds:
        inner = getattr(given, "tracker", None)
        known = _known(inner)
        return known or [lambda report: given.log(_named(report), step=report.epoch)]
    if kinds & {"lightning.Logger", "pytorch_lightning.Logger"}:
        known = _known(getattr(given, "experiment", None))
        return known or [lambda report: given.log_metrics(_named(report), step=report.epoch)]
    if callable(given):
        return [given]
    raise ConfigError(
        "`trackers` must be SummaryWriters, runs of wandb, an Accelerator, Lightning loggers or functions; got "
        f"{given!r}. Write track(loader, SummaryWriter('runs/mine')).",
        parameter="trackers",
        value=given,
    )


def _known(inner: Any) -> list[Tracker]:
    """Return what is inside a framework's own tracker, if that is one of ours."""
    return _trackers(inner) if _kinds(inner) & (_TENSORBOARD | _WANDB) else []


def _kinds(given: Any) -> set[str]:
    """Return the classes of an object, each with its package."""
    return {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(given).__mro__}


def _named(report: EpochReport) -> dict[str, float]:
    return {f"{PREFIX}/{name}": value for name, value in report.scalars.items()}


def _to_tensorboard(writer: Any, report: EpochReport) -> None:
    for name, value in _named(report).items():
        writer.add_scalar(name, value, report.epoch)
    if len(report.losses):
        writer.add_histogram(f"{PREFIX}/losses", report.losses, report.epoch)
    rows = [f"| {position} | {visits} | {loss:.4g} |" for position, visits, loss in report.most_visited]
    table = "\n".join(["| sample | visits | loss |", "| ---: | ---: | ---: |", *rows])
    writer.add_text(f"{PREFIX}/most visited", table, report.epoch)


def _to_wandb(run: Any, report: EpochReport) -> None:
    """Log beside what the loop logs itself: against the epoch, and not against wandb's own count of calls."""
    import wandb

    run.define_metric(f"{PREFIX}/*", step_metric=f"{PREFIX}/epoch")
    values: dict[str, Any] = {f"{PREFIX}/epoch": report.epoch, **_named(report)}
    if len(report.losses):
        losses = report.losses.astype(np.float64)  # of float32 no bin may lie between two neighbouring numbers
        values[f"{PREFIX}/losses"] = wandb.Histogram(np_histogram=np.histogram(losses, bins=_NUM_BINS))
    columns: list[str | int] = ["sample", "visits", "loss"]
    values[f"{PREFIX}/most_visited"] = wandb.Table(columns=columns, data=[list(row) for row in report.most_visited])
    run.log(values)
