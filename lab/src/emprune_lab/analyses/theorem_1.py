"""How much of the training set can be fitted with what is stored of it: Theorem 1 of the paper, by method.

The models of a method fit a share of the training set. The theorem puts a cap on this share, which depends on the
information that the models store. The analysis shows both. `stored_information` says what of this information is
measured, what is assumed, and what is a surrogate of ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emprune.errors import ConfigError
from emprune_lab.analyses.analysis import INTERVALS, Analysis, Conclusion
from emprune_lab.analyses.finished_run import FinishedRun, by_method
from emprune_lab.analyses.questions import THEOREM_1
from emprune_lab.analyses.stored_information import Terms, coin_entropy
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.comparison.table import Table
from emprune_lab.pages.drawing import Figure, Rows, colours

__all__ = ["Theorem1"]

NAMES = (
    "fitted", "loss", "visited", "label_entropy", "error_entropy", "stored_by_loss", "stored_by_fit", "stored_least",
    "stored_most", "cap_lowest", "cap_proved",
)  # fmt: skip
HEADS = (
    "method", "fitted", "of the wrong", "stored ≥", "stored ≤", "H(e)", "H(e_i)", "cap, lowest", "cap, proved",
)  # fmt: skip
NEARLY_ALL = 0.95
"""Of the labels, a share that is called nearly every one."""

RANGE_WIDTH, RANGE_OPACITY = 10, 0.4


class Theorem1(Analysis):
    """The share of the training set that is fitted, and the cap that Theorem 1 puts on it, by method."""

    question = THEOREM_1

    def check(self, experiment: Experiment) -> None:
        """Refuse what the theorem says nothing about."""
        num_classes = experiment.trained_on.num_classes
        if num_classes < 3:
            raise ConfigError(
                f"`task` must have at least 3 classes for {self.name}; got {experiment.task!r}, {num_classes} classes. "
                "With two, the theorem divides by log(C - 1) = 0 and says nothing (docs/theory/index.md). "
                "Choose another one."
            )
        if experiment.settings["label_noise"] == 0:
            raise ConfigError(
                "`label_noise` must be above 0; got label_noise=0. Labels that follow a rule leave nothing to store: "
                "H(y|x) = 0, and the theorem says nothing. Leave the option out, or raise it."
            )

    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return the caps."""
        right = runs[0].clean_labels()
        by_name = by_method(runs)
        found = {method: fits(own, right) for method, own in by_name.items()}
        alike = by_name[runs[0].method]  # each method has the same seeds, and so the same parts of the data
        noise = float(np.mean([noise_of(run, right) for run in alike]))
        entropy = found[runs[0].method]["label_entropy"].mean
        said = [
            f"{INTERVALS}.",
            f"Per sample, in nats. H(y|x) = {entropy:.3f}: {noise:.1%} of the labels are wrong.",
            f"Who stores nothing of the wrong labels fits {1 - noise:.1%} at most.",
            "Stored ≥, and the lowest cap with it, is a surrogate of ours, from the loss and the fit.",
            "The theorem's own cap lies between the lowest and the proved one.",
        ]
        if all(own["cap_proved"].mean == 1 for own in found.values()):
            said.append(f"What is proved of the theorem says nothing here: {why_nothing(found)}.")
        rows = [
            [
                method, own["fitted"], own["wrong_fitted"],
                *(own[name].mean for name in ("stored_least", "stored_most", "error_entropy")),
                own["error_entropy_over_runs"], own["cap_lowest"].mean, own["cap_proved"].mean,
            ]
            for method, own in found.items()
        ]  # fmt: skip
        title = "Theorem 1: the share of the training set that is fitted, and its cap"
        return Conclusion(
            quantity="Theorem 1: the share of the training set that is fitted, and the cap on it",
            methods=found,
            table=Table.of({head: "" if head == "method" else ".3f" for head in HEADS}, rows, title=title),
            figures=[caps_figure(found, 1 - noise), stored_figure(found, entropy)],
            remarks=said,
        )


def fits(runs: Sequence[FinishedRun], right: NDArray[np.int64]) -> dict[str, Any]:
    """Return the terms of a method's runs, as estimates over the runs and run by run, given the right labels (N,).

    `wrong_fitted` is the share of the wrong labels that is fitted, `error_entropy_over_runs` the plug-in estimate of
    the mean H(e_i), which takes two runs.
    """
    terms = pd.DataFrame([terms_of(run, right) for run in runs])
    errors = np.array([np.where(run.trained_on, missed(run), np.nan) for run in runs])
    shares = np.nanmean(errors[:, ~np.isnan(errors).all(axis=0)], axis=0)
    entropy = float(np.mean([coin_entropy(share) for share in shares.tolist()]))
    told = {name: terms[name].dropna() for name in terms}  # a small part of the data may have no wrong label
    return {
        **{name: mean_interval(values) if len(values) else None for name, values in told.items()},
        "error_entropy_over_runs": entropy if len(runs) > 1 else None,
        "per_run": dict(terms),
    }


def why_nothing(found: Mapping[str, Any]) -> str:
    """Say why all proved caps are 100 %: what the labels that were not looked at could hold, H(e) may hide."""
    if all(own["visited"].mean >= NEARLY_ALL for own in found.values()):
        return "nearly every label was looked at"
    least = min(own["visited"].mean for own in found.values())
    return f"H(e) is at least H(y|x) of the labels that were not looked at, {1 - least:.0%} at most"


def terms_of(run: FinishedRun, right: NDArray[np.int64]) -> dict[str, float]:
    """Return the terms of one run, on the samples that it trained on."""
    wrong, own, lost = run.training_set.y.numpy() != right, run.trained_on, missed(run)
    terms = Terms(
        num_classes=run.num_classes,
        noise=noise_of(run, right),
        errors=float(lost[own].mean()),
        loss=float(run.losses[own].mean()),
        visited=float(run.visited[own].mean()),
    )
    wrong_fitted = 1 - lost[own & wrong].mean() if (own & wrong).any() else np.nan
    return {name: getattr(terms, name) for name in NAMES} | {"wrong_fitted": float(wrong_fitted)}


def noise_of(run: FinishedRun, right: NDArray[np.int64]) -> float:
    """Return the share of wrong labels among the samples that a run trained on."""
    return float((run.training_set.y.numpy() != right)[run.trained_on].mean())


def missed(run: FinishedRun) -> NDArray[np.bool_]:
    """Return (N,) whether a sample is not given its label."""
    lost: NDArray[np.bool_] = run.classes != run.training_set.y.numpy()
    return lost


def caps_figure(found: Mapping[str, Any], level: float) -> Figure:
    """Return the fitted shares below the caps on them; `level` is the share of right labels."""
    bounds, axis = {"x": (0, 100)}, "fitted, % of the training set"
    drawing = Rows(axis, list(found), colours(found), level=100 * level, bounds=bounds)
    add_ranges(drawing, found, "cap_lowest", "cap_proved", unit=100)
    for method, own in found.items():
        fitted = mean_interval(100 * own["per_run"]["fitted"])
        drawing.points(method, [fitted], [method], hover="%{x:.1f} %")
    note = "A point: what is fitted, with its 95 % interval over the runs. A bar: where Theorem 1's cap on it lies, "
    note += f"lowest to proved. The dotted line, at {100 * level:.1f} %: nothing stored of the wrong labels."
    return Figure("caps", "What is fitted, and the cap on it", note, drawing.figure)


def stored_figure(found: Mapping[str, Any], entropy: float) -> Figure:
    """Return where the stored information lies, below H(y|x)."""
    drawing = Rows("stored of the labels, nats per sample", list(found), colours(found), level=entropy)
    add_ranges(drawing, found, "stored_least", "stored_most")
    drawing.figure.update_xaxes(rangemode="tozero")
    note = "A bar: where I(w; y|x) lies, from what the model betrays to what it was shown, means over the runs. "
    note += "The dotted line: H(y|x), all there is to store."
    return Figure("stored", "What is stored of the labels", note, drawing.figure)


def add_ranges(drawing: Rows, found: Mapping[str, Any], low: str, high: str, *, unit: float = 1) -> None:
    """Draw a bar from one number to another in each method's row, means over the runs."""
    for method, own in found.items():
        ends = [unit * own[low].mean, unit * own[high].mean]
        line = {"color": drawing.styles[method]["color"], "width": RANGE_WIDTH}
        drawing.trace(method, ends, [method, method], hover="%{x:.3g}", line=line, opacity=RANGE_OPACITY)
