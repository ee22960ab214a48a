"""A report's figures: accuracy against what it costs, visits, and what the log has of each epoch."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go

from emprune_lab.comparison.notes import unlike_places
from emprune_lab.comparison.statistics import Estimate, Floats, mean_interval
from emprune_lab.metrics import capital
from emprune_lab.pages.drawing import Drawing, Figure, Styles
from emprune_lab.pages.shared_figures import PROBE_TITLE, VISITS_TITLE, probe_loss_figure, visit_figures
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.sections import CostGroup, Section

__all__ = ["against_cost", "against_time", "by_epoch", "recorded_visits"]

BESIDE = 0.8
"""Per cent of the visits between methods that cost the same, so that they do not hide each other."""

NO_VISITS = "No run recorded its visits (visits.npy or samples.parquet in its folder), so there is nothing to draw."
NO_LOG = "No run has its log (log.jsonl in its folder) to the last epoch, so there is nothing to draw."
NO_PROBE = "The logs hold no probe loss: the runs are older than it, or of a task that has none."
NO_OVERLAP = "No epoch has an overlap: it is known from when every sample was seen once."

CURVES = (
    ("churn", "Churn", 100, "new since the epoch before, % of the plan", NO_LOG,
     "How much of an epoch's plan was not in the one before."),
    ("greedy_overlap", "Overlap with greedy", 100, "in greedy's plan too, % of the plan", NO_OVERLAP,
     "How much of an epoch's plan the highest last losses would have chosen; from when every sample was seen once."),
    ("staleness", "Staleness", 1, "mean age of the scores, epochs", NO_LOG,
     "How old the last observation of a sample is on average; 1 where all were visited in the epoch before."),
)  # fmt: skip
"""Of each curve the name in the log, the title, the unit's size, the axis, why there may be none, and what it is."""


def against_cost(section: Section, styles: Styles) -> Figure:
    """Return accuracy against visits, one point a method and cost, `full` as a line."""
    return Figure(
        name="accuracy-cost",
        title=f"{_metric(section)} against cost",
        note="95 % intervals over the seeds; the dashed line is full training. Methods of one cost stand side by side.",
        drawing=_against(
            section,
            styles,
            "cost: visits, % of full training",
            lambda run: 100 * float(run.result["visits_fraction"]),
            beside=BESIDE,
        ),
    )


def against_time(section: Section, styles: Styles) -> Figure:
    """Return accuracy against the training time that was measured."""
    longest = max(float(run.result["train_seconds"]) for run in section.runs)
    unit, seconds = ("min", 60) if longest >= 180 else ("s", 1)
    note = "Planning included, scoring not; 95 % intervals over the seeds in both directions."
    return Figure(
        name="accuracy-time",
        title=f"{_metric(section)} against measured time",
        note=" ".join([note, *unlike_places(run.result for run in section.runs)]),
        drawing=_against(
            section, styles, f"training time, {unit}", lambda run: float(run.result["train_seconds"]) / seconds
        ),
    )


def recorded_visits(group: CostGroup, styles: Styles) -> list[Figure]:
    """Return how visits spread over the samples. `full` is left out: it visits all of them in every epoch."""
    recorded = {
        method: [run.visits for run in runs if run.visits is not None]
        for method, runs in group.by_method.items()
        if method != "full"
    }
    visits = {method: runs for method, runs in recorded.items() if runs}
    if not visits:
        return [Figure("visits", VISITS_TITLE, NO_VISITS)]
    full = " full, which visits all in every epoch, is left out." if "full" in group.by_method else ""
    return visit_figures(visits, styles, note=full)


def by_epoch(group: CostGroup, styles: Styles) -> list[Figure]:
    """Return what the logs say of each epoch: the loss on the probe, churn, overlap with greedy, staleness."""
    has_log = any(run.log is not None for run in group.runs)
    losses = _logged(group, "probe_loss")
    missing = Figure("probe-loss", PROBE_TITLE, NO_PROBE if has_log else NO_LOG)
    figures = [probe_loss_figure(losses, styles) if losses else missing]
    for column, title, unit, axis, none, note in CURVES:
        name, logged = column.replace("_", "-"), _logged(group, column)
        drawing = Drawing("epoch", axis, styles, bounds={"y": (0, 100)} if unit == 100 else {})
        for method, (epochs, values) in logged.items():
            drawing.band(method, epochs, unit * values, hover="%{y:.3g} in epoch %{x}")
        if logged:
            figures.append(Figure(name, title, f"{note} Bands are 95 % intervals over the seeds.", drawing.figure))
        else:
            figures.append(Figure(name, title, none if has_log else NO_LOG))
    return figures


def _against(
    section: Section, styles: Styles, x: str, cost: Callable[[ReportedRun], float], *, beside: float = 0.0
) -> go.Figure:
    """Draw each method's points, `beside` each other by so much where they have one x."""
    metric = section.groups[0].rows[0].metric
    percent = metric.unit == "%"
    drawing = Drawing(
        x,
        metric.axis(_metric(section)),
        styles,
        bounds={"y": (0.0, 100.0)} if percent else {},
    )
    if percent:
        drawing.figure.update_yaxes(autorangeoptions_clipmax=101)
    else:
        drawing.figure.update_yaxes(rangemode="normal")  # a correlation may be below 0
    points: dict[str, list[tuple[Estimate, Estimate]]] = {}
    for group in section.groups:
        for row in group.rows:
            if row.method != "full" or "full" not in points:  # it is in every group: once is enough
                at = mean_interval([cost(run) for run in group.by_method[row.method]])
                points.setdefault(row.method, []).append((at, row.score))
    costs = [at.mean for own in points.values() for at, _ in own]
    for at, score in points.get("full", []):
        ends = [min(0.95 * min(costs), at.mean), max(costs)]
        drawing.level("full", ends, score.mean, score.low, score.high, hover=f"%{{y:.{metric.digits}f}}")
    for nth, (method, own) in enumerate(points.items()):
        aside = beside * (nth - (len(points) - 1) / 2) if method != "full" else 0.0
        own = sorted(own, key=lambda point: point[0].mean)
        costs_beside = [
            at.mean + aside if at.all_equal else dataclasses.replace(at, mean=at.mean + aside) for at, _ in own
        ]
        scores = [score for _, score in own]
        dash = styles[method]["dash"] if len(own) > 1 else None
        hover = f"%{{y:.{metric.digits}f}} at %{{x:.3g}}"
        drawing.points(method, costs_beside, scores, hover=hover, dash=dash)
    return drawing.figure


def _logged(group: CostGroup, name: str) -> dict[str, tuple[Sequence[int], Floats]]:
    """The epochs, and (S, epochs) of a number in the logs, for each method that has any of it in its logs."""
    found: dict[str, tuple[Sequence[int], Floats]] = {}
    for method, runs in group.by_method.items():
        values = np.array([run.log[name] for run in runs if run.log is not None])
        if values.size and not np.isnan(values).all():
            found[method] = range(1, values.shape[1] + 1), values
    return found


def _metric(section: Section) -> str:
    if "knn_accuracy" in section.runs[0].result:
        return "Accuracy of a linear probe"
    return capital(section.groups[0].rows[0].metric.name)
