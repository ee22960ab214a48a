"""Class by class: what is visited, and what is named right at the end."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emprune_lab.comparison.statistics import mean_band, mean_interval
from emprune_lab.pages.drawing import Figure, Floats, Styles, add_points, as_drawn, canvas
from emprune_lab.report.records import Run
from emprune_lab.report.sections import Group

__all__ = ["class_figures", "worst_cells"]

MOST_CLASSES = 20
MOST_LETTERS = 16
SPREAD = 0.6
"""How much of a class's room its methods share, side by side."""

WORST_HEADS = ["method", "worst class", "accuracy on it, %", "full on it, %"]

NO_ACCURACY = (
    "No run recorded the accuracy of each class: they are older than that, or of a task that trains no classifier."
)
NO_LABELS = "What each class was visited is not known: neither the labels nor the visits of a run are here."


def class_figures(
    group: Group, styles: Styles, labels: NDArray[np.int64] | None, names: Mapping[int, str]
) -> list[Figure]:
    """Return the accuracy and the visits of each class.

    Args:
        group: The runs.
        styles: How each method is drawn.
        labels: (N,) of the training samples, for runs that did not record them; None where they are not at hand.
        names: Of the classes, those that have any.
    """
    accuracy = _of_methods(group, _accuracy)
    visits = _of_methods(group, lambda run: _visits(run, labels))
    visits.pop("full", None)
    shown = _shown(accuracy or visits)
    cut = any(own.shape[1] > MOST_CLASSES for own in (accuracy or visits).values())
    which = f" The {MOST_CLASSES} classes with the {'lowest accuracy' if accuracy else 'fewest visits'}." if cut else ""
    title = "Accuracy of each class"
    figures = [Figure("class-accuracy", title, NO_ACCURACY)]
    if accuracy:
        drawing = _drawn(accuracy, styles, shown, names, "accuracy on the class, %")
        drawing.update_yaxes(autorangeoptions_clipmax=101)
        figures = [
            Figure("class-accuracy", title, f"On the test set after the last epoch; 95 % intervals.{which}", drawing)
        ]
    if not visits:
        return [*figures, Figure("class-visits", "Visits of each class", NO_LABELS)]
    drawing = _drawn(visits, styles, shown, names, "visits per sample of the class")
    note = f"Mean over the class's training samples, by the labels they were given; 95 % intervals.{which}"
    return [*figures, Figure("class-visits", "Visits of each class", note, drawing)]


def worst_cells(group: Group, names: Mapping[int, str]) -> list[list[str]]:
    """Return the class that each method names right least often as text: the heads, and a line for each method.

    Empty where no run recorded the accuracy of classes.
    """
    found = _of_methods(group, _accuracy)
    means = {method: mean_band(values)[0] for method, values in found.items()}
    lines = []
    for method, mean in means.items():
        if np.isnan(mean).all():
            continue
        worst = int(np.nanargmin(mean))
        own = [float(value) for value in found[method][:, worst] if not np.isnan(value)]
        full = f"{means['full'][worst]:.2f}" if "full" in means else "–"
        lines.append([method, f"class {names.get(worst, worst)}", f"{mean_interval(own):.2f}", full])
    return [WORST_HEADS, *lines] if lines else []


def _of_methods(group: Group, read: Callable[[Run], Floats | None]) -> dict[str, Floats]:
    """(S, C) of each method of which a run has it."""
    found = {}
    for method, runs in group.by_method.items():
        rows = [row for row in map(read, runs) if row is not None]
        if rows:
            num_classes = max(len(row) for row in rows)
            found[method] = np.array([np.pad(row, (0, num_classes - len(row)), constant_values=np.nan) for row in rows])
    return found


def _accuracy(run: Run) -> Floats | None:
    values = run.result.get("class_accuracy")
    return None if not values else np.array([math.nan if v is None else float(v) for v in values])


def _visits(run: Run, labels: NDArray[np.int64] | None) -> Floats | None:
    own, visits = run.column("label", np.int64), run.visits
    if own is None and not run.draws_samples:
        own = labels
    if own is None or visits is None or len(own) != len(visits):
        return None
    sizes = np.bincount(own)
    return np.where(sizes > 0, np.bincount(own, weights=visits) / np.maximum(sizes, 1), np.nan)


def _shown(values: Mapping[str, Floats]) -> list[int]:
    """The classes to draw, in order: all, or those with the lowest values over all methods."""
    if not values:
        return []
    num_classes = max(own.shape[1] for own in values.values())
    if num_classes <= MOST_CLASSES:
        return list(range(num_classes))
    everything = np.concatenate([own for own in values.values() if own.shape[1] == num_classes])
    return sorted(np.argsort(mean_band(everything)[0], kind="stable")[:MOST_CLASSES].tolist())


def _tick(name: str) -> str:
    return as_drawn(name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…")


def _drawn(values: Mapping[str, Floats], styles: Styles, shown: Sequence[int], names: Mapping[int, str], y: str) -> Any:
    figure = canvas("class", y, xaxis_rangemode="normal")  # those beside the first class lie below 0
    places = list(range(len(shown)))
    figure.update_xaxes(
        tickvals=places, ticktext=[_tick(names.get(label, str(label))) for label in shown], showgrid=False
    )
    for nth, (method, own) in enumerate(values.items()):
        mean, half = mean_band(own)
        beside = SPREAD * ((nth + 0.5) / len(values) - 0.5)
        points = [
            (place + beside, math.nan, float(mean[name]), float(half[name]))
            for place, name in zip(places, shown, strict=True)
            if name < len(mean) and not np.isnan(mean[name])
        ]
        if points:
            add_points(figure, method, styles[method], points, hover="%{y:.2f}")
    return figure
