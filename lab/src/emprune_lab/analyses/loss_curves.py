"""How fast the training data are learned: the loss on a fixed probe of them, by epoch. The paper's Figure 3.

The probe is a random part of the training set, at most 1,000 samples. It is the same for all methods of one seed. Its
loss is the plain cross-entropy without augmentation, measured up to 20 times in a run. The loss of the training passes
cannot be used, because it is that of the samples that a method chose.

The paper compares EMP and InfoBatch with *extreme low-frequency learning*. We read that as always taking the least
visited samples. With ties broken at random that is exactly `random-permutation`, so it needs no method of its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emprune_lab.analyses.analysis import Analysis, Conclusion, paired_remark
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import LOSS_CURVES
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import differences, mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.errors import RunError
from emprune_lab.pages.drawing import colours
from emprune_lab.pages.shared_figures import probe_loss_figure

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

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the curves."""
        methods = by_method(runs)
        curves = {m: list(map(probe_losses, own)) for m, own in methods.items()}
        measured = [set(curve) for own in curves.values() for curve in own]
        epochs = sorted(set.intersection(*measured))  # some methods have more of them measured
        losses = {m: np.array([[curve[epoch] for epoch in epochs] for curve in own]) for m, own in curves.items()}
        ends = {m: {run.seed: curve[-1] for run, curve in zip(methods[m], losses[m], strict=True)} for m in methods}
        gaps = differences(ends, experiment.baseline)
        found: dict[str, dict[str, Any]] = {
            method: {
                "epochs": epochs,
                "loss": [mean_interval(epoch) for epoch in own.T],
                "per_run": own,
                "difference_at_the_end": gaps[method],
            }
            for method, own in losses.items()
        }
        shown = [max(0, round(share * len(epochs)) - 1) for share in SHOWN]
        formats = {"method": "", **{f"epoch {epochs[at]}": ".3f" for at in shown}, "difference at the end": "+.3f"}
        rows = [[m, *(own["loss"][at] for at in dict.fromkeys(shown)), gaps[m]] for m, own in found.items()]
        return Conclusion(
            quantity="loss curves: mean cross-entropy on a fixed probe of the training set",
            methods=found,
            table=Table.of(formats, rows, title="loss on a probe of the training set"),
            figures=[probe_loss_figure({m: (epochs, own) for m, own in losses.items()}, colours(methods))],
            remarks=[paired_remark(experiment, methods), *([READING] if LOW_FREQUENCY in methods else [])],
        )


def probe_losses(run: FinishedRun) -> dict[int, float]:
    """Return the loss on the probe by epoch, counted from 1.

    Raises:
        RunError: If the run has not measured it.
    """
    losses = {record["epoch"] + 1: record["probe_loss"] for record in run.log() if "probe_loss" in record}
    if not losses:
        raise RunError(f"{run.folder} holds a run of an older emprune, without probe_loss. Delete it to rerun it.")
    return losses
