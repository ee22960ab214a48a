"""What the `emprune` command does around a run: data first, progress, signals, failures in words."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch
import typer
from rich.console import Console

from emprune.distributed import Ranks, launched_rank, launched_ranks
from emprune.errors import ConfigError, EmpruneError, RankError
from emprune_lab.commands.consoles import out, progress
from emprune_lab.commands.progress import reporter, timing
from emprune_lab.comparison.notes import little_notes, method_notes, own_data_notes
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.models.pretrained import MINILM_DATA
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run
from emprune_lab.settings import Settings
from emprune_lab.tasks import Task, get_task
from emprune_lab.training import make_training, num_scored
from emprune_lab.training.speed import Forecast, forecast
from emprune_lab.training.stopping import StopRequest, stop_on_signals
from emprune_lab.training.tracking import check_tracker

__all__ = ["announce_data", "failures_reported", "fetch", "foresee", "refuse_torchrun", "run_once", "stoppable"]

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
    settings: Settings,
    task: Task,
    *,
    data_dir: Path | None,
    resume: bool,
    overwrite: bool,
    console: Console,
    tracker: str | None = None,
) -> RunRecord:
    """Run, unless the folder holds this run finished, and return its result.

    Under torchrun all ranks run together. The first alone opens the folder, and prints.

    Raises:
        ConfigError: If both `resume` and `overwrite` are asked for.
    """
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run and --overwrite throws it away; got both. Leave one out.")
    if tracker is not None:
        check_tracker(tracker)
    resolve = partial(_resolve, settings, task, data_dir, console=console, tracker=tracker)
    with launched_ranks() as ranks, ExitStack() as until_end:
        leads, folder, run = ranks.rank == 0, RunFolder(out), None
        if leads:
            folder.refuse_foreign()
            known = None if overwrite else folder.settings()
            if known is None or not folder.finished:
                run = resolve(ranks)
                until_end.enter_context(folder.held())
            if known is None and resume:
                console.print(f"{out} holds no run to resume: starting one.", soft_wrap=True)
            folder = RunFolder.open(out, settings, resume=resume, overwrite=overwrite)
        result = ranks.broadcast(folder.result() if leads and folder.finished else None, doing="opening the run")
        if result is None:
            run = run or resolve(ranks)  # other ranks may be on other machines
            return _run_to_end(run, folder, console=console, ranks=ranks)
        console.print(f"{out} holds this run, finished; --overwrite runs it again.", soft_wrap=True)
        return result


def _resolve(
    settings: Settings, task: Task, data_dir: Path | None, ranks: Ranks, *, console: Console, tracker: str | None
) -> Run:
    announce_data(settings, task, data_dir, console)
    return Run.resolve(settings, task, data_dir=data_dir, world_size=ranks.size, tracker=tracker, keeps_model=True)


def _run_to_end(run: Run, folder: RunFolder, *, console: Console, ranks: Ranks) -> RunRecord:
    """Run, showing progress; on Ctrl-C or SIGTERM leave a checkpoint, say how to go on and exit as shells expect."""
    torch.set_num_threads(run.settings.machine.threads)
    with stoppable("with --resume", said=ranks.rank == 0) as stop, reporter(console) as report:
        methods = [(run.settings.method, run.settings.cost.keep)]
        for remark in [*own_data_notes(run), *method_notes(run.task, methods), *little_notes(run)]:
            report.remark(remark)
        return make_training(run, ranks).train(folder, report=report, stop=stop)


def foresee(settings: Settings, task: Task, *, data_dir: Path | None, console: Console) -> tuple[Run, Forecast]:
    """Time a few steps of a run and return it with what the whole will take."""
    announce_data(settings, task, data_dir, console)
    torch.set_num_threads(settings.machine.threads)
    with timing(console, str(settings.method)) as step:
        run = Run.resolve(settings, task, data_dir=data_dir)
        for note in own_data_notes(run):
            console.print(note, highlight=False, soft_wrap=True)
        speed = make_training(run).time_steps(step)
    full, full_speed = run.on_all_data(), None
    if run.sizes.first_step < full.sizes.first_step:
        with timing(console, "full training") as step:
            full_speed = make_training(full).time_steps(step)
    visits = {"visits": run.sizes.visits, "full_visits": full.sizes.visits}
    return run, forecast(speed, **visits, num_scored=num_scored(run), full_speed=full_speed)


def fetch(name: str, data_dir: Path | None) -> None:
    """Do what `emprune data` is asked for: fetch what is missing, and say what of it is verified."""
    found = MINILM_DATA if name == MINILM_DATA.name else get_task(name, besides=[MINILM_DATA.name]).data
    if found is None:
        whose = "is your own" if get_task(name).files is not None else "comes with its package"
        out.print(f"{name} {whose}; there is nothing to fetch.", soft_wrap=True)
        return
    folder = found.ensure(data_dir, say=lambda line: progress.print(line, soft_wrap=True))
    unverified = found.unverified_source(data_dir)
    how = "verified" if unverified is None else f"as it came from {unverified}; no digest is known to verify it by"
    out.print(f"{name} is in {folder}, {how}.", soft_wrap=True)


@contextmanager
def stoppable(advice: str, *, said: bool = True) -> Iterator[StopRequest]:
    """Let Ctrl-C and SIGTERM leave checkpoints, then say how to go on and exit as shells expect."""
    with stop_on_signals() as request:
        try:
            yield request
        except StoppedError as error:
            if said:
                typer.echo(f"emprune: {error} To go on, give the same command {advice}.", err=True)
            raise typer.Exit(request.exit_code) from None


def announce_data(settings: Settings, task: Task, data_dir: Path | None, console: Console) -> None:
    """Fetch what a run needs and is missing, saying so."""
    task.fetch(settings.training.model, data_dir, say=lambda line: console.print(line, soft_wrap=True))


def _fail(message: str, code: int, *, said: bool = True) -> None:
    if said:
        typer.echo(f"emprune: {message}", err=True)
    raise typer.Exit(code) from None
