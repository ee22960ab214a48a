"""What the `emprune` command does around a run: data first, progress, signals, failures in words."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console

from emprune.distributed import Ranks, launched_rank, launched_ranks
from emprune.errors import ConfigError, EmpruneError, RankError
from emprune.lab import drivers
from emprune.lab.compare import Comparison, Queue, adopt, compare, look_elsewhere, make_queue, refuse_loss
from emprune.lab.config import RunConfig
from emprune.lab.data import have_data
from emprune.lab.device import Compute
from emprune.lab.errors import RunError, StoppedError
from emprune.lab.estimate import Forecast, Speed, forecast
from emprune.lab.experiment import Experiment
from emprune.lab.progress import reporter, watching
from emprune.lab.session import planned_visits, step_size
from emprune.lab.stopping import StopRequest, stop_on_signals
from emprune.lab.store import RunFolder
from emprune.lab.tables import method_notes, unlike_precision
from emprune.lab.workers import load_splits

__all__ = [
    "failures_reported",
    "foresee",
    "prepared_queue",
    "refuse_torchrun",
    "run_once",
    "seconds_left",
    "taken_over",
    "warn_of_precisions",
    "watch_comparison",
    "what_is_left",
]

FAILURE = 1
USAGE = 2
INTERRUPTED = 130


@contextmanager
def failures_reported() -> Iterator[None]:
    """Turn what can go wrong into a message on stderr and an exit code: 2 for wrong usage, 1 for anything else.

    What all ranks under torchrun notice, or one of another, the first alone says.
    """
    leads = not launched_rank()
    try:
        yield
    except ConfigError as error:
        _fail(str(error), USAGE, said=leads)
    except (RankError, RunError) as error:
        _fail(str(error), FAILURE, said=leads)
    except EmpruneError as error:
        _fail(str(error), FAILURE)
    except torch.OutOfMemoryError as error:
        _fail(f"The device is out of memory. Lower the batch size or --jobs. ({error})", FAILURE)
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        _fail(f"Cannot read or write{name}: {error.strerror or error}. What was finished is kept.", FAILURE)
    except KeyboardInterrupt:
        _fail("Interrupted.", INTERRUPTED)


def refuse_torchrun(command: str) -> None:
    """Raise ConfigError if torchrun started this process."""
    if launched_rank() is not None:
        raise ConfigError(f"`emprune {command}` is no run that processes can share: call it without torchrun.")


def run_once(
    out: Path,
    config: RunConfig,
    *,
    data_dir: Path | None,
    resume: bool,
    overwrite: bool,
    console: Console,
) -> dict[str, Any]:
    """Run, unless the folder holds this run finished, and return its result.

    Under torchrun on all its ranks together, of which the first alone opens the folder, and says anything.

    Raises:
        ConfigError: If both `resume` and `overwrite` are asked for.
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite throws it away: got both. Leave one out.")
    with launched_ranks() as ranks, ExitStack() as until_end:
        leads, folder = ranks.rank == 0, RunFolder(out)
        if leads:
            folder.refuse_foreign()
            known = None if overwrite else folder.config()
            if known is None or not folder.finished:
                _have_data(config, data_dir, console)
                drivers.check(config, load_splits(config, data_dir), ranks)
                until_end.enter_context(folder.held())
            if known is None and resume:
                console.print(f"{out} holds no run to resume: starting one.", soft_wrap=True)
            folder = RunFolder.open(out, config, resume=resume, overwrite=overwrite)
        result = ranks.broadcast(folder.result() if leads and folder.finished else None, doing="opening the run")
        if result is None:
            return _run_to_end(config, folder, data_dir=data_dir, console=console, ranks=ranks)
        console.print(f"{out} holds this run, finished; --overwrite runs it anew.", soft_wrap=True)
        return result


def _run_to_end(
    config: RunConfig, folder: RunFolder, *, data_dir: Path | None, console: Console, ranks: Ranks
) -> dict[str, Any]:
    """Run, showing progress; on Ctrl-C or SIGTERM leave a checkpoint, say how to go on and exit as shells expect."""
    _have_data(config, data_dir, console)  # other ranks may be on other machines
    torch.set_num_threads(config.threads)
    splits = load_splits(config, data_dir)
    with _stoppable("with --resume", said=ranks.rank == 0) as stop, reporter(console) as report:
        for remark in method_notes([config]):
            report.remark(remark)
        result = drivers.run(config, folder, splits, ranks=ranks, data_dir=data_dir, report=report, stop=stop)
    return result


def foresee(config: RunConfig, *, data_dir: Path | None, console: Console) -> Forecast:
    """Time a few steps of a run and return what the whole will take."""
    _have_data(config, data_dir, console)
    splits = load_splits(config, data_dir)
    num_samples, full = len(splits.train), _on_all_data(config)
    speed, full_speed = drivers.time_steps(config, splits, data_dir=data_dir), None
    if step_size(config, num_samples) < step_size(full, num_samples):
        full_speed = drivers.time_steps(full, splits, data_dir=data_dir)
    return forecast(
        speed,
        visits=planned_visits(config, num_samples),
        full_visits=planned_visits(full, num_samples),
        num_scored=drivers.num_scored(config, splits),
        full_speed=full_speed,
    )


def prepared_queue(
    experiment: Experiment, *, out: Path, num_jobs: int, data_dir: Path | None, console: Console
) -> Queue:
    """Have the data at hand, and check every run."""
    if num_jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1: got {num_jobs}.")
    configs = [config for variant in experiment.variants() for config in variant.configs]
    for config in {config.model: config for config in configs}.values():
        _have_data(config, data_dir, console)
    return make_queue(experiment, out, data_dir=data_dir)


def taken_over(queue: Queue, sources: Sequence[Path], *, out: Path, dry_run: bool, console: Console) -> Queue:
    """Take over what was run elsewhere, or in a dry run only find it.

    Raises:
        ConfigError: If a source holds something else, or OUT/results.json holds other runs that would be lost.
    """
    found = look_elsewhere(queue, sources)
    refuse_loss(found, out)
    queue = found if dry_run else adopt(found)
    if sources:
        how = "to take over" if dry_run else "taken over"
        console.print(f"{len(found.elsewhere)} finished runs {how}.", highlight=False)
    return queue


def warn_of_precisions(queue: Queue, console: Console) -> None:
    """Say it where the runs that are finished, and those that are not, are of several precisions."""
    missing = {job.place for job in queue.missing}
    for remark in unlike_precision(
        Compute.choose(job.config.device, job.config.precision).precision
        if job.place in missing
        else queue.result(job)["machine"]["precision"]
        for job in queue.jobs
    ):
        console.print(remark, style="yellow", soft_wrap=True)


def what_is_left(experiment: Experiment, queue: Queue) -> list[tuple[str, str, int, int, int]]:
    """Return a line for each combination and method: both in words, runs, those finished, visits left."""
    missing = {job.place for job in queue.missing}
    lines = []
    for variant, places in zip(experiment.variants(), queue.places, strict=True):
        jobs = [queue.jobs[place] for place in places]
        for method in dict.fromkeys(job.config.method for job in jobs):
            own = [job for job in jobs if job.config.method == method]
            left = [job for job in own if job.place in missing]
            visits = sum(job.planned_visits for job in left)
            lines.append((variant.title, method, len(own), len(own) - len(left), visits))
    return lines


def _on_all_data(config: RunConfig) -> RunConfig:
    return config.replace(method="full", keep=1.0, warmup_fraction=0.0, tail_fraction=None)


def seconds_left(queue: Queue, *, num_jobs: int, data_dir: Path | None) -> float:
    """Estimate what the missing runs will take, from a few steps of one run of each kind."""
    seconds = 0.0
    known: dict[tuple[object, ...], Speed] = {}
    for job in queue.missing:
        c = job.config
        splits = load_splits(c, data_dir)
        step = step_size(c, len(splits.train))
        kind = (c.task, c.model, step, c.optimizer, c.device, c.precision, c.compile, c.train_size)
        if kind not in known:
            known[kind] = drivers.time_steps(c, splits, data_dir=data_dir)
        scored = drivers.num_scored(c, splits)
        seconds += known[kind].seconds(visits=job.planned_visits, num_scored=scored)
    return seconds / max(1, min(num_jobs, len(queue.missing)))


def watch_comparison(experiment: Experiment, queue: Queue, *, num_jobs: int, console: Console) -> Comparison:
    """Compare, showing how far all the runs together have come, and each of those that run."""
    with _stoppable("again") as stop, watching(console, queue.jobs) as watch:
        return compare(experiment, queue, num_jobs=num_jobs, watch=watch, stop=stop)


@contextmanager
def _stoppable(advice: str, *, said: bool = True) -> Iterator[StopRequest]:
    with stop_on_signals() as request:
        try:
            yield request
        except StoppedError as error:
            if said:
                typer.echo(f"emprune: {error} To go on, give the same command {advice}.", err=True)
            raise typer.Exit(request.exit_code) from None


def _have_data(config: RunConfig, data_dir: Path | None, console: Console) -> None:
    have_data(config, data_dir, say=lambda line: console.print(line, soft_wrap=True))


def _fail(message: str, code: int, *, said: bool = True) -> None:
    if said:
        typer.echo(f"emprune: {message}", err=True)
    raise typer.Exit(code) from None
