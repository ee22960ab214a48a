"""Results as tables, for a terminal and for a page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from emprune.lab.comparison import Row
from emprune.lab.statistics import FEWEST_SEEDS, Estimate

__all__ = ["comparison_table", "markdown_table", "notes", "run_table"]


def run_table(result: Mapping[str, Any]) -> Table:
    """Return a run's closing summary."""
    config = result["config"]
    table = Table(title=f"{config['task']}, {config['method']}, seed {config['seed']}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    if "validation_accuracy" in result:
        table.add_row("accuracy on validation, last epoch", f"{result['validation_accuracy']:.2f} %")
    table.add_row("accuracy on test, last epoch", f"{result['accuracy']:.2f} %")
    if "accuracy_recalibrated" in result:
        table.add_row("  batch norm estimated anew", f"{result['accuracy_recalibrated']:.2f} %")
    table.add_row("visits", f"{result['visits']:,}  ({result['visits_fraction']:.1%} of full)")
    table.add_row("optimizer steps", f"{result['optimizer_steps']:,}")
    table.add_row("training", _duration(result["train_seconds"]))
    table.add_row("  of it planning", _duration(result["planning_seconds"]))
    table.add_row("scoring", _duration(result["evaluation_seconds"]))
    return table


def comparison_table(rows: Sequence[Row], *, title: str) -> Table:
    """Return the comparison for a terminal."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(_heads(rows)):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=place > 0)
    for row in rows:
        table.add_row(*_cells(row, rows))
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the comparison as Markdown."""
    heads = _heads(rows)
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *(_cells(row, rows) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def notes(rows: Sequence[Row], results: Sequence[Mapping[str, Any]], *, baseline: str) -> list[str]:
    """Return what a reader of the table must know."""
    if any(row.method == baseline for row in rows):
        differences = f"differences to {baseline}, paired by seed, * where their interval excludes zero"
    else:
        differences = f"no differences, because {baseline} is not among the methods"
    remarks = [f"Accuracy on the test set after the last epoch, mean ± 95 % interval (Student t); {differences}."]
    fewest = min((row.accuracy.num_seeds for row in rows), default=0)
    if fewest < FEWEST_SEEDS:
        remarks.append(f"Only {fewest} seed{'s' * (fewest != 1)}, fewer than {FEWEST_SEEDS}: read it as a first look.")
    places = sorted({f"{r['machine']['device_name']} ({r['machine']['precision']})" for r in results})
    if len(places) > 1:
        remarks.append(f"Computed in different places, so times do not compare: {', '.join(places)}.")
    return remarks


def _heads(rows: Sequence[Row]) -> list[str]:
    time = "time / full" if _has_full(rows) else "seconds"
    return ["method", "accuracy %", "difference", "visits", "steps", time, "seeds"]


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    return [
        row.method,
        _estimate(row.accuracy),
        "–" if row.difference is None else _difference(row.difference),
        f"{row.visits_fraction:.1%}",
        f"{row.optimizer_steps:,.0f}",
        f"{row.relative_time:.2f}" if row.relative_time is not None and _has_full(rows) else f"{row.train_seconds:.1f}",
        str(row.accuracy.num_seeds),
    ]


def _has_full(rows: Sequence[Row]) -> bool:
    return all(row.relative_time is not None for row in rows)


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.mean:.2f}{_half_width(estimate)}"


def _difference(estimate: Estimate) -> str:
    return f"{estimate.mean:+.2f}{_half_width(estimate)}{' *' if estimate.excludes_zero else ''}"


def _half_width(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.half_width) else f" ± {estimate.half_width:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
