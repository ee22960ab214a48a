"""Results as tables, for a terminal and for a page."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from emprune.methods.emp import TWO_CLASS_BETA
from emprune_lab.comparison.rows import Row, scored_part, unequal_cost
from emprune_lab.comparison.statistics import FEWEST_SEEDS, Estimate, mean_interval
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import get_task
from emprune_lab.training.speed import Forecast

__all__ = [
    "comparison_cells",
    "forecast_table",
    "little_notes",
    "long_duration",
    "markdown_table",
    "method_notes",
    "notes",
    "queue_table",
    "run_table",
    "unlike_precision",
]


def run_table(result: Mapping[str, Any]) -> Table:
    """Return a run's closing summary."""
    config = result["config"]
    table = Table(title=f"{config['task']}, {config['method']}, seed {config['seed']}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    if "validation_accuracy" in result:
        table.add_row("accuracy on validation, last epoch", f"{result['validation_accuracy']:.2f} %")
    what = "linear probe" if "knn_accuracy" in result else "accuracy"
    table.add_row(f"{what} on test, last epoch", f"{result['accuracy']:.2f} %")
    if "knn_accuracy" in result:
        table.add_row("nearest neighbours on test", f"{result['knn_accuracy']:.2f} %")
    if "score" in result:
        table.add_row(f"{result['metric']} on test, last epoch", f"{result['score']:.2f}")
    if "accuracy_recalibrated" in result:
        table.add_row("  batch norm estimated anew", f"{result['accuracy_recalibrated']:.2f} %")
    if "fitted_fraction" in result and "knn_accuracy" not in result:
        table.add_row("training samples fitted", f"{result['fitted_fraction']:.1%}")
    table.add_row("visits", f"{result['visits']:,}  ({result['visits_fraction']:.1%} of full)")
    if "tokens" in result:
        table.add_row("tokens", f"{result['tokens']:,}  ({result['padded_tokens']:,} with padding)")
    table.add_row("optimizer steps", f"{result['optimizer_steps']:,}")
    table.add_row("training", _duration(result["train_seconds"]))
    table.add_row("  of it planning", _duration(result["planning_seconds"]))
    table.add_row("scoring", _duration(result["evaluation_seconds"]))
    return table


def forecast_table(config: RunConfig, forecast: Forecast) -> Table:
    """Return what a run takes, beside the same run on all the data."""
    speed = forecast.speed
    table = Table(title=f"{config.task}, {config.model}, {config.method}: what a run takes here", box=box.SIMPLE_HEAD)
    for head in ("", "this run", "all the data"):
        table.add_column(head, justify="right" if head else "left")
    table.add_row("visits", f"{forecast.visits:,}", f"{forecast.full_visits:,}")
    table.add_row("time", long_duration(forecast.seconds), long_duration(forecast.full_seconds))
    table.add_row("saved", f"{forecast.saved_share:.0%}", "–")
    table.add_row("a step, loading", f"{1e3 * speed.loading:.1f} ms", "")
    table.add_row("a step, computing", f"{1e3 * speed.computing:.1f} ms", "")
    table.add_row("samples per second", f"{speed.batch_size / (speed.loading + speed.computing):,.0f}", "")
    return table


def comparison_cells(rows: Sequence[Row], *, margin: float | None = None) -> list[list[str]]:
    """Return the comparison as text: the heads, and a line for each row."""
    return [_heads(rows, margin), *(_cells(row, rows, margin) for row in rows)]


def markdown_table(rows: Sequence[Row], *, margin: float | None = None) -> str:
    """Return the comparison as Markdown."""
    heads, *cells = comparison_cells(rows, margin=margin)
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def notes(
    rows: Sequence[Row], results: Sequence[Mapping[str, Any]], *, baseline: str, margin: float | None = None
) -> list[str]:
    """Return what a reader of the table must know."""
    if any(row.method == baseline for row in rows):
        differences = (
            f"difference: to {baseline}, paired by seed, * where its interval excludes zero; p: of that difference, "
            "adjusted for the number of rows (Holm)"
        )
    else:
        differences = f"no differences, because {baseline} is not among the methods"
    metric = _metric(rows).removesuffix(" %")
    counted = f"{metric[0].upper()}{metric[1:]} on the {scored_part(results)} after the last epoch"
    remarks = [f"{counted}, mean ± 95 % interval (Student t); {differences}."]
    if any("knn_accuracy" in result for result in results):
        remarks.append(f"Accuracy is that of a linear probe of the frozen encoder. {_neighbours(rows, results)}")
    if margin is not None:
        remarks.append(
            f"Non-inferior: the whole interval of the difference lies above −{margin:g} points (2.5 % one-sided)."
        )
    estimates = [e for row in rows for e in (row.score, row.difference, row.to_full) if e is not None]
    fewest = min((estimate.num_seeds for estimate in estimates), default=0)
    if fewest < FEWEST_SEEDS:
        remarks.append(f"Only {fewest} seed{'s' * (fewest != 1)}, fewer than {FEWEST_SEEDS}: read it as a first look.")
    shared = [(row.method, row.difference.num_seeds, row.score.num_seeds) for row in rows if row.difference is not None]
    fewer = [f"{method} {common} of {own}" for method, common, own in shared if common < own]
    if fewer:
        remarks.append(f"Differences are over the seeds that {baseline} has too: {', '.join(fewer)}.")
    if any(math.isnan(e.half_width) and e.num_seeds > 1 for e in estimates):
        remarks.append("All equal: the same on every seed, so that there is no spread to make an interval of.")
    places = sorted({f"{r['machine']['device_name']} ({r['machine']['precision']})" for r in results})
    if len(places) > 1:
        remarks.append(f"Computed in different places, so times do not compare: {', '.join(places)}.")
    remarks += unlike_precision(r["machine"]["precision"] for r in results)
    unequal = unequal_cost(results)
    return remarks if unequal is None else [*remarks, unequal]


def _neighbours(rows: Sequence[Row], results: Sequence[Mapping[str, Any]]) -> str:
    """The accuracy of the nearest neighbours, a method at a time."""
    values = {row.method: [r["knn_accuracy"] for r in results if r["config"]["method"] == row.method] for row in rows}
    return f"Nearest neighbours: {', '.join(f'{m} {mean_interval(v):.2f}' for m, v in values.items())}."


def unlike_precision(precisions: Iterable[str]) -> list[str]:
    """Say of runs that they are not all of one precision, if they are not: `auto` is another on another machine."""
    counted = sorted(Counter(precisions).items())
    if len(counted) < 2:
        return []
    how = " and ".join(f"{number} in {precision}" for precision, number in counted)
    return [f"Of the runs {how}: what differs in precision may differ by it. To avoid it set `precision`."]


def method_notes(configs: Sequence[RunConfig]) -> list[str]:
    """Say which methods rank as greedy does because there are two classes, and which prefer nothing, if any do."""
    tasks = [(config.spec, get_task(config.task)) for config in configs]
    specs = [(spec, task.num_classes) for spec, task in tasks if task.objective == "classification"]
    same = {str(spec) for spec, num_classes in specs if spec.ranks_as_greedy(num_classes)}
    uniform = {str(config.spec) for config in configs if config.spec.prefers_nothing(config.keep)}
    found = {
        f"On two classes EMP with a beta below {TWO_CLASS_BETA} ranks exactly as the loss alone, as greedy does": same,
        "At a keep this low InfoBatch prefers nothing: it keeps a uniform part of all samples, as random does": uniform,
    }
    return [f"{what}: {', '.join(sorted(methods))}." for what, methods in found.items() if methods]


def little_notes(config: RunConfig, *, planned_visits: int) -> list[str]:
    """Say it where a run keeps less than a batch in an epoch, so that it hardly trains."""
    kept = planned_visits / config.epochs
    if kept >= config.batch_size or config.keep is None or config.spec.name == "full":
        return []
    what = f"{kept:.3g} samples an epoch, less than a batch of {config.batch_size:,}, and {planned_visits:,} visits"
    return [f"keep={config.keep:g} leaves {what} in all. Raise `keep` or `epochs`, or lower `batch_size`."]


def queue_table(lines: Sequence[tuple[str, str, int, int, int]], *, title: str) -> Table:
    """Return what an experiment still has to do.

    Args:
        lines: For each combination and method: both in words, the runs, those that are finished, the visits left.
        title: The table's.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(("settings", "method", "runs", "finished", "visits left")):
        table.add_column(head, justify="left" if place < 2 else "right")
    for settings, method, runs, finished, visits in lines:
        table.add_row(settings or "–", method, str(runs), str(finished), f"{visits:,}")
    return table


def long_duration(seconds: float) -> str:
    """Return what is known only about: hours, minutes or seconds."""
    if seconds >= 3600:
        return f"{seconds / 3600:.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _heads(rows: Sequence[Row], margin: float | None) -> list[str]:
    full = ["− full"] if _has_full(rows) else []
    inferior = [] if margin is None else ["non-inferior"]
    time = "time / full" if _has_full(rows) else "seconds"
    return ["method", _metric(rows), "difference", "p", *inferior, *full, "visits", "steps", time, "seeds"]


def _cells(row: Row, rows: Sequence[Row], margin: float | None) -> list[str]:
    difference, has_full = row.difference, _has_full(rows)
    inferior = "–"
    if difference is not None and margin is not None and not math.isnan(difference.half_width):
        inferior = "yes" if difference.is_above(-margin) else "no"
    return [
        row.method,
        f"{row.score:.2f}",
        "–" if difference is None else _difference(difference),
        "–" if math.isnan(row.p_holm) else f"{row.p_holm:.3f}" if row.p_holm >= 0.001 else "<0.001",
        *([] if margin is None else [inferior]),
        *(["–" if row.to_full is None else _difference(row.to_full)] if has_full else []),
        f"{row.visits_fraction:.1%}",
        f"{row.optimizer_steps:,.0f}",
        f"{row.relative_time:.2f}" if row.relative_time is not None and has_full else f"{row.train_seconds:.1f}",
        str(row.score.num_seeds),
    ]


def _metric(rows: Sequence[Row]) -> str:
    metric = rows[0].metric if rows else "accuracy"
    return "accuracy %" if metric == "accuracy" else f"{metric} × 100"


def _has_full(rows: Sequence[Row]) -> bool:
    return all(row.relative_time is not None for row in rows)


def _difference(estimate: Estimate) -> str:
    return f"{estimate:+.2f}{' *' if estimate.excludes_zero else ''}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
