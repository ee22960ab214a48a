"""The runs of a comparison in processes of this machine, several at a time.

On a CPU they are forked from a server that has imported what takes seconds: each begins at once, and shares memory.
CUDA does not survive a fork, so there each process imports it all. A process shows its progress, and is asked to stop,
in shared memory without locks. So a process that is killed leaves no lock held.
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import Array, c_bool, c_longlong
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import Any, Protocol

import torch

from emprune.errors import EmpruneError
from emprune_lab.comparison.queue import Comparison, Job, Queue
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run
from emprune_lab.training import Reporter, make_training

__all__ = ["POLL_SECONDS", "Launch", "Watch", "WatchJobs", "check_finished", "compare", "make_run", "run_in_pool"]

Watch = Callable[[Set[int], Sequence[int]], None]
"""Is told the numbers of the finished runs, and the visits of each run, several times a second."""

WatchJobs = Callable[[Set[int], Mapping[int, int]], None]
"""The same of some of the runs: is told the numbers of the finished ones, and the visits by number."""


class Launch(Protocol):
    """Makes runs somewhere, and returns when all are finished."""

    def __call__(self, jobs: Sequence[Job], *, num_jobs: int, watch: WatchJobs, stop: Callable[[], bool]) -> None:
        """Make runs, so many at a time.

        Raises:
            StoppedError: If `stop` said yes.
            RunError: If runs failed or died.
        """


POLL_SECONDS = 0.2
PRELOADED = ("emprune_lab.training.arrays", "sklearn.datasets", "torch._dynamo")
"""What a run takes seconds to import; torch's optimizers ask for the last."""

MOST_SAID = 5
"""Failures that are told word for word; hundreds of runs may fail alike."""

WORKER_DIED = (
    "A worker process died (killed, or out of memory?). What is finished stays; "
    "the same command again goes on, and --jobs 1 needs less memory."
)


class Board:
    """What workers and their parent show each other."""

    def __init__(self, num_jobs: int) -> None:
        self.visits: Array[c_longlong] = RawArray(c_longlong, num_jobs)
        self._stop: c_bool = RawValue(c_bool, False)

    @property
    def stop(self) -> bool:
        """Whether the runs are to stop."""
        return self._stop.value

    def ask_to_stop(self) -> None:
        """Let every run write a checkpoint and stop."""
        self._stop.value = True


@dataclass(frozen=True)
class BoardReporter:
    """Writes one run's visits on the board."""

    board: Board
    number: int

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Start from what a checkpoint had done."""
        self.board.visits[self.number] = visits_done

    def step(self, num_visits: int) -> None:
        """Add a batch."""
        self.board.visits[self.number] += num_visits

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Nothing to add."""

    def remark(self, line: str) -> None:
        """Say it on the standard error that the worker shares with its parent."""
        warnings.warn(line, stacklevel=2)


def compare(
    queue: Queue,
    *,
    num_jobs: int,
    watch: Watch = lambda finished, visits: None,
    stop: Callable[[], bool] = lambda: False,
    launch: Launch | None = None,
) -> Comparison:
    """Run what is missing, going on from checkpoints, and compare what all runs have come to.

    Args:
        queue: The runs, from `make_queue`.
        num_jobs: Runs at a time.
        watch: Told how far the runs have come.
        stop: Asked as often; once it says yes all runs write a checkpoint and stop.
        launch: Makes the runs that are missing; None for processes of this machine.

    Raises:
        StoppedError: If `stop` said yes.
        RunError: If runs failed or a worker died.
    """
    missing = queue.missing
    waiting = {job.number for job in missing}
    before = {job.number: int(queue.result(job)["visits"]) for job in queue.jobs if job.number not in waiting}

    def watch_all(finished: Set[int], visits: Mapping[int, int]) -> None:
        watch(before.keys() | finished, [{**before, **visits}.get(job.number, 0) for job in queue.jobs])

    if missing:
        (launch or run_in_pool)(missing, num_jobs=num_jobs, watch=watch_all, stop=stop)
    return queue.comparison()


def run_in_pool(jobs: Sequence[Job], *, num_jobs: int, watch: WatchJobs, stop: Callable[[], bool]) -> None:
    """Make runs in processes of this machine; the arguments are those of `Launch`."""
    context = _context({job.run.compute.device.type for job in jobs})
    workers, board = min(num_jobs, len(jobs)), Board(1 + max(job.number for job in jobs))
    for job in jobs:
        board.visits[job.number] = job.visits_done

    def watch_board(finished: Set[int]) -> None:
        watch(finished, {job.number: board.visits[job.number] for job in jobs})

    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(board,)) as pool:
        running = {pool.submit(_work, job): job for job in jobs}
        try:
            finished, failures = _follow(running, board, watch_board, stop)
        except BaseException:
            _stop(running, board)
            raise
    check_finished(len(jobs), len(finished), failures, stopped=stop())


def _context(devices: Set[str]) -> BaseContext:
    """Return how the processes start that make runs on devices of these types."""
    if devices != {"cpu"} or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    return context


def check_finished(num_jobs: int, num_finished: int, failures: Set[str], *, stopped: bool) -> None:
    """Raise StoppedError or RunError unless all runs are finished."""
    said = [failure.rstrip(".") for failure in sorted(failures)]
    more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    reasons = f" {'; '.join(said[:MOST_SAID])}{more}." if said else ""
    if num_finished < num_jobs and (stopped or not failures):  # or a worker alone was asked to stop
        raise StoppedError(f"Stopped; nothing is lost.{reasons and f' Failed before:{reasons}'}")
    if failures:
        raise RunError(f"{num_jobs - num_finished} of {num_jobs} runs did not finish.{reasons}")


def make_run(run: Run, folder: Path, *, report: Reporter, stop: Callable[[], bool]) -> None:
    """Make a run in its folder, from where it stands to its end, unless another process finished it meanwhile."""
    torch.set_num_threads(run.settings.machine.threads)
    with RunFolder(folder).held():
        opened = RunFolder.open(folder, run.settings, resume=True)
        if not opened.finished:
            make_training(run).train(opened, report=report, stop=stop)


def _follow(
    running: "Mapping[Future[None], Job]", board: Board, watch: Callable[[Set[int]], None], stop: Callable[[], bool]
) -> tuple[Set[int], set[str]]:
    """Wait until every run has ended; return the numbers of the finished ones, and what went wrong with others."""
    failures: set[str] = set()
    finished: set[int] = set()
    pending = set(running)
    while pending:
        done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            if not future.cancelled() and future.exception() is None:
                finished.add(running[future].number)
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
    return [f"{job.run.label}: {kind}{error}"]


_board: Board | None = None


def _start_worker(board: Board) -> None:
    """Prepare a worker process, which does not outlive its parent.

    Ctrl-C is the parent's to handle. SIGTERM, which a job's time limit may send to every process of a group, makes the
    workers leave their checkpoints.
    """
    global _board
    _board = board
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: board.ask_to_stop())
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _work(job: Job) -> None:
    assert _board is not None, "_start_worker is the pool's initializer"
    board = _board
    make_run(job.run, job.folder, report=BoardReporter(board, job.number), stop=lambda: board.stop)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
