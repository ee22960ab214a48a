"""An experiment's runs, in parallel processes; what is finished stays finished."""

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emprune.distributed import Ranks
from emprune.errors import ConfigError, EmpruneError
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.notes import method_notes, notes
from emprune_lab.comparison.rows import Row, summarise
from emprune_lab.comparison.table import comparison_table
from emprune_lab.comparison.workers import Board, Job, load_splits, run_job, start_worker
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.files import refuse_foreign, write_whole
from emprune_lab.results.reading import read_results, results_at
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import get_task
from emprune_lab.training import drivers
from emprune_lab.training.session import planned_visits

__all__ = ["Comparison", "Group", "Queue", "adopt", "compare", "look_elsewhere", "make_queue", "refuse_loss"]

FORMAT = 2
POLL_SECONDS = 0.2
WORKER_DIED = (
    "A worker process died (killed, or out of memory?). What is finished stays; "
    "the same command again goes on, and --jobs 1 needs less memory."
)


@dataclass(frozen=True)
class Group:
    """The runs of one combination of the varied settings, and their table's rows."""

    title: str
    results: list[dict[str, Any]]
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """A finished experiment: a table for each combination of the varied settings."""

    experiment: Experiment
    groups: list[Group]

    def remarks(self, group: Group) -> list[str]:
        """What a reader of a group's table must know."""
        said = notes(group.rows, group.results, baseline=self.experiment.baseline, margin=self.experiment.margin)
        return said + method_notes([RunConfig.from_json(result["config"]) for result in group.results])

    def write(self, out: Path, *, prefix: str = "") -> None:
        """Write the numbers of every run, OUT/<prefix>results.json, and the tables, OUT/<prefix>table.md."""
        results = {id(r): r for group in self.groups for r in group.results}.values()
        runs = [{name: value for name, value in result.items() if name != "format"} for result in results]
        document = {"format": FORMAT, "experiment": dataclasses.asdict(self.experiment), "runs": runs}
        text = json.dumps(document, indent=1) + "\n"
        write_whole(out / f"{prefix}results.json", lambda file: file.write(text.encode()))
        write_whole(out / f"{prefix}table.md", lambda file: file.write(self._markdown().encode()))

    def _markdown(self) -> str:
        parts = []
        for group in self.groups:
            heading = f"### {group.title}\n\n" if group.title else ""
            table = comparison_table(group.rows, margin=self.experiment.margin).markdown()
            remarks = "".join(f"\n{remark}\n" for remark in self.remarks(group))
            parts.append(heading + table + remarks)
        return "\n".join(parts)


@dataclass(frozen=True)
class Queue:
    """The runs of an experiment, each once, however many tables it is in.

    Args:
        jobs: All of them.
        places: The place of each variant's runs among the jobs.
        elsewhere: The results of those that were finished in another place, by their place here, and their folders.
    """

    jobs: list[Job]
    places: list[list[int]]
    elsewhere: Mapping[int, tuple[dict[str, Any], Path | None]] = field(default_factory=dict)

    @property
    def missing(self) -> list[Job]:
        """Those that have not come to their end."""
        return [job for job in self.jobs if job.place not in self.elsewhere and not RunFolder(job.folder).finished]

    def result(self, job: Job) -> dict[str, Any]:
        """Return the result of one that is not missing.

        Raises:
            RunError: If it is damaged.
        """
        return self.elsewhere[job.place][0] if job.place in self.elsewhere else RunFolder(job.folder).result()


def make_queue(experiment: Experiment, out: Path, *, data_dir: Path | None = None) -> Queue:
    """Check every run before any is started, and give each its folder, OUT/<task>/<method and hash>/seed-<n>.

    Raises:
        ConfigError: If a run is impossible.
        RunError: If a folder's settings cannot be read.
    """
    jobs: dict[Path, Job] = {}
    places = []
    for variant in experiment.variants():
        folders = [_folder(out, config) for config in variant.configs]
        for folder, config in zip(folders, variant.configs, strict=True):
            if folder not in jobs:
                splits = load_splits(config, data_dir)
                drivers.check(config, splits, Ranks())
                RunFolder(folder).check(config, anew="delete that folder to run it anew")
                visits = planned_visits(config, len(splits.train))
                jobs[folder] = Job(len(jobs), config, folder, data_dir, visits)
        places.append([jobs[folder].place for folder in folders])
    return Queue(list(jobs.values()), places)


def look_elsewhere(queue: Queue, sources: Iterable[Path]) -> Queue:
    """Return the queue with the finished runs of other places: another machine's folder of runs, or a results.json.

    A run is found if its settings and seed are exactly those of one that is missing; one whose settings are of another
    version of emprune is passed over.

    Raises:
        ConfigError: If a source is neither.
    """
    missing = {(job.config.folder_name, job.config.seed): job for job in queue.missing}
    found = dict(queue.elsewhere)
    for source in sources:
        for results in results_at(source):
            for result in results.runs:
                job = _job_of(result, missing)
                if job is not None:
                    del missing[job.config.folder_name, job.config.seed]
                    found[job.place] = result, results.folder
    return dataclasses.replace(queue, elsewhere=found)


def refuse_loss(queue: Queue, out: Path) -> None:
    """Raise ConfigError if what the comparison will replace is none of its kind, or holds runs that are nowhere else.

    Args:
        queue: The comparison's runs, with those that will be taken over.
        out: Its folder.
    """
    refuse_foreign(out / "table.md", out / "report.html")
    file = out / "results.json"
    if not file.exists():
        return
    advice = "Choose another --out, or move it away."
    try:
        runs = read_results(file).runs
    except ConfigError as error:
        raise ConfigError(f"{file} would be replaced, and is none of emprune's. {advice}") from error
    safe = {queue.jobs[place].folder for place in queue.elsewhere}
    num_lost = sum(not _is_kept(result, out, safe) for result in runs)
    if num_lost:
        raise ConfigError(
            f"{file} would be replaced, and holds {num_lost} run{'s' * (num_lost != 1)} of which {out} has no folder. "
            f"{advice} `--from {file}` takes such runs over."
        )


def adopt(queue: Queue) -> Queue:
    """Take over what was found elsewhere: return the queue with those runs finished here.

    Raises:
        RunError: If another process trains in the folder of one.
    """
    for place, (result, folder) in queue.elsewhere.items():
        job = queue.jobs[place]
        RunFolder(job.folder).adopt(job.config, result, source=folder)
    return dataclasses.replace(queue, elsewhere={})


def compare(
    experiment: Experiment,
    queue: Queue,
    *,
    num_jobs: int,
    watch: Callable[[Set[int], Sequence[int]], None] = lambda finished, visits: None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Run what is missing, going on from checkpoints, and compare what all runs have come to.

    Args:
        experiment: What is compared.
        queue: Its runs, from `make_queue`.
        num_jobs: Processes at a time.
        watch: Told the places of the finished runs, and the visits of each, several times a second.
        stop: Asked as often; once it says yes all runs write a checkpoint and stop.

    Raises:
        StoppedError: If `stop` said yes.
        RunError: If runs failed or a worker died.
    """
    missing = queue.missing
    board = Board(len(queue.jobs))
    before = {job.place for job in queue.jobs} - {job.place for job in missing}
    for place in before:
        board.visits[place] = RunFolder(queue.jobs[place].folder).result()["visits"]
    if missing:
        _run(missing, board, num_jobs, lambda finished: watch(before | finished, list(board.visits)), stop)
    return _read(experiment, queue)


def _read(experiment: Experiment, queue: Queue) -> Comparison:
    """Return the comparison of an experiment whose runs are all finished."""
    results = [RunFolder(job.folder).result() for job in queue.jobs]
    groups = []
    for variant, places in zip(experiment.variants(), queue.places, strict=True):
        own = [results[place] for place in places]
        groups.append(Group(variant.title, own, summarise(own, baseline=experiment.baseline)))
    return Comparison(experiment, groups)


def _is_kept(result: Mapping[str, Any], out: Path, safe: Set[Path]) -> bool:
    """Whether a run has its folder, or one of those where it is safe."""
    try:
        folder = _folder(out, RunConfig.from_json(result["config"]))
    except ConfigError:  # of another version, which this one does not find
        return False
    return folder in safe or RunFolder(folder).finished


def _folder(out: Path, config: RunConfig) -> Path:
    return out / get_task(config.task).slug / config.folder_name / f"seed-{config.seed}"


def _job_of(result: Mapping[str, Any], jobs: Mapping[tuple[str, int], Job]) -> Job | None:
    try:
        config = RunConfig.from_json(result["config"])
    except ConfigError:
        return None
    job = jobs.get((config.folder_name, config.seed))
    return job if job is not None and job.config == config else None


def _run(
    jobs: Sequence[Job], board: Board, num_jobs: int, watch: Callable[[Set[int]], None], stop: Callable[[], bool]
) -> None:
    context = multiprocessing.get_context("spawn")
    workers = min(num_jobs, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(board,)) as pool:
        running = {pool.submit(run_job, job): job for job in jobs}
        try:
            finished, failures = _follow(running, board, watch, stop)
        except BaseException:
            _stop(running, board)
            raise
    if len(finished) < len(jobs) and (stop() or not failures):  # or a worker alone was asked to stop
        raise StoppedError("Stopped; nothing is lost.")
    if failures:
        unfinished = f"{len(jobs) - len(finished)} of {len(jobs)} runs did not finish. "
        raise RunError(unfinished + "; ".join(sorted(failures)))


def _follow(
    running: "Mapping[Future[None], Job]", board: Board, watch: Callable[[Set[int]], None], stop: Callable[[], bool]
) -> tuple[Set[int], set[str]]:
    """Wait until every run has ended; return the places of those that finished, and what went wrong with the others."""
    failures: set[str] = set()
    finished: set[int] = set()
    pending = set(running)
    while pending:
        done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            if not future.cancelled() and future.exception() is None:
                finished.add(running[future].place)
            failures.update(_failures(future, running[future]))
        if stop() and not board.stop:
            _stop(pending, board)
        watch(finished)
    return finished, failures


def _stop(futures: "Iterable[Future[None]]", board: Board) -> None:
    board.ask_to_stop()
    for future in futures:
        future.cancel()


def _failures(future: "Future[None]", job: Job) -> list[str]:
    """Say what went wrong with a run that ended, if anything did."""
    error = None if future.cancelled() else future.exception()
    if error is None or isinstance(error, StoppedError):
        return []
    if isinstance(error, BrokenProcessPool):
        return [WORKER_DIED]
    kind = "" if isinstance(error, (EmpruneError, OSError)) else f"{type(error).__name__}: "
    return [f"{job.config.method}, seed {job.config.seed}: {kind}{error}"]
