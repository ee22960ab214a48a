"""What is lost of data that are removed before training. The paper's Figure 5.

At each rate every run removes a random part of the training data, drawn by its seed. It trains on the rest for equally
many epochs. Then the mean loss of what was removed is compared with that of what was kept. Both are the plain
cross-entropy of the final model, without augmentation. The gap between them is what the model knows of samples only
because it saw them. How both change with the rate shows what a smaller training set costs, with its fewer steps.

Two choices are ours. One is the rates. The other is that all runs have equally many *epochs*, as in the tables of
static pruning. So a run that removes 90 % makes a tenth of the steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from emprune_lab.analyses.analysis import INTERVALS, Analysis, Conclusion, check_subsets
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import STATIC_REMOVAL
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.pages.drawing import Drawing, Figure, colours

__all__ = ["StaticRemoval"]


class StaticRemoval(Analysis):
    """Mean loss of the removed data against the rate of random static pruning, and of the kept data beside it."""

    question = STATIC_REMOVAL

    def check(self, experiment: Experiment) -> None:
        """Refuse runs that would remove nothing."""
        check_subsets(experiment, so_that="something is removed")

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the losses by rate."""
        found = {method: losses_by_rate(own) for method, own in by_method(runs).items()}
        formats = {"method": "", "removed": ".0%", "loss of it": ".3f", "of the kept": ".3f"}
        rows = [[m, at["rate"], at["removed"], at["kept"]] for m, rates in found.items() for at in rates]
        return Conclusion(
            quantity="static removal: mean loss of the data removed before training",
            methods=found,
            table=Table.of(formats, rows, title="mean loss of what was removed before training"),
            figures=[figure(found)],
            remarks=[
                f"{INTERVALS}.",
                "Equally many epochs at every rate, so that a higher rate also means fewer steps.",
            ],
        )


def losses_by_rate(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Return what the runs of a method lose, the lowest rate first."""
    losses = []
    for run in runs:
        rate, kept = round(1 - run.settings.data.subset_fraction, 9), run.trained_on
        losses.append({"rate": rate, "removed": run.losses[~kept].mean(), "kept": run.losses[kept].mean()})
    return [
        {
            "rate": rate,
            "removed": mean_interval(own.removed),
            "kept": mean_interval(own.kept),
            "per_run": {"removed": own.removed, "kept": own.kept},
        }
        for rate, own in pd.DataFrame(losses).groupby("rate")
    ]


def figure(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Return the losses against the rate."""
    styles, hover = colours(found), "%{y:.3g} where %{x:.0f} % were removed"
    bounds, axis = {"y": (0, math.inf)}, "removed before training, % of all"
    drawing = Drawing(axis, "mean loss, nats", styles, bounds=bounds, yaxis_rangemode="tozero")
    for method, own in found.items():
        rates, removed, kept = ([at[name] for at in own] for name in ("rate", "removed", "kept"))
        percent = [100 * rate for rate in rates]
        drawing.points(method, percent, removed, hover=f"removed, {hover}", dash=styles[method]["dash"])
        drawing.points(method, percent, kept, hover=f"kept, {hover}", dash="dot", symbol="circle-open")
    note = "Cross-entropy of the final model. Filled, solid: what was removed; open, dotted: what was kept. "
    note += "Bars are 95 % intervals over the runs."
    return Figure("static-removal", "Loss of what was removed, and of what was kept", note, drawing.figure)
