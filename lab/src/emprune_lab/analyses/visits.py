"""Whom a method visits: everybody a little, or some often. The paper's Figure 1, at a pruning rate of 90 %.

Of each method: how many samples were visited how often (averaged over the runs), the Lorenz curve of the visits, and
its Gini coefficient. An even spread at a small budget is what the paper calls low-frequency learning: all are visited,
and none often enough to be remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emprune_lab.analyses.analysis import Analysis, Conclusion
from emprune_lab.analyses.finished_run import Floats, Run, by_method
from emprune_lab.analyses.questions import VISITS
from emprune_lab.analyses.table import Table, cell, paired, paired_remark, plain
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import Estimate, mean_interval
from emprune_lab.pages.drawing import colours
from emprune_lab.pages.spread import spread_figures
from emprune_lab.training.frequency import gini, histogram, lorenz

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

    def cells(self, gap: Estimate | None) -> list[str]:
        """Return the table's cells, given the difference of the Gini coefficient."""
        return [
            cell(mean_interval(list(self.gini.values())), digits=3, signed=False),
            cell(gap, digits=3),
            f"{self.counts[0]:.1%}",
            *(str(self.quantile(share)) for share in QUANTILES),
            str(len(self.counts) - 1),
        ]

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
    """How often each sample is visited, by method: histogram, Lorenz curve, Gini coefficient."""

    question = VISITS
    objective = None

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return how the visits are spread."""
        methods = by_method(runs)
        spreads = {method: Spread.of(own) for method, own in methods.items()}
        ginis = {method: spread.gini for method, spread in spreads.items()}
        gaps = {method: paired(ginis, method, experiment.baseline) for method in methods}
        visits = {method: [run.visits for run in own] for method, own in methods.items()}
        heads = ["method", "Gini", "difference", "never", *(f"{q:.0%}" for q in QUANTILES), "most"]
        return Conclusion(
            quantity="visits: how often a sample is visited in a run",
            values={"methods": {m: {**s.values(), "gini_difference": plain(gaps[m])} for m, s in spreads.items()}},
            table=Table("visits of a sample", heads, [[m, *s.cells(gaps[m])] for m, s in spreads.items()]),
            figures=spread_figures(visits, colours(methods)),
            remarks=[
                paired_remark(methods, experiment.baseline),
                "Gini 0: all samples are visited equally often; towards 1: few samples have all the visits.",
            ],
        )
