"""How accuracy grows with training time, and when a run reaches a part of what full training ends with."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from emprune_lab.comparison.notes import unlike_places
from emprune_lab.comparison.rows import outcome, scored_part
from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.comparison.table import NOTHING, Table
from emprune_lab.metrics import Metric, capital
from emprune_lab.pages.drawing import Drawing, Figure, Styles
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.sections import CostGroup

__all__ = ["accuracy_over_time", "time_to_target"]

TARGETS = (0.8, 0.9, 0.95, 0.99)
NO_CURVE = "No run has a log (log.jsonl in its folder) with its accuracy before the last epoch."


def accuracy_over_time(group: CostGroup, styles: Styles) -> Figure:
    """Return accuracy against training time, at the epochs after which it was measured."""
    curves, metric = _curves(group), group.rows[0].metric
    title = f"{capital(metric.name)} over training time"
    if not curves:
        return Figure("accuracy-progress", title, NO_CURVE)
    percent = metric.unit == "%"
    drawing = Drawing(
        "training time, s",
        metric.axis(metric.name),
        styles,
        bounds={"y": (0, 100)} if percent else {},
        **({} if percent else {"yaxis_rangemode": "normal"}),
    )
    for method, own in curves.items():
        at = [
            (mean_interval([curve["seconds"].iloc[place] for curve in own]).mean,
             mean_interval([curve["score"].iloc[place] for curve in own]))
            for place in range(min(map(len, own)))
        ]  # fmt: skip
        seconds, scores = [second for second, _ in at], [score for _, score in at]
        drawing.points(
            method, seconds, scores, hover=f"%{{y:.{metric.digits}f}} after %{{x:.3g}} s", dash=styles[method]["dash"]
        )
    note = f"On the {scored_part(group.results)}; times are means, bars 95 % intervals over the seeds."
    return Figure("accuracy-progress", title, " ".join([note, *unlike_places(group.results)]), drawing.figure)


def time_to_target(group: CostGroup) -> Table | None:
    """Return how long each method takes to parts of what full training of the same seed ends with; None without logs.

    A run reaches it at the first epoch at which that was measured.
    """
    curves = _curves(group)
    final = {run.seed: outcome(run.result) for run in group.by_method.get("full", [])}
    if not curves or not final:
        return None
    metric = group.rows[0].metric
    rows = [
        [method, *(_reached(group.by_method[method], own, final, part, metric) for part in TARGETS)]
        for method, own in curves.items()
    ]
    heads = ["method", *(f"{100 * part**metric.better:.0f} % of full's, s" for part in TARGETS)]
    return Table(heads, rows, f"Training time to a part of full training's {metric.name}")


def _reached(
    runs: Sequence[ReportedRun],
    curves: Sequence[pd.DataFrame],
    final: Mapping[int, float],
    part: float,
    metric: Metric,
) -> str:
    """The mean time where all seeds get there, else how many do. Where lower is better, it is `final` over `part`."""
    sign = metric.better
    times = [
        curve["seconds"][sign * curve["score"] >= sign * final[run.seed] * part**sign].min()
        for run, curve in zip(runs, curves, strict=True)
        if run.seed in final
    ]
    there = [float(time) for time in times if not np.isnan(time)]
    if len(there) < len(times) or not times:
        return f"{len(there)} of {len(times)} seeds" if times else NOTHING
    return f"{mean_interval(there):.1f}"


def _curves(group: CostGroup) -> dict[str, list[pd.DataFrame]]:
    """`seconds` of training so far and `score` there, a table a run. A method is left out if a run of it has none."""
    found = {method: [_curve(run) for run in runs] for method, runs in group.by_method.items()}
    return {method: own for method, own in found.items() if all(len(curve) > 1 for curve in own)}


def _curve(run: ReportedRun) -> pd.DataFrame:
    if run.log is None:
        return pd.DataFrame()
    part = "validation" if "validation_accuracy" in run.result else "test"
    score = run.log[f"{part}_score"].fillna(run.log[f"{part}_accuracy"])
    return pd.DataFrame({"seconds": run.log["seconds"].cumsum(), "score": score}).dropna()
