"""What the `emprune` command does around a run: data first, progress, signals, failures in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console

from emprune.errors import ConfigError, EmpruneError
from emprune.lab.compare import Comparison, compare, grid
from emprune.lab.config import RunConfig
from emprune.lab.errors import StoppedError
from emprune.lab.progress import live_progress, reporter
from emprune.lab.session import Session, make_pruner, planned_visits
from emprune.lab.stopping import StopRequest, stop_on_signals
from emprune.lab.store import RunFolder
from emprune.lab.tasks import DATA_SETS
from emprune.lab.train import train
from emprune.lab.workers import load_splits

__all__ = ["failures_reported", "open_run", "run_to_end", "watch_comparison"]

FAILURE = 1
USAGE = 2
INTERRUPTED = 130


@contextmanager
def failures_reported() -> Iterator[None]:
    """Turn what can go wrong into a message on stderr and an exit code: 2 for wrong usage, 1 for anything else."""
    try:
        yield
    except ConfigError as error:
        _fail(str(error), USAGE)
    except EmpruneError as error:
        _fail(str(error), FAILURE)
    except torch.OutOfMemoryError as error:
        _fail(f"The device is out of memory. Lower the batch size or --jobs. ({error})", FAILURE)
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        _fail(f"Cannot read or write{name}: {error.strerror or error}. What was finished is kept.", FAILURE)
    except KeyboardInterrupt:
        _fail("Interrupted.", INTERRUPTED)


def open_run(
    out: Path, config: RunConfig, *, data_dir: Path | None, resume: bool, overwrite: bool, console: Console
) -> RunFolder:
    """Check that the run is possible, have its data at hand, and return its folder."""
    known = None if overwrite else RunFolder(out).config()
    if known is None or not RunFolder(out).finished:
        _have_data(config.task, data_dir, console)
        splits = load_splits(config, data_dir)
        make_pruner(config, len(splits.train))
    if known is None and resume and not overwrite:
        console.print(f"{out} holds no run to resume: starting one.", soft_wrap=True)
    return RunFolder.open(out, config, resume=resume, overwrite=overwrite)


def run_to_end(config: RunConfig, folder: RunFolder, *, data_dir: Path | None, console: Console) -> None:
    """Run, showing progress; on Ctrl-C or SIGTERM leave a checkpoint, say how to go on and exit as shells expect."""
    torch.set_num_threads(config.threads)
    splits = load_splits(config, data_dir)
    session = Session.build(config, splits)
    with _stoppable("with --resume") as stop, reporter(console) as report:
        train(session, folder, report=report, stop=stop)


def watch_comparison(
    task: str,
    methods: Sequence[str],
    settings: Mapping[str, Any],
    *,
    out: Path,
    num_seeds: int,
    num_jobs: int,
    baseline: str,
    data_dir: Path | None,
    console: Console,
) -> Comparison:
    """Compare, showing how far all the runs together have come."""
    if num_jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1: got {num_jobs}.")
    configs = grid(task, methods, num_seeds=num_seeds, **settings)
    _have_data(task, data_dir, console)
    first = configs[0]
    num_train = len(load_splits(first, data_dir).train)
    planned = sum(planned_visits(config, num_train) for config in configs)
    with _stoppable("again") as stop, _watch(console, len(configs), planned) as watch:
        return compare(configs, out, baseline=baseline, num_jobs=num_jobs, data_dir=data_dir, watch=watch, stop=stop)


@contextmanager
def _watch(console: Console, num_runs: int, planned: int) -> Iterator[Callable[[int, int], None]]:
    """Give what shows progress: a bar in a terminal, elsewhere a line whenever a run is finished."""
    if not console.is_terminal:
        last = -1

        def line(runs: int, visits: int) -> None:
            nonlocal last
            if runs != last:
                console.print(f"{runs} of {num_runs} runs, {visits:,} of {planned:,} visits", highlight=False)
            last = runs

        yield line
        return
    with live_progress(console) as progress:
        bar = progress.add_task(f"0/{num_runs} runs", total=planned, detail="")

        def move(runs: int, visits: int) -> None:
            detail = f"{visits:,} of {planned:,} visits"
            progress.update(bar, completed=visits, description=f"{runs}/{num_runs} runs", detail=detail)

        yield move


@contextmanager
def _stoppable(advice: str) -> Iterator[StopRequest]:
    with stop_on_signals() as request:
        try:
            yield request
        except StoppedError as error:
            typer.echo(f"emprune: {error} To go on, give the same command {advice}.", err=True)
            raise typer.Exit(request.exit_code) from None


def _have_data(task: str, data_dir: Path | None, console: Console) -> None:
    """Fetch a task's data now if it is missing, saying so, before any progress bar or process starts."""
    if task in DATA_SETS and not DATA_SETS[task].folder(data_dir).exists():
        DATA_SETS[task].ensure(data_dir, say=lambda line: console.print(line, soft_wrap=True))


def _fail(message: str, code: int) -> None:
    typer.echo(f"emprune: {message}", err=True)
    raise typer.Exit(code) from None
