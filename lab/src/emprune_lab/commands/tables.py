"""What a terminal shows of runs, forecasts and queues: tables by rich."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from emprune_lab.comparison import table as values
from emprune_lab.comparison.table import long_duration
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.metrics import metric_of
from emprune_lab.report.provenance import options_of
from emprune_lab.report.suspect_samples import Suspects
from emprune_lab.results.record import RunRecord
from emprune_lab.run import Run
from emprune_lab.tasks import Task
from emprune_lab.training.speed import Forecast

__all__ = ["forecast_table", "plain_table", "queue_table", "run_table", "suspects_table", "what_next"]

MOST_OF_A_CLASS = 15
"""Letters of a class's name."""


def run_table(result: RunRecord) -> Table:
    """Return a run's closing summary."""
    table = Table(title=f"{result.settings.task}, {result.method}, seed {result.seed}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    metric = metric_of(result.get("metric", "accuracy"))
    if "validation_accuracy" in result:
        table.add_row("accuracy on validation, last epoch", f"{result['validation_accuracy']:.2f} %")
    what = "linear probe" if "knn_accuracy" in result else "accuracy"
    table.add_row(f"{what} on test, last epoch", f"{result['accuracy']:.2f} %")
    if "knn_accuracy" in result:
        table.add_row("nearest neighbours on test", f"{result['knn_accuracy']:.2f} %")
    if "score" in result:
        table.add_row(f"{metric.name} on test, last epoch", format(result["score"], f".{metric.digits}f"))
    if "accuracy_recalibrated" in result:
        table.add_row("  batch norm estimated again", f"{result['accuracy_recalibrated']:.2f} %")
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


def what_next(result: RunRecord, folder: Path, task: Task) -> list[str]:
    """Return what is said below a finished run: where it is, what full training would take, the next command."""
    lines = [f"The run is in {folder}."]
    if result["visits_fraction"] < 1:
        times = 1 / result["visits_fraction"]
        full = long_duration(times * result["train_seconds"])
        lines.append(f"Full training takes {times:.1f} times the visits: about {full} here, if time goes with visits.")
    settings = result.settings
    methods = dict.fromkeys(["full", DEFAULT_BASELINE, str(settings.method)])
    options, others = options_of({**settings.flat(), **settings.named()}, task=task)
    if not others:
        compared = ["emprune", "compare", settings.task, "--methods", ",".join(methods), "--seeds", "3", *options]
        lines.append(f"Is it worth it? {shlex.join(compared)}")
    return lines


def forecast_table(run: Run, forecast: Forecast) -> Table:
    """Return what a run takes, beside the same run on all the data."""
    speed = forecast.speed
    what = f"{run.task.name}, {run.settings.training.model}, {run.settings.method}"
    table = Table(title=f"{what}: what a run takes here", box=box.SIMPLE_HEAD)
    for head in ("", "this run", "all the data"):
        table.add_column(head, justify="right" if head else "left")
    table.add_row("visits", f"{forecast.visits:,}", f"{forecast.full_visits:,}")
    table.add_row("time", long_duration(forecast.seconds), long_duration(forecast.full_seconds))
    table.add_row("saved", f"{forecast.saved_share:.0%}", "–")
    table.add_row("a step, loading", f"{1e3 * speed.loading:.1f} ms", "")
    table.add_row("a step, computing", f"{1e3 * speed.computing:.1f} ms", "")
    table.add_row("samples per second", f"{speed.batch_size / (speed.loading + speed.computing):,.0f}", "")
    return table


def suspects_table(suspects: Suspects, *, most: int, width: int) -> Table:
    """Return the first samples that look mislabelled, with what tells most of each.

    Args:
        suspects: The samples.
        most: How many at most.
        width: Columns of the terminal; a long path or text is cut, so that a row is one line.
    """
    shown = suspects.table.iloc[:most]
    title = f"{len(suspects.table):,} samples that look mislabelled, by {suspects.by.replace('_', ' ')}"
    if suspects.num_unseen:
        title += f"; {suspects.num_unseen:,} were never seen"
    names = [name for name in dict.fromkeys(("given", "predicted", suspects.by, "p_given", "visits")) if name in shown]
    cells = {
        name.replace("_", " "): [_cut(_as_shown(value), MOST_OF_A_CLASS) for value in shown[name]] for name in names
    }
    room = width - sum(max(len(text) for text in (head, *column)) + 3 for head, column in cells.items())
    samples = [str(row.get("path") or row.get("text") or position) for position, row in shown.iterrows()]
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("sample", *cells):
        table.add_column(head, justify="left" if head in ("sample", "given", "predicted") else "right", no_wrap=True)
    for sample, *row in zip(samples, *cells.values(), strict=True):
        table.add_row(_cut(sample, room), *row)
    if len(suspects.table) > most:
        table.caption = f"and {len(suspects.table) - most:,} more, and all signals: --csv, --parquet, --html"
    return table


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(1, most - 1)]}…"


def _as_shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def queue_table(lines: Sequence[tuple[str, str, int, int, int]], *, title: str) -> Table:
    """Return what an experiment still has to do.

    Args:
        lines: For each combination and method: both in words, the runs, those that are finished, the visits left.
        title: The table's.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for position, head in enumerate(("settings", "method", "runs", "finished", "visits left")):
        table.add_column(head, justify="left" if position < 2 else "right")
    for settings, method, runs, finished, visits in lines:
        table.add_row(settings or "–", method, str(runs), str(finished), f"{visits:,}")
    return table


def plain_table(shown: values.Table) -> Table:
    """Return a table of values for a terminal: the first column folds, the others are numbers."""
    table = Table(title=shown.title, box=box.SIMPLE_HEAD, pad_edge=False)
    for position, head in enumerate(shown.heads):
        table.add_column(head, justify="right" if position else "left", overflow="ellipsis" if position else "fold")
    for row in shown.rows:
        table.add_row(*row)
    return table


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
