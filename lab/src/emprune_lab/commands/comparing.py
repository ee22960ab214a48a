"""What `emprune compare` does around its runs: an experiment of options or a file, what is left, the tables."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from emprune.errors import ConfigError, EmpruneError
from emprune_lab.commands.comparison_table import console_table
from emprune_lab.commands.consoles import out, progress
from emprune_lab.commands.options import DEFAULT_METHODS, DEFAULT_SEEDS, refuse_settings
from emprune_lab.commands.progress import watching
from emprune_lab.commands.running import announce_data, refuse_torchrun, stoppable
from emprune_lab.commands.tables import queue_table
from emprune_lab.comparison.experiment import Experiment, parse_seeds
from emprune_lab.comparison.notes import little_notes, unlike_precision
from emprune_lab.comparison.queue import Comparison, Queue, adopt, compare, look_elsewhere, make_queue, refuse_loss
from emprune_lab.comparison.table import long_duration
from emprune_lab.comparison.workers import load_splits
from emprune_lab.compute import Compute
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.tasks import get_task
from emprune_lab.training import drivers
from emprune_lab.training.session import step_size
from emprune_lab.training.speed import Speed

__all__ = [
    "make_comparison",
    "prepared_queue",
    "report_comparison",
    "seconds_left",
    "warn_of_precisions",
    "watch_comparison",
]


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
    """
    refuse_torchrun("compare")
    experiment = _experiment(task, file, chosen, settings)
    where = out_dir or Path("runs") / (file.stem if file else get_task(experiment.task).slug)
    queue = prepared_queue(experiment, out=where, num_jobs=num_jobs, data_dir=data_dir, console=progress)
    queue = taken_over(queue, sources, out=where, dry_run=dry_run, console=progress)
    warn_of_precisions(queue, progress)
    warn_of_little(queue, progress)
    if dry_run:
        out.print(queue_table(what_is_left(experiment, queue), title=f"{experiment.task}, {where}"))
        time = long_duration(seconds_left(queue, num_jobs=num_jobs, data_dir=data_dir))
        out.print(f"{len(queue.missing)} runs left, about {time} with --jobs {num_jobs} on this machine.")
        return
    result = watch_comparison(experiment, queue, num_jobs=num_jobs, console=progress)
    result.write(where)
    for group in result.groups:
        title = ", ".join(filter(None, (experiment.task, group.title, str(where))))
        table, lines = console_table(group.rows, title=title, width=out.width, margin=experiment.margin)
        out.print(table)
        for remark in (*lines, *result.remarks(group)):
            out.print(remark, highlight=False)
    report_comparison(experiment, queue, out_dir=where, data_dir=data_dir)


def prepared_queue(
    experiment: Experiment, *, out: Path, num_jobs: int, data_dir: Path | None, console: Console
) -> Queue:
    """Have the data at hand, and check every run."""
    if num_jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1; got {num_jobs}.")
    configs = [config for variant in experiment.variants() for config in variant.configs]
    for config in {config.model: config for config in configs}.values():
        announce_data(config, data_dir, console)
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


def warn_of_little(queue: Queue, console: Console) -> None:
    """Say it where runs that are not finished hardly train."""
    notes = [note for job in queue.missing for note in little_notes(job.config, planned_visits=job.planned_visits)]
    for note in dict.fromkeys(notes):
        console.print(note, style="yellow", soft_wrap=True)


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
    with stoppable("again") as stop, watching(console, queue.jobs) as watch:
        return compare(experiment, queue, num_jobs=num_jobs, watch=watch, stop=stop)


def report_comparison(experiment: Experiment, queue: Queue, *, out_dir: Path, data_dir: Path | None) -> None:
    """Write the report of a comparison that is finished, and print its path.

    The results are on the disk and on the screen by then: a page that cannot be made must not look like a comparison
    that failed after hours, so it is said, and that is all.
    """
    try:
        from emprune_lab.report.page import write_report
        from emprune_lab.report.records import Found, RunRecord

        runs = [RunRecord(RunFolder(job.folder).result(), job.folder) for job in queue.jobs]
        path = write_report(Found(runs, [dataclasses.asdict(experiment)]), out_dir, data_dir=data_dir)
    except (EmpruneError, OSError, ValueError, LookupError, ModuleNotFoundError) as error:
        progress.print(f"The report could not be written: {error}. `emprune report {out_dir}` tries again.")
        return
    out.print(f"{path}", highlight=False, soft_wrap=True)


def _experiment(task: str | None, file: Path | None, chosen: dict[str, Any], settings: dict[str, Any]) -> Experiment:
    """Return what is to be compared: the file's experiment, or one made of the options."""
    given = dict(chosen)
    seeds = parse_seeds(given.pop("seeds")) if "seeds" in given else None
    if file is not None:
        refuse_settings(
            {**({} if task is None else {"TASK": task}), **given, **settings},
            because=f"{file} says what is run, but for --seeds.",
        )
        experiment = Experiment.read(file)
        return experiment if seeds is None else dataclasses.replace(experiment, seeds=seeds)
    if task is None:
        raise ConfigError("Name a TASK, or a file with --experiment. `emprune tasks` lists the tasks.")
    methods = [method for method in given.pop("methods", DEFAULT_METHODS).split(",") if method.strip()]
    return Experiment(task=task, methods=methods, seeds=seeds or parse_seeds(DEFAULT_SEEDS), settings=settings, **given)
