"""A report's figures, a function each: accuracy against what it costs, visits, epochs, classes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emprune_lab.comparison.statistics import Estimate, mean_interval
from emprune_lab.pages.drawing import Figure, Floats, Style, Styles, add_band, add_points, canvas, transparent
from emprune_lab.pages.probe_loss import TITLE as PROBE_TITLE
from emprune_lab.pages.probe_loss import probe_loss_figure
from emprune_lab.pages.spread import TITLE, spread_figures
from emprune_lab.report.records import Run
from emprune_lab.report.sections import Group, Section

__all__ = ["against_cost", "against_time", "by_epoch", "visit_figures"]

BESIDE = 0.8
"""Per cent of the visits between methods that cost the same, so that they do not hide each other."""

NO_VISITS = "No run recorded its visits (visits.npy or samples.parquet in its folder), so there is nothing to draw."
NO_LOG = "No run has its log (log.jsonl in its folder) to the last epoch, so there is nothing to draw."
NO_PROBE = "The logs hold no probe loss: the runs are older than it, or of a task that has none."

CURVES = (
    ("churn", "Churn", "new since the epoch before, % of the plan",
     lambda record: _percent(record["summary"]["churn"]),
     "How much of an epoch's plan was not in the one before.", NO_LOG),
    ("greedy-overlap", "Overlap with greedy", "in greedy's plan too, % of the plan",
     lambda record: _percent(record["summary"]["greedy_overlap"]),
     "How much of an epoch's plan the highest last losses would have chosen; from when every sample was seen once.",
     "No epoch has an overlap: it is known from when every sample was seen once."),
    ("staleness", "Staleness", "mean age of the scores, epochs",
     lambda record: record["summary"]["staleness"],
     "How old the last observation of a sample is on average; 1 where all were visited in the epoch before.", NO_LOG),
)  # fmt: skip


def against_cost(section: Section, styles: Styles) -> Figure:
    """Return accuracy against visits, one point a method and cost, `full` as a line."""

    def cost(runs: Sequence[Run]) -> Estimate:
        return mean_interval([100 * float(run.result["visits_fraction"]) for run in runs])

    return Figure(
        name="accuracy-cost",
        title=f"{_metric(section)} against cost",
        note="95 % intervals over the seeds; the dashed line is full training. Methods of one cost stand side by side.",
        drawing=_against(section, styles, "cost: visits, % of full training", cost, beside=BESIDE),
    )


def against_time(section: Section, styles: Styles) -> Figure:
    """Return accuracy against the training time that was measured."""
    longest = max(float(run.result["train_seconds"]) for run in section.runs)
    unit, seconds = ("min", 60) if longest >= 180 else ("s", 1)

    def time(runs: Sequence[Run]) -> Estimate:
        return mean_interval([float(run.result["train_seconds"]) / seconds for run in runs])

    places = {str(run.result["machine"].get("device_name")) for run in section.runs}
    mixed = "" if len(places) == 1 else f" Measured in different places ({', '.join(sorted(places))}): do not compare."
    return Figure(
        name="accuracy-time",
        title=f"{_metric(section)} against measured time",
        note=f"Planning included, scoring not; 95 % intervals over the seeds in both directions.{mixed}",
        drawing=_against(section, styles, f"training time, {unit}", time),
    )


def visit_figures(group: Group, styles: Styles) -> list[Figure]:
    """Return how visits spread over the samples, but for `full`, whose samples are all visited in every epoch."""
    recorded = {method: [run.visits for run in runs] for method, runs in group.by_method.items() if method != "full"}
    visits = {method: [own for own in runs if own is not None] for method, runs in recorded.items()}
    visits = {method: runs for method, runs in visits.items() if runs}
    if not visits:
        return [Figure("visits", TITLE, NO_VISITS)]
    full = " full, which visits all in every epoch, is left out." if "full" in group.by_method else ""
    return spread_figures(visits, styles, note=full)


def by_epoch(group: Group, styles: Styles) -> list[Figure]:
    """Return what the logs say of each epoch: the loss on the probe, churn, overlap with greedy, staleness."""
    return [_probe_loss(group, styles), *(_curve(group, styles, *curve) for curve in CURVES)]


def _against(
    section: Section, styles: Styles, x: str, place: Callable[[Sequence[Run]], Estimate], *, beside: float = 0.0
) -> Any:
    """Draw each method's points, `beside` each other by so much where they have one x."""
    figure = canvas(x, f"{_metric(section)}, {_unit(section)}")
    if _unit(section) == "%":
        figure.update_yaxes(autorangeoptions_clipmax=101)
    else:
        figure.update_yaxes(rangemode="normal")  # a correlation may be below 0
    points: dict[str, dict[tuple[int, ...], tuple[float, float, float, float]]] = {}
    for group in section.groups:
        scores = {row.method: row.score for row in group.rows}
        for method, runs in group.by_method.items():
            at, score = place(runs), scores[method]
            own = points.setdefault(method, {})  # `full` is in every group: once is enough
            own[tuple(id(run) for run in runs)] = (at.mean, at.half_width, score.mean, score.half_width)
    everywhere = [point[0] for own in points.values() for point in own.values()]
    for own_cost, _, height, half in points.get("full", {}).values():
        _add_line(figure, styles["full"], (min(0.95 * min(everywhere), own_cost), max(everywhere)), height, half)
    for nth, (method, own) in enumerate(points.items()):
        aside = beside * (nth - (len(points) - 1) / 2) if method != "full" else 0.0
        ordered = [(x_mean + aside, x_half, y_mean, y_half) for x_mean, x_half, y_mean, y_half in sorted(own.values())]
        add_points(figure, method, styles[method], ordered, hover="%{y:.2f} at %{x:.3g}", joined=len(ordered) > 1)
    return figure


def _add_line(figure: Any, style: Style, ends: tuple[float, float], score: float, half: float) -> None:
    if not math.isnan(half):
        edge = {"mode": "lines", "meta": "full", "x": list(ends), "hoverinfo": "skip", "line": {"width": 0}}
        figure.add_scatter(**edge, y=[score - half] * 2)
        figure.add_scatter(**edge, y=[score + half] * 2, fill="tonexty", fillcolor=transparent(style))
    figure.add_scatter(
        x=list(ends), y=[score] * 2, mode="lines", meta="full", line={**style, "dash": "dash", "width": 1.5},
        hovertemplate="full: %{y:.2f}<extra></extra>",
    )  # fmt: skip


def _probe_loss(group: Group, styles: Styles) -> Figure:
    losses = _logged(group, lambda record: record.get("probe_loss"))
    return probe_loss_figure(losses, styles) if losses else Figure("probe-loss", PROBE_TITLE, _missing(group, NO_PROBE))


def _curve(
    group: Group, styles: Styles, name: str, title: str, y: str, read: Callable[[Any], Any], note: str, missing: str
) -> Figure:
    figure, logged = canvas("epoch", y), _logged(group, read)
    for method, (epochs, values) in logged.items():
        add_band(figure, method, styles[method], epochs, values, hover="%{y:.3g} in epoch %{x}")
    return (
        Figure(name, title, f"{note} Bands are 95 % intervals over the seeds.", figure)
        if logged
        else Figure(name, title, _missing(group, missing))
    )


def _logged(group: Group, read: Callable[[Any], float | None]) -> dict[str, tuple[Sequence[int], Floats]]:
    """The epochs, and (S, epochs) of what is read of them, of each method whose logs have any of it."""
    found: dict[str, tuple[Sequence[int], Floats]] = {}
    for method, runs in group.by_method.items():
        values = np.array([[_number(read(record)) for record in run.log] for run in runs if run.log])
        if values.size and not np.isnan(values).all():
            found[method] = range(1, values.shape[1] + 1), values
    return found


def _missing(group: Group, missing: str) -> str:
    return missing if any(run.log for run in group.runs) else NO_LOG


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _metric(section: Section) -> str:
    metric = section.groups[0].rows[0].metric
    if metric != "accuracy":
        return metric
    return "Accuracy of a linear probe" if "knn_accuracy" in section.runs[0].result else "Accuracy"


def _unit(section: Section) -> str:
    return "%" if section.groups[0].rows[0].metric == "accuracy" else "× 100"
