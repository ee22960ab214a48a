"""Whom a method visits: everybody a little, or some often. The paper's Figure 1, at a pruning rate of 90 %.

Of each method: how many samples were visited how often (averaged over the runs), the Lorenz curve of the visits, and
its Gini coefficient. An even spread at a small budget is what the paper calls low-frequency learning: all are visited,
and none often enough to be remembered.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emprune_lab.analyses.analysis import Analysis, Conclusion, paired_remark
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import VISITS
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import differences, mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.pages.drawing import colours
from emprune_lab.pages.shared_figures import gini_of, lorenz, visit_figures

__all__ = ["Visits", "spread"]

QUANTILES = (0.05, 0.5, 0.95)


class Visits(Analysis):
    """How often each sample is visited, by method: histogram, Lorenz curve, Gini coefficient."""

    question = VISITS
    objective = None

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return how the visits are spread."""
        methods = by_method(runs)
        visits = {method: [run.visits for run in own] for method, own in methods.items()}
        ginis = {method: {run.seed: gini_of(run.visits) for run in own} for method, own in methods.items()}
        gaps = differences(ginis, experiment.baseline)
        found = {m: {**spread(visits[m], list(ginis[m].values())), "gini_difference": gaps[m]} for m in methods}
        formats = {"method": "", "Gini": ".3f", "difference": "+.3f", "never": ".1%"}
        formats |= {f"{share:.0%}": "d" for share in QUANTILES} | {"most": "d"}
        rows = [
            [m, own["gini"], gaps[m], own["never_visited"], *own["quantiles"].values(), own["most"]]
            for m, own in found.items()
        ]
        return Conclusion(
            quantity="visits: how often a sample is visited in a run",
            methods=found,
            table=Table.of(formats, rows, title="visits of a sample"),
            figures=visit_figures(visits, colours(methods)),
            remarks=[
                paired_remark(experiment, methods),
                "Gini 0: all samples are visited equally often; towards 1: few samples have all the visits.",
            ],
        )


def spread(visits: Sequence[NDArray[np.int64]], ginis: Sequence[float]) -> dict[str, Any]:
    """Return how the visits of runs that trained on equally many samples are spread, as means over the runs."""
    most = max(int(own.max()) for own in visits)
    shares = np.mean([np.bincount(own, minlength=most + 1) / len(own) for own in visits], axis=0)
    curves = [lorenz(own) for own in visits]
    return {
        "gini": mean_interval(ginis),
        "gini_per_run": ginis,
        "never_visited": shares[0],
        "quantiles": {f"{share:g}": quantile(shares, share) for share in QUANTILES},
        "most": most,
        "share_by_visits": shares,
        "lorenz": {"samples": curves[0][0], "visits": np.mean([held for _, held in curves], axis=0)},
    }


def quantile(shares: NDArray[np.float64], share: float) -> int:
    """Return how often the sample at a share from the least visited was visited.

    Args:
        shares: The shares of the samples that were visited 0, 1, ... times.
        share: Of the samples, in [0, 1].
    """
    return int(np.searchsorted(shares.cumsum(), share - 1e-12))
