"""What a terminal shows of runs, forecasts and queues: tables by rich."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from emprune.methods import Full
from emprune_lab.commands.fitting import APART, OPEN, TitledTable, fitted
from emprune_lab.comparison import table as values
from emprune_lab.comparison.table import long_duration
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.metrics import metric_of
from emprune_lab.report.provenance import options_of
from emprune_lab.report.suspect_samples import Suspects
from emprune_lab.results.record import RunRecord
from emprune_lab.run import Run
from emprune_lab.settings import Settings
from emprune_lab.tasks import Task
from emprune_lab.training.speed import Forecast

__all__ = ["comparison_command", "forecast_table", "queue_table", "run_table", "suspects_table", "what_next"]

MOST_OF_A_CLASS = 15
"""Letters of a class's name."""


def run_table(result: RunRecord) -> TitledTable:
    """Return a run's closing summary."""
    table = TitledTable(f"{result.settings.task}, {result.method}, seed {result.seed}", show_header=False)
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
    if result.settings.method.name != Full.name and result["visits_fraction"] < 1:
        times = 1 / result["visits_fraction"]
        full = long_duration(times * result["train_seconds"])
        lines.append(f"Full training takes {times:.1f} times the visits: about {full} here, if time goes with visits.")
    compared = comparison_command(result.settings, task)
    return lines if compared is None else [*lines, f"Is it worth it? {compared}"]


def comparison_command(settings: Settings, task: Task) -> str | None:
    """Return the command that compares a run's method with full training and the baseline; None where no option can.

    Full training has no cost to compare at: the others get the default one.
    """
    methods = dict.fromkeys(["full", DEFAULT_BASELINE, str(settings.method)])
    without = ("keep",) if settings.method.name == Full.name else ()
    options, others = options_of({**settings.flat(), **settings.named()}, without=without, task=task)
    if others:
        return None
    words = ["emprune", "compare", settings.task, "--methods", ",".join(methods), "--seeds", "3", *options]
    return shlex.join(words)


def forecast_table(run: Run, forecast: Forecast, *, width: int) -> TitledTable:
    """Return what a run takes, beside the same run on all the data, in a terminal of so many characters."""
    speed = forecast.speed
    per_second = speed.batch_size / (speed.loading + speed.computing)
    rows = [
        ["visits", f"{forecast.visits:,}", f"{forecast.full_visits:,}"],
        ["time", long_duration(forecast.seconds), long_duration(forecast.full_seconds)],
        ["saved", f"{forecast.saved_share:.0%}", values.NOTHING],
        ["a step, loading", _short_duration(speed.loading), ""],
        ["a step, computing", _short_duration(speed.computing), ""],
        ["samples per second", f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}", ""],
    ]
    what = f"{run.task.name}, {run.settings.training.model}, {run.settings.method}"
    shown = values.Table(["", "this run", "all the data"], rows, f"{what}: what a run takes here")
    return fitted(shown, width=width)


def suspects_table(suspects: Suspects, *, most: int, width: int) -> TitledTable:
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
    room = width - sum(max(len(text) for text in (head, *column)) + APART for head, column in cells.items())
    samples = [_named(row.get("path"), row.get("text"), position, room) for position, row in shown.iterrows()]
    table = TitledTable(title, **OPEN)
    for head in ("sample", *cells):
        table.add_column(head, justify="left" if head in ("sample", "given", "predicted") else "right", no_wrap=True)
    for sample, *row in zip(samples, *cells.values(), strict=True):
        table.add_row(sample, *row)
    if len(suspects.table) > most:
        table.below.append(f"and {len(suspects.table) - most:,} more, and all signals: --csv, --parquet, --html")
    return table


def _named(path: str | None, text: str | None, position: object, room: int) -> str:
    """Return a sample's path, then its text, in so many letters; of a long path the end tells it from others."""
    path = " ".join((path or "").split())
    if len(path) > room:
        return f"…{path[-max(1, room - 1) :]}"
    return _cut(f"{path} {text or ''}".strip() or str(position), room)


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: max(1, most - 1)]}…"


def _as_shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def queue_table(lines: Sequence[tuple[str, str, int, int, int]], *, title: str, width: int) -> TitledTable:
    """Return what an experiment still has to do.

    Args:
        lines: For each combination and method: both in words, the runs, those that are finished, the visits left.
        title: The table's.
        width: Of the terminal, in characters.
    """
    rows = [
        [settings or values.NOTHING, method, str(runs), str(finished), f"{visits:,}"]
        for settings, method, runs, finished, visits in lines
    ]
    heads = ["settings", "method", "runs", "finished", "visits left"]
    return fitted(values.Table(heads, rows, title), width=width, num_names=2)


def _short_duration(seconds: float) -> str:
    return long_duration(seconds) if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
