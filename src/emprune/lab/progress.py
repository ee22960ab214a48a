"""How a run looks while it runs: a live bar in a terminal, a line per epoch anywhere else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from emprune.lab.train import Reporter

__all__ = ["LineReporter", "LiveReporter", "live_progress", "reporter"]


class LineReporter:
    """Prints a line after every epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._num_epochs = 0

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Say how much there is to do."""
        self._num_epochs = num_epochs
        gone_on = f", {visits_done:,} of them done" if visits_done else ""
        self._console.print(f"{num_epochs} epochs, {planned_visits:,} visits planned{gone_on}", highlight=False)

    def step(self, num_visits: int) -> None:
        """Say nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the epoch's numbers."""
        text = (
            f"epoch {record['epoch'] + 1}/{self._num_epochs}  kept {record['num_kept']}  loss {record['loss']:.4f}"
            f"{_accuracies(record)}  {record['seconds']:.1f} s"
        )
        self._console.print(text, highlight=False, soft_wrap=True)


class LiveReporter:
    """Keeps one bar up to date: epoch, samples kept, loss, the latest accuracy, time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._num_epochs = 0
        self._accuracy = ""
        self._bar: TaskID = progress.add_task("preparing", total=None, detail="")

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Set the bar's length."""
        self._num_epochs = num_epochs
        self._progress.update(
            self._bar, description=f"of {num_epochs} epochs", total=planned_visits, completed=visits_done
        )

    def step(self, num_visits: int) -> None:
        """Move the bar."""
        self._progress.advance(self._bar, num_visits)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Show the epoch's numbers."""
        self._accuracy = _accuracies(record) or self._accuracy
        detail = f"kept {record['num_kept']}  loss {record['loss']:.3f}{self._accuracy}"
        description = f"epoch {record['epoch'] + 1}/{self._num_epochs}"
        self._progress.update(self._bar, description=description, detail=detail, completed=record["visits"])


@contextmanager
def live_progress(console: Console) -> Iterator[Progress]:
    """Show bars with a description, a detail and the time left, for as long as the context lasts."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=120) as progress:
        yield progress


@contextmanager
def reporter(console: Console) -> Iterator[Reporter]:
    """Give the reporter that suits the console."""
    if not console.is_terminal:
        yield LineReporter(console)
        return
    with live_progress(console) as progress:
        yield LiveReporter(progress)


def _accuracies(record: Mapping[str, Any]) -> str:
    parts = ("validation", "test")
    return "".join(f"  {p} {record[f'{p}_accuracy']:.2f} %" for p in parts if f"{p}_accuracy" in record)
