"""How fast the training data are learned: the loss on a fixed probe of them, by epoch. The paper's Figure 3.

The probe is a random part of the training set, at most 1,000 samples, the same for all methods of one seed; its loss is
the plain cross-entropy without augmentation, measured up to 20 times in a run. The loss of the training passes would
not do: it is that of the samples that a method chose.

The paper compares EMP and InfoBatch with *extreme low-frequency learning*. We read that as always taking the least
visited samples. With ties broken at random that is exactly `random-permutation`, so it needs no method of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from emprune_lab.analyses.analysis import Analysis, Conclusion
from emprune_lab.analyses.finished_run import Floats, Run, by_method
from emprune_lab.analyses.questions import LOSS_CURVES
from emprune_lab.analyses.table import Table, cell, paired, paired_remark, plain
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import Estimate, mean_interval
from emprune_lab.errors import RunError
from emprune_lab.pages.drawing import colours
from emprune_lab.pages.probe_loss import probe_loss_figure

__all__ = ["LossCurves", "probe_losses"]

SHOWN = (0.25, 0.5, 0.75, 1.0)
LOW_FREQUENCY = "random-permutation"
READING = (
    f"{LOW_FREQUENCY} always takes the least visited samples, ties at random: "
    "extreme low-frequency learning as we read it."
)


class LossCurves(Analysis):
    """Training loss by epoch on a fixed random probe of the training set, by method."""

    question = LOSS_CURVES

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return the curves."""
        curves = {method: Curve.of(own) for method, own in by_method(runs).items()}
        last = {method: curve.last for method, curve in curves.items()}
        ends = {method: paired(last, method, experiment.baseline) for method in curves}
        epochs = curves[runs[0].method].epochs
        places = [max(0, round(share * len(epochs)) - 1) for share in SHOWN]
        heads = ["method", *(f"epoch {epochs[place]}" for place in places), "difference at the end"]
        rows = [
            [m, *(cell(curve.means[place], digits=3, signed=False) for place in places), cell(ends[m], digits=3)]
            for m, curve in curves.items()
        ]
        return Conclusion(
            quantity="loss curves: mean cross-entropy on a fixed probe of the training set",
            values={"methods": {m: {**c.values(), "difference_at_the_end": plain(ends[m])} for m, c in curves.items()}},
            table=Table("loss on a probe of the training set", heads, rows),
            figures=[probe_loss_figure({m: (c.epochs, c.losses) for m, c in curves.items()}, colours(curves))],
            remarks=[paired_remark(curves, experiment.baseline), *([READING] if LOW_FREQUENCY in curves else [])],
        )


@dataclass(frozen=True)
class Curve:
    """The losses of a method's runs.

    Args:
        epochs: After which they were measured, counted from 1.
        seeds: Of the m runs.
        losses: (m, epochs).
    """

    epochs: list[int]
    seeds: list[int]
    losses: Floats

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Curve":
        """Return the curve of runs of equal length."""
        losses = [probe_losses(run) for run in runs]
        return cls(list(losses[0]), [run.seed for run in runs], np.array([list(own.values()) for own in losses]))

    @cached_property
    def means(self) -> list[Estimate]:
        """The mean loss by epoch."""
        return [mean_interval(column) for column in self.losses.T.tolist()]

    @property
    def last(self) -> dict[int, float]:
        """The loss at the end, by seed."""
        return dict(zip(self.seeds, self.losses[:, -1].tolist(), strict=True))

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {"epochs": self.epochs, "loss": [plain(mean) for mean in self.means], "per_run": self.losses.tolist()}


def probe_losses(run: Run) -> dict[int, float]:
    """Return the loss on the probe by epoch, counted from 1.

    Raises:
        RunError: If the run has not measured it.
    """
    losses = {record["epoch"] + 1: record["probe_loss"] for record in run.log() if "probe_loss" in record}
    if not losses:
        raise RunError(f"{run.job.folder} holds a run of an older emprune, without probe_loss. Delete it to rerun it.")
    return losses
