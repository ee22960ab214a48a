"""What is lost of data that are removed before training. The paper's Figure 5.

At each rate every run removes a random part of the training data, drawn by its seed, and trains on the rest for as many
epochs; then the mean loss of what was removed is compared with that of what was kept. Both are the plain cross-entropy
of the final model, without augmentation. The gap between them is what the model knows of samples only because it saw
them; how both change with the rate is what a smaller training set, and the fewer steps that come with it, cost.

The rates are ours, and so is that runs have equally many *epochs*, as in the tables of static pruning: a run that
removes 90 % makes a tenth of the steps.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from emprune_lab.analyses.analysis import Analysis, Conclusion, check_subsets
from emprune_lab.analyses.finished_run import OUTPUTS, Run, by_method
from emprune_lab.analyses.questions import STATIC_REMOVAL
from emprune_lab.analyses.table import INTERVALS, Table, cell, plain
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import Estimate, mean_interval
from emprune_lab.pages.drawing import Figure, add_points, canvas, colours

__all__ = ["StaticRemoval"]

Losses = dict[float, list[tuple[float, float]]]
"""By rate, ascending: of each run the mean loss of what was removed, and of what was kept."""


class StaticRemoval(Analysis):
    """Mean loss of the removed data against the rate of random static pruning, and of the kept data beside it."""

    question = STATIC_REMOVAL

    def check(self, experiment: Experiment) -> None:
        """Refuse runs that would remove nothing."""
        check_subsets(experiment, so_that="something is removed")

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return the losses by rate."""
        found = {method: losses_by_rate(own) for method, own in by_method(runs).items()}
        rows = [
            [method, f"{rate:.0%}", *(cell(mean, digits=3, signed=False) for mean in means(rates, rate))]
            for method, rates in found.items()
            for rate in rates
        ]
        heads = ["method", "removed", "loss of it", "of the kept"]
        return Conclusion(
            quantity="static removal: mean loss of the data removed before training",
            values={"methods": {method: values(rates) for method, rates in found.items()}},
            table=Table("mean loss of what was removed before training", heads, rows),
            figures=[figure(found)],
            remarks=[
                f"{INTERVALS}.",
                "Equally many epochs at every rate, so that a higher rate also means fewer steps.",
            ],
        )


def losses_by_rate(runs: Sequence[Run]) -> Losses:
    """Return what the runs of a method lose."""
    found: Losses = {}
    for run in sorted(runs, key=lambda run: -run.job.config.subset_fraction):
        losses, kept = run.measured(OUTPUTS)[:, 0], run.trained_on
        rate = round(1 - run.job.config.subset_fraction, 9)
        found.setdefault(rate, []).append((float(losses[~kept].mean()), float(losses[kept].mean())))
    return found


def means(rates: Losses, rate: float) -> tuple[Estimate, Estimate]:
    """Return the mean losses of what was removed and of what was kept, over the runs at a rate."""
    removed, kept = zip(*rates[rate], strict=True)
    return mean_interval(removed), mean_interval(kept)


def values(rates: Losses) -> list[dict[str, Any]]:
    """Return a method's numbers as plain values, rate by rate."""
    documents = []
    for rate, runs in rates.items():
        removed, kept = means(rates, rate)
        per_run = {"removed": [run[0] for run in runs], "kept": [run[1] for run in runs]}
        documents.append({"rate": rate, "removed": plain(removed), "kept": plain(kept), "per_run": per_run})
    return documents


def figure(found: Mapping[str, Losses]) -> Figure:
    """Return the losses against the rate."""
    drawing = canvas("removed before training, % of all", "mean loss, nats", yaxis_rangemode="tozero")
    styles = colours(found)
    for method, rates in found.items():
        both = [(100 * rate, *means(rates, rate)) for rate in rates]
        removed = [(rate, math.nan, loss.mean, loss.half_width) for rate, loss, _ in both]
        kept = [(rate, math.nan, loss.mean, loss.half_width) for rate, _, loss in both]
        hover = "%{y:.3g} where %{x:.0f} % were removed"
        add_points(drawing, method, styles[method], removed, hover=f"removed, {hover}", joined=True)
        dotted = {**styles[method], "dash": "dot"}
        add_points(drawing, method, dotted, kept, hover=f"kept, {hover}", joined=True, symbol="circle-open")
    note = "Cross-entropy of the final model. Filled, solid: what was removed; open, dotted: what was kept. "
    note += "Bars are 95 % intervals over the runs."
    return Figure("static-removal", "Loss of what was removed, and of what was kept", note, drawing)
