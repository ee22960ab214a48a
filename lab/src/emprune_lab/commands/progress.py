"""How a run looks while it runs: a live bar in a terminal, a line per epoch anywhere else."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from emprune_lab.comparison.queue import Job
from emprune_lab.training import Reporter
from emprune_lab.training.speed import NUM_TIMED_STEPS

__all__ = ["LineReporter", "LiveReporter", "live_progress", "reporter", "timing", "watching"]


class LineReporter:
    """Prints a line after every epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._num_epochs = 0

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Say how much there is to do."""
        self._num_epochs = num_epochs
        gone_on = f", {visits_done:,} of them done" if visits_done else ""
        self._console.print(
            f"{_count(num_epochs, 'epoch')}, {_count(planned_visits, 'visit')} planned{gone_on}", highlight=False
        )

    def step(self, num_visits: int) -> None:
        """Say nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the epoch's numbers."""
        text = (
            f"epoch {record['epoch'] + 1}/{self._num_epochs}  kept {record['num_kept']}  loss {record['loss']:.4f}"
            f"{_accuracies(record)}  {record['seconds']:.1f} s"
        )
        self._console.print(text, highlight=False, soft_wrap=True)

    def remark(self, line: str) -> None:
        """Print it."""
        self._console.print(line, highlight=False, soft_wrap=True)


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

    def remark(self, line: str) -> None:
        """Print it above the bar."""
        self._progress.console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def live_progress(console: Console) -> Iterator[Progress]:
    """Show bars with a description, a detail and the time left, for as long as the context lasts."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=120) as progress:
        yield progress


@contextmanager
def watching(console: Console, jobs: Sequence[Job]) -> Iterator[Callable[[Set[int], Sequence[int]], None]]:
    """Give what shows how far many runs have come.

    In a terminal a bar for all and one for each that runs, elsewhere a line whenever a run is finished.

    Args:
        console: Where to show it.
        jobs: All runs.
    """
    if not console.is_terminal:
        yield _Lines(console, len(jobs), sum(job.run.sizes.visits for job in jobs))
        return
    with live_progress(console) as progress:
        yield _Bars(progress, jobs)


class _Lines:
    def __init__(self, console: Console, num_runs: int, planned: int) -> None:
        self._console, self._num_runs, self._planned = console, num_runs, planned
        self._last = -1

    def __call__(self, finished: Set[int], visits: Sequence[int]) -> None:
        if len(finished) != self._last:
            text = f"{len(finished)} of {self._num_runs} runs, {sum(visits):,} of {self._planned:,} visits"
            self._console.print(text, highlight=False)
        self._last = len(finished)


class _Bars:
    def __init__(self, progress: Progress, jobs: Sequence[Job]) -> None:
        self._progress, self._jobs = progress, jobs
        self._planned = sum(job.run.sizes.visits for job in jobs)
        self._all = progress.add_task(f"0/{len(jobs)} runs", total=self._planned, detail="")
        self._bars: dict[int, TaskID] = {}

    def __call__(self, finished: Set[int], visits: Sequence[int]) -> None:
        detail = f"{sum(visits):,} of {self._planned:,} visits"
        description = f"{len(finished)}/{len(self._jobs)} runs"
        self._progress.update(self._all, completed=sum(visits), description=description, detail=detail)
        for number in finished & self._bars.keys():
            self._progress.remove_task(self._bars.pop(number))
        for number, done in enumerate(visits):
            if done and number not in finished:
                if number not in self._bars:
                    run = self._jobs[number].run
                    self._bars[number] = self._progress.add_task(f"  {run.label}", total=run.sizes.visits, detail="")
                self._progress.update(self._bars[number], completed=done)


@contextmanager
def reporter(console: Console) -> Iterator[Reporter]:
    """Give the reporter that suits the console."""
    if not console.is_terminal:
        yield LineReporter(console)
        return
    with live_progress(console) as progress:
        yield LiveReporter(progress)


@contextmanager
def timing(console: Console, what: str) -> Iterator[Callable[[], object]]:
    """Show that steps of a run are timed, and give what is to be called after each.

    In a terminal a bar, elsewhere a line.

    Args:
        console: Where to show it.
        what: The run's name.
    """
    if not console.is_terminal:
        console.print(f"Timing a few steps of {what}.", highlight=False, soft_wrap=True)
        yield lambda: None
        return
    with live_progress(console) as progress:
        bar = progress.add_task("preparing", total=None, detail=what)
        yield lambda: progress.update(bar, description="timing", total=NUM_TIMED_STEPS, advance=1)


def _accuracies(record: Mapping[str, Any]) -> str:
    parts = ("validation", "test")
    return "".join(f"  {p} {record[f'{p}_accuracy']:.2f} %" for p in parts if f"{p}_accuracy" in record)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
