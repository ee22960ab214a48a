r"""What models remember of a sample because they saw it: of its class, and in pre-training of its views.

A number is measured on every sample and model, and compared between the models that saw the sample and those that did
not. All are trained on random subsets S, which the methods share.

Memorization in classification: a model is right about a sample only if it saw the sample.

.. math:: \mathrm{mem}(i) = \Pr[h(x_i) = y_i \mid i \in S] - \Pr[h(x_i) = y_i \mid i \notin S]

Memorization in contrastive learning: the views of a sample lie closer together only if the model saw the sample.

.. math:: m(i) = E_{i \notin S} \, E \lVert u' - u'' \rVert - E_{i \in S} \, E \lVert u' - u'' \rVert

with u of unit length, the encoder's features of two views of sample i, divided by the range of all values; 0 is none.

References:
    Feldman & Zhang, "What Neural Networks Memorize and Why: Discovering the Long Tail via Influence Estimation"
    (NeurIPS 2020). They made thousands of runs. Here are a few, so a single sample's estimate is coarse. Read the
    distribution, and above all its mean.

    Wang et al., "Memorization in Self-Supervised Learning Improves Downstream Generalization" (ICLR 2024), SSLMem. Unit
    length, the distance and the division by the range are as in its authors' code. Three things differ. The range is
    one for all methods, so that they can be compared. Both u' and u'' are views, as in the definition; in their code
    one is the image itself. The encoders are several; theirs are two.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emprune_lab.analyses.analysis import Analysis, Conclusion, check_subsets, paired_remark
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import ALIGNMENT_GAP, MEMORIZATION
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import Estimate, Floats, differences, mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.pages.drawing import Drawing, Figure, colours, estimate_rows
from emprune_lab.tasks import Split
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.objectives.objective import EVALUATION_BATCH

__all__ = ["AlignmentGap", "Gaps", "Memorization"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NUM_POINTS = 201
NUM_PAIRS = 5
VIEWS_SEED = 0


@dataclass(frozen=True)
class Gaps:
    """What having seen a sample makes of a number that was measured on it.

    Args:
        per_sample: (N,) the mean of the runs that saw it minus that of those that did not; nan where either are none.
        per_run: (m,) within a run, the mean over what it saw minus that over what it did not.
    """

    per_sample: Floats
    per_run: Floats

    @classmethod
    def of(cls, values: Floats, seen: NDArray[np.bool_]) -> "Gaps":
        """Return the gaps.

        Args:
            values: (m, N) what was measured on each sample after each of m runs.
            seen: (m, N) whether the sample was in the run's training set; in each run some, and not all.

        Example:
            >>> gaps = Gaps.of(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[True, False], [False, True]]))
            >>> gaps.per_sample.tolist(), gaps.per_run.tolist()
            ([1.0, 1.0], [1.0, 1.0])
        """

        def mean(among: NDArray[np.bool_], axis: int) -> Floats:
            found: Floats = (values * among).sum(axis) / among.sum(axis)
            return found

        with np.errstate(invalid="ignore", divide="ignore"):
            return cls(mean(seen, 0) - mean(~seen, 0), mean(seen, 1) - mean(~seen, 1))

    @property
    def estimated(self) -> Floats:
        """The samples for which there is an estimate."""
        return self.per_sample[~np.isnan(self.per_sample)]

    @property
    def quantiles(self) -> dict[str, float]:
        """Below which gap a share of the samples lies, by that share."""
        return {f"{share:g}": float(np.quantile(self.estimated, share)) for share in QUANTILES}


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
    def measure(self, training: ArrayTraining, split: Split) -> Tensor:
        """Return (N,) float of a trained run and N samples, higher where a sample is remembered better."""

    def check(self, experiment: Experiment) -> None:
        """Refuse runs that would all see everything."""
        check_subsets(experiment, so_that="every sample is missing from some runs")

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the gaps of each method, of runs that are paired by their subsets."""
        gaps, divisor = self._gaps(runs)
        means = {method: mean_interval(own.per_run.tolist()) for method, own in gaps.items()}
        paired = differences({m: dict(enumerate(own.per_run)) for m, own in gaps.items()}, experiment.baseline)
        formats = {"method": "", "mean": "+.4f", "difference": "+.4f", **{f"{share:.0%}": ".3f" for share in QUANTILES}}
        rows = [[m, means[m], paired[m], *own.quantiles.values()] for m, own in gaps.items()]
        return Conclusion(
            quantity=self.quantity,
            shared={"divided_by": divisor},
            methods={
                method: {
                    **_flat(means[method], "", "mean"),
                    **_flat(paired[method], "difference_", "difference"),
                    "per_run": own.per_run,
                    "quantiles": own.quantiles,
                    "num_estimated": len(own.estimated),
                    "per_sample": own.per_sample.round(4),
                }
                for method, own in gaps.items()
            },
            table=Table.of(formats, rows, title=self.quantity),
            figures=_figures(self.axis, gaps, means),
            remarks=[paired_remark(experiment, gaps)],
        )

    def _gaps(self, runs: Sequence[FinishedRun]) -> tuple[dict[str, Gaps], float]:
        """The gaps of each method, and what they were divided by."""
        found = {}
        for method, own in by_method(runs).items():
            values = np.stack([run.measured(self.name, self.measure) for run in own])
            found[method] = Gaps.of(values, np.stack([run.trained_on for run in own]))
        if not self.by_range:
            return found, 1.0
        divisor = float(np.ptp(np.concatenate([gaps.estimated for gaps in found.values()]))) or 1.0
        return {m: Gaps(gaps.per_sample / divisor, gaps.per_run / divisor) for m, gaps in found.items()}, divisor


class Memorization(GapAnalysis):
    """How much likelier a sample's class is named with the sample in the training set."""

    question = MEMORIZATION
    quantity = "memorization: accuracy on a sample with it in the training set, minus without"
    axis = "memorization, −1 to 1"

    def measure(self, training: ArrayTraining, split: Split) -> Tensor:
        """Return (N,) float32, 1 where the class is named right, without augmentation."""
        logits = training.objective.predict_all(training.result_model, split.x)
        return (logits.argmax(1) == split.y).float()


class AlignmentGap(GapAnalysis):
    """How much closer a sample's views lie, in pre-training, with the sample in the training set."""

    question = ALIGNMENT_GAP
    objective = "contrastive"
    quantity = "alignment gap: how much closer a sample's views are with it in the training set than without"
    axis = "alignment gap, −1 to 1"
    by_range = True

    @torch.no_grad()
    def measure(self, training: ArrayTraining, split: Split) -> Tensor:
        """Return (N,) float32, minus the mean distance of five pairs of views, which are the same for every model."""
        objective, model = training.objective, training.result_model
        generator = torch.Generator(training.run.compute.device).manual_seed(VIEWS_SEED)
        model.eval()
        parts = []
        for x in split.x.split(EVALUATION_BATCH):
            distance = torch.zeros(len(x), device=x.device)
            for _ in range(NUM_PAIRS):
                views = objective.transform(generator, x)
                first, second = (F.normalize(objective.predict(model, view), dim=1) for view in views)
                distance += (first - second).norm(dim=1) / NUM_PAIRS
            parts.append(-distance)
        model.train()
        return torch.cat(parts)


def _figures(axis: str, gaps: Mapping[str, Gaps], means: Mapping[str, Estimate]) -> list[Figure]:
    """The distributions, and their means over the runs."""
    styles, shares = colours(gaps), np.linspace(1, 0, NUM_POINTS)
    drawing = Drawing(axis, "samples with at least so much, %", styles, xaxis_rangemode="normal")
    for method, own in gaps.items():
        least = np.quantile(own.estimated, 1 - shares).tolist()
        drawing.band(method, least, 100 * shares[None], hover="%{y:.1f} % have %{x:.3g} or more")
    rows = estimate_rows(f"mean {axis}", means, styles, hover="%{x:.4f}", level=0, xaxis_rangemode="normal")
    note = "Over the samples that some runs of a method trained on and others did not."
    mean_note = "Bars are 95 % intervals over the runs; the dotted line, at 0: nothing is remembered."
    return [
        Figure("distribution", "Distribution over the samples", note, drawing.figure),
        Figure("mean", "Mean over the samples", mean_note, rows),
    ]


def _flat(estimate: Estimate | None, prefix: str, name: str) -> dict[str, float | None]:
    """An estimate as two numbers."""
    half_width = None if estimate is None else estimate.half_width
    return {name: None if estimate is None else estimate.mean, f"{prefix}half_width": half_width}
