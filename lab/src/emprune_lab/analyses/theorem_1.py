"""How much of the training set can be fitted with what is stored of it: Theorem 1 of the paper, by method.

The share of the training set that a method's models fit stands against the cap that the theorem puts on it, for what
can be said of the information that they store. What is measured of it, what is assumed, and what is a surrogate of ours
is told by `stored_information`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from emprune.errors import ConfigError
from emprune_lab.analyses.analysis import Analysis, Conclusion
from emprune_lab.analyses.finished_run import OUTPUTS, Run, by_method
from emprune_lab.analyses.questions import THEOREM_1
from emprune_lab.analyses.stored_information import Terms, coin_entropy
from emprune_lab.analyses.table import INTERVALS, Table, cell, plain
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.comparison.workers import load_splits
from emprune_lab.pages.drawing import Figure, Styles, add_points, as_drawn, colours, row_canvas
from emprune_lab.tasks import get_task

__all__ = ["Theorem1"]

NAMES = (
    "fitted", "loss", "visited", "label_entropy", "error_entropy", "stored_by_loss", "stored_by_fit", "stored_least",
    "stored_most", "cap_lowest", "cap_proved",
)  # fmt: skip
HEADS = (
    "method", "fitted", "of the wrong", "stored ≥", "stored ≤", "H(e)", "H(e_i)", "cap, lowest", "cap, proved",
)  # fmt: skip
RANGE_WIDTH, RANGE_OPACITY = 10, 0.4


class Theorem1(Analysis):
    """The share of the training set that is fitted, and the cap that Theorem 1 puts on it, by method."""

    question = THEOREM_1

    def check(self, experiment: Experiment) -> None:
        """Refuse what the theorem says nothing about."""
        num_classes = get_task(experiment.task).num_classes
        if num_classes < 3:
            raise ConfigError(
                f"`{self.name}` divides by log(C - 1), which is 0 for two classes, where the theorem says nothing "
                f"(docs/theory.md); got {experiment.task!r}, {num_classes} classes. Choose a task with more."
            )
        if experiment.settings["label_noise"] == 0:
            raise ConfigError(
                "`label_noise` must be above 0: labels that follow a rule leave nothing to store, H(y|x) = 0, and the "
                "theorem says nothing; got label_noise=0."
            )

    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
        """Return the caps."""
        right = clean_labels(runs[0])
        found = {method: Fits.of(own, right) for method, own in by_method(runs).items()}
        terms = found[runs[0].method].terms[0]
        rows = [[method, *fits.cells()] for method, fits in found.items()]
        said = [
            f"{INTERVALS}.",
            f"Per sample, in nats. H(y|x) = {terms.label_entropy:.3f}: {terms.noise:.1%} of the labels are wrong.",
            f"Who stores nothing of the wrong labels fits {1 - terms.noise:.1%} at most.",
            "Stored ≥, and the lowest cap with it, is a surrogate of ours, from the loss and the fit.",
            "The theorem's own cap lies between the lowest and the proved one.",
        ]
        if all(fits.mean("cap_proved") == 1 for fits in found.values()):
            said.append("What is proved of the theorem says nothing here: nearly every label was looked at.")
        return Conclusion(
            quantity="Theorem 1: the share of the training set that is fitted, and the cap on it",
            values={"methods": {method: fits.values() for method, fits in found.items()}},
            table=Table("Theorem 1: the share of the training set that is fitted, and its cap", HEADS, rows),
            figures=[caps_figure(found, terms), stored_figure(found, terms)],
            remarks=said,
        )


@dataclass(frozen=True)
class Fits:
    """The fits of a method's runs.

    Args:
        terms: Of each run.
        wrong_fitted: The share of the wrong labels that each has fitted.
        error_entropy_over_runs: The plug-in estimate of the mean H(e_i).
    """

    terms: list[Terms]
    wrong_fitted: list[float]
    error_entropy_over_runs: float

    @classmethod
    def of(cls, runs: Sequence[Run], right: NDArray[np.int64]) -> "Fits":
        """Return the fits of runs, given the right labels (N,)."""
        num_classes = get_task(runs[0].job.config.task).num_classes
        terms, wrong_fitted, errors = [], [], []
        for run in runs:
            losses, predicted = run.measured(OUTPUTS).T
            labels, own = run.training_set.y.numpy(), run.trained_on
            wrong, missed = labels != right, predicted != labels
            terms.append(
                Terms(
                    num_classes=num_classes,
                    noise=float(wrong[own].mean()),
                    errors=float(missed[own].mean()),
                    loss=float(losses[own].mean()),
                    visited=float(run.visited[own].mean()),
                )
            )
            wrong_fitted.append(float(1 - missed[own & wrong].mean()))
            errors.append(np.where(own, missed, np.nan))
        tried = ~np.isnan(errors).all(axis=0)
        shares = np.nanmean(np.array(errors)[:, tried], axis=0)
        return cls(terms, wrong_fitted, float(np.mean([coin_entropy(share) for share in shares.tolist()])))

    def of_each(self, name: str) -> list[float]:
        """Return a number of each run."""
        return [float(getattr(terms, name)) for terms in self.terms]

    def mean(self, name: str) -> float:
        """Return its mean over the runs."""
        return float(np.mean(self.of_each(name)))

    def cells(self) -> list[str]:
        """Return the table's cells."""
        return [
            cell(mean_interval(self.of_each("fitted")), digits=3, signed=False),
            cell(mean_interval(self.wrong_fitted), digits=3, signed=False),
            *(f"{self.mean(name):.3f}" for name in ("stored_least", "stored_most", "error_entropy")),
            f"{self.error_entropy_over_runs:.3f}" if len(self.terms) > 1 else "–",
            *(f"{self.mean(name):.3f}" for name in ("cap_lowest", "cap_proved")),
        ]

    def values(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **{name: plain(mean_interval(self.of_each(name))) for name in NAMES},
            "wrong_fitted": plain(mean_interval(self.wrong_fitted)),
            "error_entropy_over_runs": self.error_entropy_over_runs if len(self.terms) > 1 else None,
            "per_run": {name: self.of_each(name) for name in NAMES} | {"wrong_fitted": self.wrong_fitted},
        }


def clean_labels(run: Run) -> NDArray[np.int64]:
    """Return the labels (N,) of the training set before some were made wrong."""
    config = run.job.config.replace(label_noise=0.0, subset_fraction=1.0, leave_out=0)
    labels: NDArray[np.int64] = load_splits(config, run.job.data_dir).train.y.numpy()
    return labels


def caps_figure(found: Mapping[str, Fits], terms: Terms) -> Figure:
    """Return the fitted shares below the caps on them."""
    styles, level = colours(found), 100 * (1 - terms.noise)
    drawing = row_canvas("fitted, % of the training set", list(found), level=level)
    add_ranges(drawing, found, styles, "cap_lowest", "cap_proved", unit=100)
    for method, fits in found.items():
        at = mean_interval([100 * share for share in fits.of_each("fitted")])
        add_points(drawing, method, styles[method], [(at.mean, at.half_width, method, math.nan)], hover="%{x:.1f} %")
    note = "A point: what is fitted, with its 95 % interval over the runs. A bar: where Theorem 1's cap on it lies, "
    note += f"lowest to proved. The dotted line, at {level:.1f} %: nothing stored of the wrong labels."
    return Figure("caps", "What is fitted, and the cap on it", note, drawing)


def stored_figure(found: Mapping[str, Fits], terms: Terms) -> Figure:
    """Return where the stored information lies."""
    drawing = row_canvas("stored of the labels, nats per sample", list(found), level=terms.label_entropy)
    add_ranges(drawing, found, colours(found), "stored_least", "stored_most")
    drawing.update_xaxes(rangemode="tozero")
    note = "A bar: where I(w; y|x) lies, from what the model betrays to what it was shown, means over the runs. "
    note += "The dotted line: H(y|x), all there is to store."
    return Figure("stored", "What is stored of the labels", note, drawing)


def add_ranges(
    drawing: go.Figure, found: Mapping[str, Fits], styles: Styles, low: str, high: str, *, unit: float = 1
) -> None:
    """Draw a bar from one number to another in each method's row, means over the runs."""
    for method, fits in found.items():
        drawing.add_scatter(
            x=[unit * fits.mean(low), unit * fits.mean(high)],
            y=[method, method],
            mode="lines",
            meta=method,
            line={"color": styles[method]["color"], "width": RANGE_WIDTH},
            opacity=RANGE_OPACITY,
            hovertemplate=f"{as_drawn(method)}: %{{x:.3g}}<extra></extra>",
        )
