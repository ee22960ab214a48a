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
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go

from emprune.lab.analyses.base import Analysis, Conclusion
from emprune.lab.analyses.picture import BAND_OPACITY, add_level, colours, new_figure
from emprune.lab.analyses.runs import OUTPUTS, Run, by_method
from emprune.lab.analyses.tables import cell, make_table, plain
from emprune.lab.experiment import Experiment
from emprune.lab.statistics import Estimate, mean_interval

__all__ = ["LeaveOneOut"]

SPREAD = (0.05, 0.95)


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
    """The loss of a sample that was left out, and the mean loss of those that were seen.

    The paper's Figure 4: 50 runs, each of which leaves out one random sample.

    [bold]Example[/bold]

    emprune analyze leave-one-out fashion-mnist --train-size 500 --epochs 15 --runs 10 --out runs/one-out
    """

    name = "leave-one-out"
    methods = "emp"
    num_runs = 50
    settings = MappingProxyType({"leave_out": 1})

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return the losses."""
        found = {method: [Comparison.of(run) for run in own] for method, own in by_method(runs).items()}
        table = make_table(
            "loss of the sample left out", "method", "left out", "median", "seen", "difference", "above the seen's mean"
        )
        for method, own in found.items():
            table.add_row(
                method,
                cell(mean_interval([one.left_out for one in own]), digits=3, signed=False),
                f"{np.median([one.left_out for one in own]):.3f}",
                cell(mean_interval([one.seen for one in own]), digits=3, signed=False),
                cell(difference(own), digits=3),
                f"{np.mean([one.left_out > one.seen for one in own]):.0%}",
            )
        return Conclusion(
            quantity="leave one out: the loss of a sample that was left out, and the mean loss of those that were seen",
            values={"methods": {method: values(own) for method, own in found.items()}},
            table=table,
            figures=[figure(method, found[method], colour) for method, colour in colours(list(found)).items()],
            remarks=["Difference: left out minus seen, mean over the runs; seen: visited at least once."],
        )


def difference(own: Sequence[Comparison]) -> Estimate:
    """Return how much higher the loss of the sample left out is, mean over the runs."""
    return mean_interval([one.left_out - one.seen for one in own])


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


def figure(method: str, own: Sequence[Comparison], colour: str) -> go.Figure:
    """Return the losses of the samples left out, against the mean of the seen and the spread of their losses."""
    picture = new_figure(x="run, by its seed", y="cross-entropy", title=method)
    seeds = [one.seed for one in own]
    low, high = (float(np.mean([getattr(one, end) for one in own])) for end in ("low", "high"))
    picture.add_hrect(y0=low, y1=high, fillcolor=colour, opacity=BAND_OPACITY, line_width=0)
    picture.add_scatter(
        x=seeds,
        y=[one.left_out for one in own],
        mode="markers",
        name="left out",
        marker={"color": colour, "size": 8},
        text=[f"sample {one.sample}" for one in own],
    )
    mean = float(np.mean([one.left_out for one in own]))
    add_level(picture, mean, text=f"left out, mean {mean:.3f}", colour=colour, dash="dash")
    name = f"seen, mean (band: {SPREAD[0]:.0%} to {SPREAD[1]:.0%} of the seen samples' losses)"
    line = {"color": "black"}
    picture.add_scatter(x=seeds, y=[one.seen for one in own], mode="lines", name=name, line=line)
    return picture
