"""Whom a method visits: everybody a little, or some often. The paper's Figure 1, at a pruning rate of 90 %.

Of each method: how many samples were visited how often (averaged over the runs), the Lorenz curve of the visits, and
its Gini coefficient. An even spread at a small budget is what the paper calls low-frequency learning: all are visited,
and none often enough to be remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from emprune.lab.analyses.base import Analysis, Conclusion
from emprune.lab.analyses.picture import colours, new_figure
from emprune.lab.analyses.runs import Floats, Run, by_method
from emprune.lab.analyses.tables import cell, make_table, paired, plain
from emprune.lab.experiment import Experiment
from emprune.lab.frequency import gini, histogram, lorenz
from emprune.lab.statistics import mean_interval

__all__ = ["Visits"]

QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Spread:
    """How the visits of a method's runs are spread.

    Args:
        counts: (M + 1,) the share of the samples that were visited 0, 1, ... M times, mean over the runs.
        samples: Shares of the samples, the least visited first.
        visits: Their shares of the visits, mean over the runs.
        gini: By seed.
    """

    counts: Floats
    samples: list[float]
    visits: list[float]
    gini: dict[int, float]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Spread":
        """Return the spread of runs that trained on equally many samples."""
        visits = [torch.from_numpy(run.visits) for run in runs]
        longest = int(max(own.max() for own in visits)) + 1
        counts = np.mean([np.pad(histogram(own), (0, longest))[:longest] / len(own) for own in visits], axis=0)
        curves = [lorenz(own) for own in visits]
        held = np.mean([curve[1] for curve in curves], axis=0)
        ginis = {run.seed: gini(own) for run, own in zip(runs, visits, strict=True)}
        return cls(counts, curves[0][0], held.tolist(), ginis)

    def quantile(self, share: float) -> int:
        """Return how often the sample at that share from the least visited was visited."""
        return int(np.searchsorted(self.counts.cumsum(), share - 1e-12))

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "gini": plain(mean_interval(list(self.gini.values()))),
            "gini_per_run": list(self.gini.values()),
            "never_visited": float(self.counts[0]),
            "quantiles": {f"{share:g}": self.quantile(share) for share in QUANTILES},
            "most": len(self.counts) - 1,
            "share_by_visits": self.counts.tolist(),
            "lorenz": {"samples": self.samples, "visits": self.visits},
        }


class Visits(Analysis):
    """How often each sample is visited, by method: histogram, Lorenz curve, Gini coefficient.

    The paper's Figure 1, at its pruning rate of 90 %: --keep is 0.1 unless you
    say otherwise. For any task, on texts and in pre-training too.

    [bold]Example[/bold]

    emprune analyze visits fashion-mnist --train-size 2000 --epochs 20 --runs 2 --out runs/visits
    """

    name = "visits"
    objective = None
    methods = "random-permutation,random,infobatch,greedy,emp"
    num_runs = 5
    settings = MappingProxyType({"keep": 0.1})

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return how the visits are spread."""
        spreads = {method: Spread.of(own) for method, own in by_method(runs).items()}
        ginis = {method: spread.gini for method, spread in spreads.items()}
        table = make_table(
            "visits of a sample", "method", "Gini", "difference", "never", *(f"{q:.0%}" for q in QUANTILES), "most"
        )
        for method, spread in spreads.items():
            table.add_row(
                method,
                cell(mean_interval(list(spread.gini.values())), digits=3, signed=False),
                cell(paired(ginis, method, experiment.baseline), digits=3),
                f"{spread.counts[0]:.1%}",
                *(str(spread.quantile(share)) for share in QUANTILES),
                str(len(spread.counts) - 1),
            )
        differences = {method: plain(paired(ginis, method, experiment.baseline)) for method in spreads}
        return Conclusion(
            quantity="visits: how often a sample is visited in a run",
            values={"methods": {m: {**s.values(), "gini_difference": differences[m]} for m, s in spreads.items()}},
            table=table,
            figures=[counts_figure(spreads), lorenz_figure(spreads)],
            remarks=["Gini 0: all samples are visited equally often; towards 1: few samples have all the visits."],
        )


def counts_figure(spreads: dict[str, Spread]) -> go.Figure:
    """Return the share of the samples by how often they were visited."""
    figure = new_figure(x="visits", y="share of the samples")
    colour = colours(list(spreads))
    for method, spread in spreads.items():
        figure.add_bar(
            x=list(range(len(spread.counts))), y=spread.counts.tolist(), name=method, marker_color=colour[method]
        )
    figure.update_layout(yaxis_tickformat=".0%")
    return figure


def lorenz_figure(spreads: dict[str, Spread]) -> go.Figure:
    """Return the share of the visits that the least visited share of the samples has."""
    figure = new_figure(x="share of the samples, the least visited first", y="share of the visits")
    colour = colours(list(spreads))
    for method, spread in spreads.items():
        name = f"{method}, Gini {np.mean(list(spread.gini.values())):.3f}"
        line = {"color": colour[method]}
        figure.add_scatter(x=spread.samples, y=spread.visits, mode="lines", name=name, line=line)
    even = {"color": "grey", "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="all equally often", line=even)
    figure.update_layout(xaxis_tickformat=".0%", yaxis_tickformat=".0%")
    return figure
