"""What a sample's loss is when it alone is left out of training. The paper's Figure 4.

Each run leaves out one random sample, drawn by its seed, and trains on all others at the usual cost. At its end two
numbers are compared: the loss of the sample that was left out, and the mean loss of those that were seen, visited at
least once. Both are the plain cross-entropy of the final model, without augmentation. Were nothing remembered of single
samples, the two would be equal on average.

A run has one sample left out and many that were seen, so single runs say little: the losses of samples are spread over
orders of magnitude. The mean of the differences, with its interval over the runs, is what to read. Two runs can leave
out the same sample. Methods share the samples that are left out.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from emprune.errors import ConfigError
from emprune_lab.analyses.analysis import Analysis, Conclusion
from emprune_lab.analyses.finished_run import OUTPUTS, Run, by_method
from emprune_lab.analyses.questions import LEAVE_ONE_OUT
from emprune_lab.analyses.table import INTERVALS, Table, cell, plain
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import Estimate, mean_interval
from emprune_lab.pages.drawing import Figure, Style, add_points, canvas, colours, estimate_rows, transparent

__all__ = ["LeaveOneOut"]

SPREAD = (0.05, 0.95)
MOST_TICKS = 10


@dataclass(frozen=True)
class Comparison:
    """One run.

    Args:
        seed: Its seed.
        sample: The place of the sample that it left out, in the training set.
        left_out: That sample's loss.
        seen: The mean loss of the samples that were seen.
        low: Below which a twentieth of those losses lies.
        high: Above which a twentieth of them lies.
    """

    seed: int
    sample: int
    left_out: float
    seen: float
    low: float
    high: float

    @classmethod
    def of(cls, run: Run) -> "Comparison":
        """Return the comparison of a run that left one sample out."""
        losses = run.measured(OUTPUTS)[:, 0]
        (sample,) = np.flatnonzero(~run.trained_on).tolist()
        seen = losses[run.visited]
        low, high = np.quantile(seen, SPREAD).tolist()
        return cls(run.seed, sample, float(losses[sample]), float(seen.mean()), low, high)


class LeaveOneOut(Analysis):
    """The loss of a sample that was left out, and the mean loss of those that were seen."""

    question = LEAVE_ONE_OUT

    def check(self, experiment: Experiment) -> None:
        """Refuse runs that leave out more than one sample."""
        for name in ("subset_fraction", "leave_out"):
            value = experiment.settings.get(name, 1)
            if value != 1:
                raise ConfigError(f"`{name}` must stay 1, so that one sample is left out; got {name}={value!r}.")

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return the losses."""
        found = {method: [Comparison.of(run) for run in own] for method, own in by_method(runs).items()}
        heads = ["method", "left out", "median", "seen", "difference", "above the seen's mean"]
        rows = [[method, *cells(own)] for method, own in found.items()]
        return Conclusion(
            quantity="leave one out: the loss of a sample that was left out, and the mean loss of those that were seen",
            values={"methods": {method: values(own) for method, own in found.items()}},
            table=Table("loss of the sample left out", heads, rows),
            figures=figures(found),
            remarks=[f"{INTERVALS}; difference: left out minus seen; seen: visited at least once."],
        )


def difference(own: Sequence[Comparison]) -> Estimate:
    """Return how much higher the loss of the sample left out is, mean over the runs."""
    return mean_interval([one.left_out - one.seen for one in own])


def cells(own: Sequence[Comparison]) -> list[str]:
    """Return a method's numbers as the table's cells."""
    return [
        cell(mean_interval([one.left_out for one in own]), digits=3, signed=False),
        f"{np.median([one.left_out for one in own]):.3f}",
        cell(mean_interval([one.seen for one in own]), digits=3, signed=False),
        cell(difference(own), digits=3),
        f"{np.mean([one.left_out > one.seen for one in own]):.0%}",
    ]


def values(own: Sequence[Comparison]) -> dict[str, Any]:
    """Return a method's numbers as plain values."""
    return {
        "left_out": plain(mean_interval([one.left_out for one in own])),
        "left_out_median": float(np.median([one.left_out for one in own])),
        "seen": plain(mean_interval([one.seen for one in own])),
        "difference": plain(difference(own)),
        "share_above": float(np.mean([one.left_out > one.seen for one in own])),
        "runs": [dataclasses.asdict(one) for one in own],
    }


def figures(found: Mapping[str, Sequence[Comparison]]) -> list[Figure]:
    """Return each method's losses, run by run, and the mean differences."""
    styles = colours(found)
    note = "A point: the sample that a run left out; dashed: their mean. A stroke: the mean of those that the run saw; "
    note += f"band: from {100 * SPREAD[0]:g} % to {100 * SPREAD[1]:g} % of their losses."
    losses = [
        Figure(f"left-out-{place}", f"Losses of {method}", note, losses_figure(method, own, styles[method]))
        for place, (method, own) in enumerate(found.items(), start=1)
    ]
    gaps = {method: difference(own) for method, own in found.items()}
    axis = "left out − mean of the seen, nats"
    drawing = estimate_rows(axis, gaps, styles, hover="%{x:+.3g}", level=0, xaxis_rangemode="normal")
    gap_note = "Mean over the runs; bars are 95 % intervals. The dotted line, at 0: nothing is remembered."
    return [*losses, Figure("difference", "How much higher the loss of the sample left out is", gap_note, drawing)]


def losses_figure(method: str, own: Sequence[Comparison], style: Style) -> go.Figure:
    """Return the losses of the samples left out, against the mean of the seen and the spread of their losses."""
    seeds, left_out = [one.seed for one in own], [one.left_out for one in own]
    step = -(-len(own) // MOST_TICKS)
    drawing = canvas("run, by its seed", "cross-entropy, nats", xaxis_rangemode="normal", xaxis_dtick=step)
    ends = {"x": [min(seeds) - 0.5, max(seeds) + 0.5], "mode": "lines", "meta": method, "hoverinfo": "skip"}
    low, high = (float(np.mean([getattr(one, end) for one in own])) for end in ("low", "high"))
    drawing.add_scatter(**ends, y=[low, low], line_width=0)
    drawing.add_scatter(**ends, y=[high, high], line_width=0, fill="tonexty", fillcolor=transparent(style))
    drawing.add_scatter(**ends, y=2 * [float(np.mean(left_out))], line={**style, "dash": "dash", "width": 1.5})
    seen = [(one.seed, math.nan, one.seen, math.nan) for one in own]
    add_points(drawing, method, style, seen, hover="mean of the seen %{y:.3g}", symbol="line-ew")
    points = [(one.seed, math.nan, one.left_out, math.nan) for one in own]
    add_points(drawing, method, style, points, hover="sample %{text}, left out of run %{x}: %{y:.3g}")
    drawing.update_traces(text=[str(one.sample) for one in own], selector=-1)
    return drawing
