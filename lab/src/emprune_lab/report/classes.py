"""Class by class: what is visited, and what is named right at the end."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.comparison.table import NOTHING, Table
from emprune_lab.pages.drawing import Drawing, Figure, Styles, as_drawn
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.sections import CostGroup

__all__ = ["class_figures", "worst_classes"]

MOST_CLASSES = 20
MOST_LETTERS = 16
SPREAD = 0.6
"""How much of a class's room its methods share, side by side."""

NO_ACCURACY = (
    "No run recorded the accuracy of each class: they are older than that, or of a task that trains no classifier."
)
NO_LABELS = "What each class was visited is not known: neither the labels nor the visits of a run are here."


def class_figures(
    group: CostGroup, styles: Styles, labels: NDArray[np.int64] | None, names: Mapping[int, str]
) -> list[Figure]:
    """Return the accuracy and the visits of each class.

    Args:
        group: The runs.
        styles: How each method is drawn.
        labels: (N,) of the training samples, for runs that did not record them; None where they are not at hand.
        names: Of the classes, those that have any.
    """
    accuracy = _by_class(group, _accuracy)
    visits = _by_class(group, lambda run: _visits(run, labels))
    visits.pop("full", None)
    shown, which = _shown(accuracy or visits)
    lowest = which.format("lowest accuracy" if accuracy else "fewest visits")
    figures = [Figure("class-accuracy", "Accuracy of each class", NO_ACCURACY)]
    if accuracy:
        drawing = _drawn(accuracy, styles, shown, names, "accuracy on the class, %", bounds={"y": (0, 100)})
        drawing.update_yaxes(autorangeoptions_clipmax=101)
        note = f"On the test set after the last epoch; 95 % intervals.{lowest}"
        figures = [Figure("class-accuracy", "Accuracy of each class", note, drawing)]
    if not visits:
        return [*figures, Figure("class-visits", "Visits of each class", NO_LABELS)]
    drawing = _drawn(visits, styles, shown, names, "visits per sample of the class")
    note = f"Mean over the class's training samples, by the labels they were given; 95 % intervals.{lowest}"
    return [*figures, Figure("class-visits", "Visits of each class", note, drawing)]


def worst_classes(group: CostGroup, names: Mapping[int, str]) -> Table | None:
    """Return the class that each method names right least often; None where no run recorded the accuracy of classes."""
    found = _by_class(group, _accuracy)
    rows = []
    for method, own in found.items():
        worst = int(own.mean().idxmin())
        accuracy = f"{mean_interval(own[worst].dropna().tolist()):.2f}"
        full = f"{found['full'][worst].mean():.2f}" if "full" in found else NOTHING
        rows.append([method, f"class {names.get(worst, worst)}", accuracy, full])
    heads = ["method", "worst class", "accuracy on it, %", "full on it, %"]
    return Table(heads, rows, "Worst classes") if rows else None


def _by_class(group: CostGroup, read: Callable[[ReportedRun], pd.Series | None]) -> dict[str, pd.DataFrame]:
    """For each method, a row per run and a column per class; methods without any such run are left out."""
    found = {}
    for method, runs in group.by_method.items():
        rows = [row for row in map(read, runs) if row is not None]
        if any(row.notna().any() for row in rows):
            found[method] = pd.DataFrame(rows).sort_index(axis=1)
    return found


def _accuracy(run: ReportedRun) -> pd.Series | None:
    values = run.result.get("class_accuracy")
    return pd.Series(values, dtype=float) if values else None


def _visits(run: ReportedRun, labels: NDArray[np.int64] | None) -> pd.Series | None:
    own = run.column("label", np.int64)
    if own is None and not run.draws_samples:
        own = labels
    if own is None or run.visits is None or len(own) != len(run.visits):
        return None
    return pd.Series(run.visits).groupby(own).mean()


def _shown(values: Mapping[str, pd.DataFrame]) -> tuple[list[int], str]:
    """The classes to draw, in order, and which these are where not all: those with the lowest values of all methods."""
    if not values:
        return [], ""
    everything = pd.concat(values.values())
    if everything.shape[1] <= MOST_CLASSES:
        return list(everything.columns), ""
    return sorted(everything.mean().nsmallest(MOST_CLASSES).index), f" The {MOST_CLASSES} classes with the {{}}."


def _drawn(
    values: Mapping[str, pd.DataFrame],
    styles: Styles,
    shown: Sequence[int],
    names: Mapping[int, str],
    y: str,
    **how: Any,
) -> go.Figure:
    drawing = Drawing("class", y, styles, xaxis_rangemode="normal", **how)  # those beside the first class lie below 0
    ticks = [_tick(names.get(label, str(label))) for label in shown]
    drawing.figure.update_xaxes(tickvals=list(range(len(shown))), ticktext=ticks, showgrid=False)
    for nth, (method, own) in enumerate(values.items()):
        beside = SPREAD * ((nth + 0.5) / len(values) - 0.5)
        known = {at: own[label].dropna().tolist() for at, label in enumerate(shown) if label in own}
        points = {at + beside: mean_interval(values) for at, values in known.items() if values}
        if points:
            drawing.points(method, list(points), list(points.values()), hover="%{y:.2f}")
    return drawing.figure


def _tick(name: str) -> str:
    return as_drawn(name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…")
