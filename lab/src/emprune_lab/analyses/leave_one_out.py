"""What a sample's loss is when it alone is left out of training. The paper's Figure 4.

Each run leaves out one random sample, drawn by its seed, and trains on all others at the usual cost. At its end two
numbers are compared. One is the loss of the sample that was left out. The other is the mean loss of the samples that
were *seen*, which means visited at least once. Both are the plain cross-entropy of the final model, without
augmentation. If the model remembered nothing of single samples, the two would be equal on average.

A run leaves out one sample only, and the losses of samples are spread over orders of magnitude. So a single run says
little. Read the mean of the differences, with its interval over the runs. Two runs can leave out the same sample.
Methods share the samples that are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from emprune.errors import ConfigError
from emprune_lab.analyses.analysis import INTERVALS, Analysis, Conclusion
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import LEAVE_ONE_OUT
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.pages.drawing import Drawing, Figure, Styles, colours, estimate_rows

__all__ = ["LeaveOneOut"]

SPREAD = (0.05, 0.95)
MOST_TICKS = 10


class LeaveOneOut(Analysis):
    """The loss of a sample that was left out, and the mean loss of those that were seen."""

    question = LEAVE_ONE_OUT

    def check(self, experiment: Experiment) -> None:
        """Refuse runs that leave out more than one sample."""
        for name in ("subset_fraction", "leave_out"):
            value = experiment.settings.get(name, 1)
            if value != 1:
                raise ConfigError(f"`{name}` must stay 1, so that one sample is left out; got {name}={value!r}.")

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the losses."""
        losses = {m: pd.DataFrame([losses_of(run) for run in own]) for m, own in by_method(runs).items()}
        found = {
            method: {
                "left_out": mean_interval(own.left_out),
                "left_out_median": own.left_out.median(),
                "seen": mean_interval(own.seen),
                "difference": mean_interval(own.left_out - own.seen),
                "share_above": (own.left_out > own.seen).mean(),
                "runs": own.to_dict("records"),
            }
            for method, own in losses.items()
        }
        formats = {
            "method": "", "left out": ".3f", "median": ".3f", "seen": ".3f", "difference": "+.3f",
            "above the seen's mean": ".0%",
        }  # fmt: skip
        rows = [[m, *(value for name, value in own.items() if name != "runs")] for m, own in found.items()]
        return Conclusion(
            quantity="leave one out: the loss of a sample that was left out, and the mean loss of those that were seen",
            methods=found,
            table=Table.of(formats, rows, title="loss of the sample left out"),
            figures=figures(losses, {method: own["difference"] for method, own in found.items()}),
            remarks=[f"{INTERVALS}; difference: left out minus seen; seen: visited at least once."],
        )


def losses_of(run: FinishedRun) -> dict[str, Any]:
    """Return what a run that left one sample out came to.

    It has the position of that sample in the training set, and its loss. It has the mean loss of the samples that were
    seen, and the ends of the band in which nine tenths of their losses lie.
    """
    (sample,) = np.flatnonzero(~run.trained_on).tolist()
    seen = run.losses[run.visited]
    low, high = np.quantile(seen, SPREAD)
    found = {"left_out": run.losses[sample], "seen": seen.mean(), "low": low, "high": high}
    return {"seed": run.seed, "sample": sample, **found}


def figures(losses: Mapping[str, pd.DataFrame], differences: Mapping[str, Any]) -> list[Figure]:
    """Return each method's losses, run by run, and the mean differences."""
    styles = colours(losses)
    note = "A point: the sample that a run left out; dashed: their mean. A stroke: the mean of those that the run saw; "
    note += f"band: from {100 * SPREAD[0]:g} % to {100 * SPREAD[1]:g} % of their losses."
    drawn = [
        Figure(f"left-out-{number}", f"Losses of {method}", note, losses_drawing(method, own, styles))
        for number, (method, own) in enumerate(losses.items(), start=1)
    ]
    axis = "left out − mean of the seen, nats"
    drawing = estimate_rows(axis, differences, styles, hover="%{x:+.3g}", level=0, xaxis_rangemode="normal")
    gap_note = "Mean over the runs; bars are 95 % intervals. The dotted line, at 0: nothing is remembered."
    return [*drawn, Figure("difference", "How much higher the loss of the sample left out is", gap_note, drawing)]


def losses_drawing(method: str, own: pd.DataFrame, styles: Styles) -> go.Figure:
    """Return the losses of the samples left out, against the mean of the seen and the spread of their losses."""
    step = -(-len(own) // MOST_TICKS)
    drawing = Drawing("run, by its seed", "cross-entropy, nats", styles, xaxis_rangemode="normal", xaxis_dtick=step)
    ends = [own.seed.min() - 0.5, own.seed.max() + 0.5]
    drawing.level(method, ends, own.left_out.mean(), own.low.mean(), own.high.mean())
    seeds = own.seed.tolist()
    drawing.points(method, seeds, own.seen.tolist(), hover="mean of the seen %{y:.3g}", symbol="line-ew")
    hover = "sample %{text}, left out of run %{x}: %{y:.3g}"
    drawing.points(method, seeds, own.left_out.tolist(), hover=hover)
    drawing.figure.update_traces(text=own["sample"].astype(str).tolist(), selector=-1)
    return drawing.figure
