"""What `emprune compare` does around its runs: an experiment of options or a file, what is left, the tables."""

import dataclasses
import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from emprune.errors import ConfigError, EmpruneError
from emprune_lab.commands.comparison_table import print_comparison
from emprune_lab.commands.consoles import out, progress
from emprune_lab.commands.options import refuse_settings
from emprune_lab.commands.progress import timing, watching
from emprune_lab.commands.running import announce_data, refuse_torchrun, stoppable
from emprune_lab.commands.tables import queue_table
from emprune_lab.comparison.experiment import Experiment, parse_seeds
from emprune_lab.comparison.notes import little_notes, own_data_notes, unlike_precision
from emprune_lab.comparison.pool import Launch, compare
from emprune_lab.comparison.queue import (
    Comparison,
    Job,
    Queue,
    adopt,
    begun,
    look_elsewhere,
    look_under_other_names,
    make_queue,
    named_otherwise,
    num_replaced,
    refuse_loss,
)
from emprune_lab.comparison.table import long_duration
from emprune_lab.method_spec import DEFAULT_METHODS, DEFAULT_SEEDS, listed_methods
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.training import make_training, num_scored
from emprune_lab.training.speed import Speed
from emprune_lab.training.tracking import check_tracker

__all__ = [
    "make_comparison",
    "prepared_queue",
    "report_comparison",
    "seconds_left",
    "warn_of_precisions",
    "watch_comparison",
]

LAUNCHERS: dict[str, str | None] = {"local": None, "slurm": "slurm", "submitit": "local"}
"""What makes a comparison's runs, and submitit's name of it: `submitit` is its processes on this machine."""

DECIMALS = re.compile(r"[0-9]+\.[0-9]+")


def make_comparison(
    task: str | None,
    file: Path | None,
    chosen: dict[str, Any],
    settings: dict[str, Any],
    *,
    out_dir: Path | None,
    sources: Sequence[Path],
    num_jobs: int,
    dry_run: bool,
    data_dir: Path | None,
    tracker: str | None = None,
    launcher_name: str = "local",
    cluster: Sequence[str] = (),
) -> None:
    """Do what `emprune compare` is asked for.

    Args:
        task: The task, unless the file says it.
        file: The experiment's file, if there is one.
        chosen: Of methods, seeds, baseline and margin, those that were given.
        settings: The settings that were given.
        out_dir: The folder of all the runs; None for runs/<task or file>.
        sources: Where finished runs are taken over from.
        num_jobs: Runs at a time.
        dry_run: Say what is left, and start nothing.
        data_dir: Where data sets are cached; None is the user's cache.
        tracker: What is told of each run's epochs too; None for nothing.
        launcher_name: What makes the runs.
        cluster: Its parameters.
    """
    refuse_torchrun("compare")
    experiment = _experiment(task, file, chosen, settings)
    where = out_dir or Path("runs") / (file.stem if file else experiment.trained_on.slug)
    launch = launcher(launcher_name, where, cluster)
    queue = prepared_queue(
        experiment, out=where, num_jobs=num_jobs, data_dir=data_dir, console=progress, tracker=tracker
    )
    queue = taken_over(queue, sources, out=where, dry_run=dry_run, console=progress)
    warn_of_precisions(queue, progress)
    for note in dict.fromkeys(note for job in queue.missing for note in own_data_notes(job.run)):
        progress.print(note, highlight=False, soft_wrap=True)
    for note in dict.fromkeys(note for job in queue.missing for note in little_notes(job.run)):
        progress.print(note, style="yellow", soft_wrap=True)
    if dry_run:
        out.print(queue_table(what_is_left(queue), title=f"{experiment.task}, {where}", width=out.width))
        time = long_duration(seconds_left(queue, num_jobs=num_jobs, console=progress))
        number = len(queue.missing)
        out.print(f"{number} run{'s' * (number != 1)} left, about {time} with --jobs {num_jobs} on this machine.")
        return
    result = watch_comparison(queue, num_jobs=num_jobs, console=progress, launch=launch)
    result.write(where)
    print_comparison(result, where)
    report_comparison(queue, out_dir=where, data_dir=data_dir)


def prepared_queue(
    experiment: Experiment,
    *,
    out: Path,
    num_jobs: int,
    data_dir: Path | None,
    console: Console,
    tracker: str | None = None,
) -> Queue:
    """Have the data at hand, and resolve every run."""
    if num_jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1; got {num_jobs}.")
    if tracker is not None:
        check_tracker(tracker)
    runs = [settings for variant in experiment.variants for settings in variant.runs]
    for settings in {settings.training.model: settings for settings in runs}.values():
        announce_data(settings, experiment.trained_on, data_dir, console)
    return make_queue(experiment, out, data_dir=data_dir, tracker=tracker)


def taken_over(queue: Queue, sources: Sequence[Path], *, out: Path, dry_run: bool, console: Console) -> Queue:
    """Take over what was run elsewhere, or in a dry run only find it.

    Raises:
        ConfigError: If a source holds something else, or OUT/results.json holds other runs that would be lost.
    """
    others = named_otherwise(queue, out)
    found = look_under_other_names(look_elsewhere(queue, sources), others)
    refuse_loss(found, out, others=others)
    if replaced := num_replaced(found, out):
        line = (
            f"The table and the report in {out} are of another comparison, with {replaced} other run"
            f"{'s' * (replaced != 1)}. They will be replaced. The runs stay, and `emprune report {out}` shows them all."
        )
        console.print(line, style="yellow", soft_wrap=True)
    for job, folder in begun(found, others):
        line = (
            f"{folder.path} holds {job.run.label}, unfinished, of an earlier version. It is made anew in {job.folder}."
        )
        console.print(line, style="yellow", soft_wrap=True)
    queue = found if dry_run else adopt(found)
    if sources or found.elsewhere:
        how = "to take over" if dry_run else "taken over"
        console.print(f"{len(found.elsewhere)} finished runs {how}.", highlight=False)
    return queue


def warn_of_precisions(queue: Queue, console: Console) -> None:
    """Say it where the runs that are finished, and those that are not, are of several precisions."""
    missing = {job.number for job in queue.missing}
    for remark in unlike_precision(
        job.run.compute.precision if job.number in missing else queue.result(job)["machine"]["precision"]
        for job in queue.jobs
    ):
        console.print(remark, style="yellow", soft_wrap=True)


def what_is_left(queue: Queue) -> list[tuple[str, str, int, int, int]]:
    """Return a line for each combination and method: both in words, runs, those finished, visits left.

    A run that several combinations share is counted in the first, so that the lines add up. The others name that one.
    """
    missing = {job.number for job in queue.missing}
    counted_in: dict[int, str] = {}
    lines = []
    for variant, jobs in queue.by_variant():
        by_method: dict[str, list[Job]] = {}
        for job in jobs:
            by_method.setdefault(str(job.run.settings.method), []).append(job)
        for method, every in by_method.items():
            elsewhere = dict.fromkeys(counted_in[job.number] for job in every if job.number in counted_in)
            own = [job for job in every if job.number not in counted_in]
            counted_in |= dict.fromkeys((job.number for job in own), variant.title)
            left = [job for job in own if job.number in missing]
            visits = sum(job.run.sizes.visits - job.visits_done for job in left)
            said = f"{method} (see {'; '.join(elsewhere)})" if elsewhere else method
            lines.append((variant.title, said, len(own), len(own) - len(left), visits))
    return lines


def seconds_left(queue: Queue, *, num_jobs: int, console: Console) -> float:
    """Estimate what the missing runs will take, from a few steps of one run of each kind."""
    seconds = 0.0
    known: dict[tuple[object, ...], Speed] = {}
    for job in queue.missing:
        run, training = job.run, job.run.settings.training
        sizes = (run.sizes.first_step, run.sizes.train)
        machine = (run.compute, run.settings.machine.compile)
        texts = (training.group_by_length, training.max_length)
        kind = (training.model, training.optimizer, texts, sizes, machine)
        if kind not in known:
            torch.set_num_threads(run.settings.machine.threads)
            with timing(console, run.label) as step:
                known[kind] = make_training(run).time_steps(step)
        share = 1 - job.visits_done / run.sizes.visits
        seconds += share * known[kind].seconds(visits=run.sizes.visits, num_scored=num_scored(run))
    return seconds / max(1, min(num_jobs, len(queue.missing)))


def watch_comparison(queue: Queue, *, num_jobs: int, console: Console, launch: Launch | None = None) -> Comparison:
    """Compare, showing how far all the runs together have come, and each of those that run."""
    with stoppable("again") as stop, watching(console, queue.jobs) as watch:
        return compare(queue, num_jobs=num_jobs, watch=watch, stop=stop, launch=launch)


def launcher(name: str, out: Path, parameters: Sequence[str]) -> Launch | None:
    """Return what makes the runs: None for processes of this machine.

    Args:
        name: `local`, `slurm` or `submitit`.
        out: The comparison's folder.
        parameters: A cluster's, each `name=value`.

    Raises:
        ConfigError: If the launcher or a parameter is not one, or submitit is missing.
    """
    if name not in LAUNCHERS:
        raise ConfigError(f"`launcher` must be one of {', '.join(LAUNCHERS)}; got {name!r}.")
    cluster = LAUNCHERS[name]
    if cluster is None:
        if parameters:
            raise ConfigError(f"`cluster` is for --launcher slurm; got {parameters[0]!r}. Leave it out.")
        return None
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError(
            f"`launcher` {name} needs submitit, which is not installed: pip install 'emprune-lab[cluster]'."
        )
    from emprune_lab.comparison.cluster import run_on_cluster

    chosen: dict[str, str | int | float] = {}
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"`cluster` must be name=value, such as timeout_min=240; got {parameter!r}.")
        chosen[key] = int(value) if value.isdecimal() else float(value) if DECIMALS.fullmatch(value) else value
    return functools.partial(run_on_cluster, cluster=cluster, folder=out.resolve() / "cluster", parameters=chosen)


def report_comparison(queue: Queue, *, out_dir: Path, data_dir: Path | None) -> None:
    """Write the report of a comparison that is finished, and print its path.

    The results are on the disk and on the screen by then. So a page that cannot be made is only a line on the screen:
    the comparison did not fail.
    """
    try:
        from emprune_lab.report.page import write_report
        from emprune_lab.report.records import Found, ReportedRun

        said = dataclasses.asdict(queue.experiment)
        runs = [ReportedRun(RunFolder(job.folder).result(), job.folder, said) for job in queue.jobs]
        path = write_report(Found(runs), out_dir, data_dir=data_dir)
    except (EmpruneError, OSError, ValueError, LookupError, ModuleNotFoundError) as error:
        progress.print(f"The report could not be written: {error}. `emprune report {out_dir}` tries again.")
        return
    out.print(f"{path}", highlight=False, soft_wrap=True)


def _experiment(task: str | None, file: Path | None, chosen: dict[str, Any], settings: dict[str, Any]) -> Experiment:
    """Return what is to be compared: the file's experiment, or one made of the options."""
    given = dict(chosen)
    seeds = parse_seeds(given.pop("seeds")) if "seeds" in given else None
    if file is not None:
        experiment = Experiment.read(file)
        refuse_settings(
            {**({} if task is None else {"TASK": task}), **given, **settings},
            because=f"{file} says what is run, except for --seeds.",
        )
        return experiment if seeds is None else dataclasses.replace(experiment, seeds=seeds)
    if task is None:
        raise ConfigError("Name a TASK, or a file with --experiment. `emprune tasks` lists the tasks.")
    methods = listed_methods(given.pop("methods", DEFAULT_METHODS))
    return Experiment(task=task, methods=methods, seeds=seeds or parse_seeds(DEFAULT_SEEDS), settings=settings, **given)
