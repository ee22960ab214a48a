"""What the two analyses of memory share: a number per sample and model, compared between models that saw it or not."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from emprune_lab.analyses.analysis import Analysis, Conclusion, check_subsets
from emprune_lab.analyses.finished_run import Measurement, Run, by_method
from emprune_lab.analyses.gaps import Gaps, estimate
from emprune_lab.analyses.table import Table, cell, number, paired, paired_remark
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import Estimate, mean_interval
from emprune_lab.pages.drawing import Figure, add_band, canvas, colours, estimate_rows
from emprune_lab.tasks import Split
from emprune_lab.training.session import Session

__all__ = ["GapAnalysis"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NUM_POINTS = 201


class GapAnalysis(Analysis):
    """Runs on random subsets that the methods share, and what having had a sample makes of a number of its."""

    quantity: ClassVar[str]
    """What the difference between those that saw a sample and those that did not is called."""
    axis: ClassVar[str]
    """The same in few words, with its unit, for an axis."""
    by_range: ClassVar[bool] = False
    """Whether differences are divided by their range over all samples and methods."""
    fewest_runs = 2

    @abstractmethod
    def measure(self, session: Session, split: Split) -> Tensor:
        """Return (N,) float of a trained session and N samples, higher where a sample is remembered better."""

    def check(self, experiment: Experiment) -> None:
        """Refuse runs that would all see everything."""
        check_subsets(experiment, so_that="every sample is missing from some runs")

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return the gaps of each method, of runs that are paired by their subsets."""
        measurement = Measurement(self.name, self.measure)
        gaps = {}
        for method, own in by_method(runs).items():
            values = np.stack([run.measured(measurement) for run in own])
            gaps[method] = estimate(values, np.stack([run.trained_on for run in own]))
        divisor = 1.0
        if self.by_range:
            divisor = float(np.ptp(np.concatenate([gap.estimated for gap in gaps.values()]))) or 1.0
        findings = Findings({method: gap.scaled(divisor) for method, gap in gaps.items()}, experiment.baseline)
        return Conclusion(
            quantity=self.quantity,
            values={"divided_by": divisor, "methods": {method: findings.values(method) for method in gaps}},
            table=findings.table(self.quantity),
            figures=findings.figures(self.axis),
            remarks=[paired_remark(gaps, experiment.baseline)],
        )


@dataclass(frozen=True)
class Findings:
    """The gaps of each method, and the method that others are compared with."""

    gaps: Mapping[str, Gaps]
    baseline: str

    def mean(self, method: str) -> Estimate:
        """Return the mean gap, with its interval over the runs."""
        return mean_interval(self.gaps[method].per_run.tolist())

    def difference(self, method: str) -> Estimate | None:
        """Return the mean gap minus the baseline's, paired by run; None for the baseline, or where it was not run."""
        return paired(
            {m: dict(enumerate(gaps.per_run.tolist())) for m, gaps in self.gaps.items()}, method, self.baseline
        )

    def table(self, title: str) -> Table:
        """Return the distributions in numbers."""
        rows = [
            [m, cell(self.mean(m)), cell(self.difference(m)), *(f"{value:.3f}" for value in _quantiles(gaps).values())]
            for m, gaps in self.gaps.items()
        ]
        return Table(title, ["method", "mean", "difference", *(f"{q:.0%}" for q in QUANTILES)], rows)

    def figures(self, axis: str) -> list[Figure]:
        """Return the distributions, and their means over the runs."""
        styles, shares = colours(self.gaps), np.linspace(1, 0, NUM_POINTS)
        drawing = canvas(axis, "samples with at least so much, %", xaxis_rangemode="normal")
        for method, gaps in self.gaps.items():
            least, hover = np.quantile(gaps.estimated, 1 - shares).tolist(), "%{y:.1f} % have %{x:.3g} or more"
            add_band(drawing, method, styles[method], least, 100 * shares[None], hover=hover)
        means = {method: self.mean(method) for method in self.gaps}
        rows = estimate_rows(f"mean {axis}", means, styles, hover="%{x:.4f}", level=0, xaxis_rangemode="normal")
        note = "Over the samples that some runs of a method trained on and others did not."
        mean_note = "Bars are 95 % intervals over the runs; the dotted line, at 0: nothing is remembered."
        return [
            Figure("distribution", "Distribution over the samples", note, drawing),
            Figure("mean", "Mean over the samples", mean_note, rows),
        ]

    def values(self, method: str) -> dict[str, Any]:
        """Return a method's numbers, every sample's among them."""
        gaps, mean, difference = self.gaps[method], self.mean(method), self.difference(method)
        return {
            "mean": mean.mean,
            "half_width": number(mean.half_width),
            "difference": None if difference is None else difference.mean,
            "difference_half_width": None if difference is None else number(difference.half_width),
            "per_run": gaps.per_run.tolist(),
            "quantiles": _quantiles(gaps),
            "num_estimated": len(gaps.estimated),
            "per_sample": [None if np.isnan(value) else round(value, 4) for value in gaps.per_sample.tolist()],
        }


def _quantiles(gaps: Gaps) -> dict[str, float]:
    values = np.quantile(gaps.estimated, QUANTILES).tolist()
    return {f"{q:g}": value for q, value in zip(QUANTILES, values, strict=True)}
