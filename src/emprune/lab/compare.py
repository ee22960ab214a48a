"""A grid of methods and seeds, run in parallel; what is finished stays finished."""

import json
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emprune.errors import ConfigError, EmpruneError
from emprune.lab.comparison import Row, summarise
from emprune.lab.config import RunConfig
from emprune.lab.errors import RunError, StoppedError
from emprune.lab.session import make_pruner
from emprune.lab.specs import MethodSpec
from emprune.lab.store import RunFolder, write_whole
from emprune.lab.tables import markdown_table, notes
from emprune.lab.workers import Board, Job, load_splits, run_job, start_worker

__all__ = ["Comparison", "compare", "grid"]

FORMAT = 1
POLL_SECONDS = 0.2
WORKER_DIED = (
    "A worker process died (killed, or out of memory?). What is finished stays; "
    "the same command again goes on, and --jobs 1 needs less memory."
)


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: every run's result, and the table's rows."""

    results: list[dict[str, Any]]
    rows: list[Row]
    baseline: str

    @property
    def notes(self) -> list[str]:
        """What a reader of the table must know."""
        return notes(self.rows, self.results, baseline=self.baseline)


def grid(
    task: str,
    methods: Sequence[str],
    *,
    num_seeds: int,
    keep: float | None,
    tail_fraction: float | None,
    **settings: Any,
) -> list[RunConfig]:
    """Return the settings of every run, seed by seed, so that an early look compares like with like.

    All methods get the same cost, warm-up and tail. `full` keeps everything and has neither; InfoBatch in its paper
    form has no planned cost and its own tail.

    Raises:
        ConfigError: If a method or a value is impossible.
    """
    specs = [MethodSpec.parse(method) for method in methods]
    if len({str(spec) for spec in specs}) < len(specs):
        raise ConfigError(f"A method is listed twice: got {', '.join(map(str, specs))}.")
    if num_seeds < 1 or not specs:
        raise ConfigError(f"A comparison needs a seed and a method: got {num_seeds=} and {len(specs)} methods.")
    configs = []
    for seed in range(num_seeds):
        for spec in specs:
            cost: dict[str, Any] = {"keep": keep, "tail_fraction": tail_fraction, **settings}
            if spec.name == "full":
                cost.update(keep=None, tail_fraction=None, warmup_fraction=None)
            elif spec.options.get("prune_ratio") is not None:
                cost.update(keep=None, tail_fraction=None)
            configs.append(RunConfig.for_task(task, str(spec), seed=seed, **cost))
    return configs


def compare(
    configs: Sequence[RunConfig],
    out: Path,
    *,
    baseline: str,
    num_jobs: int,
    data_dir: Path | None = None,
    watch: Callable[[int, int], None] = lambda runs, visits: None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Run what is missing, going on from checkpoints, and write OUT/results.json and OUT/table.md.

    Args:
        configs: From `grid`; all of one task and one set of data.
        out: Runs are in OUT/<task>/<method and hash of its settings>/seed-<n>.
        baseline: The method that differences are taken to.
        num_jobs: Processes at a time.
        data_dir: Where data sets are cached.
        watch: Told the finished runs and the visits made, all runs together, several times a second.
        stop: Asked as often; once it says yes all runs write a checkpoint and stop.

    Raises:
        ConfigError: If a run is impossible; nothing has been started then.
        StoppedError: If `stop` said yes.
        RunError: If runs failed or a worker died.
    """
    baseline = str(MethodSpec.parse(baseline))
    jobs = _plan(configs, out, data_dir)
    missing = [job for job in jobs if not RunFolder(job.folder).finished]
    board = Board(len(jobs))
    for job in jobs:
        if job not in missing:
            board.visits[job.place] = RunFolder(job.folder).result()["visits"]
    if missing:
        _run(missing, board, num_jobs, lambda runs: watch(len(jobs) - len(missing) + runs, sum(board.visits)), stop)
    results = [RunFolder(job.folder).result() for job in jobs]
    comparison = Comparison(results, summarise(results, baseline=baseline), baseline)
    _write(comparison, out)
    return comparison


def _plan(configs: Sequence[RunConfig], out: Path, data_dir: Path | None) -> list[Job]:
    """Check every run before any is started, and give each its folder."""
    first = configs[0]
    splits = load_splits(first, data_dir)
    jobs = []
    for place, config in enumerate(configs):
        make_pruner(config, len(splits.train))
        folder = RunFolder.open(out / config.task / config.folder_name / f"seed-{config.seed}", config, resume=True)
        jobs.append(Job(place, config, folder.path, data_dir))
    return jobs


def _run(
    jobs: Sequence[Job], board: Board, num_jobs: int, watch: Callable[[int], None], stop: Callable[[], bool]
) -> None:
    context = multiprocessing.get_context("spawn")
    workers = min(num_jobs, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(board,)) as pool:
        running = {pool.submit(run_job, job): job for job in jobs}
        try:
            num_finished, failures = _follow(running, board, watch, stop)
        except BaseException:
            _stop(running, board)
            raise
    if num_finished < len(jobs) and stop():
        raise StoppedError("Stopped; nothing is lost.")
    if failures:
        unfinished = f"{len(jobs) - num_finished} of {len(jobs)} runs did not finish. "
        raise RunError(unfinished + "; ".join(sorted(failures)))


def _follow(
    running: "Mapping[Future[None], Job]", board: Board, watch: Callable[[int], None], stop: Callable[[], bool]
) -> tuple[int, set[str]]:
    """Wait until every run has ended; return how many finished, and what went wrong with the others."""
    failures: set[str] = set()
    num_finished = 0
    pending = set(running)
    while pending:
        done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            num_finished += not future.cancelled() and future.exception() is None
            failures.update(_failures(future, running[future]))
        if stop() and not board.stop:
            _stop(pending, board)
        watch(num_finished)
    return num_finished, failures


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
    if isinstance(error, (EmpruneError, OSError)):
        return [f"{job.config.method}, seed {job.config.seed}: {error}"]
    raise error


def _write(comparison: Comparison, out: Path) -> None:
    """Write the numbers of every run, and the table."""
    runs = [{name: value for name, value in result.items() if name != "format"} for result in comparison.results]
    document = {"format": FORMAT, "baseline": comparison.baseline, "runs": runs}
    write_whole(out / "results.json", lambda file: file.write(json.dumps(document, indent=1).encode() + b"\n"))
    remarks = "".join(f"\n{note}\n" for note in comparison.notes)
    table = markdown_table(comparison.rows) + remarks
    write_whole(out / "table.md", lambda file: file.write(table.encode()))
