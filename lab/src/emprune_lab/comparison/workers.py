"""Runs in processes of their own, which show their progress, and are asked to stop, in shared memory without locks."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Mapping
from ctypes import Array, c_bool, c_longlong
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import Any

import torch

from emprune.distributed import Ranks
from emprune_lab import tasks
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import Splits, get_task
from emprune_lab.training import drivers

__all__ = ["Board", "Job", "load_splits", "run_job", "start_worker"]


@dataclass(frozen=True)
class Job:
    """One run of a comparison: its place on the board, its settings, its folder, where the data is, its visits."""

    place: int
    config: RunConfig
    folder: Path
    data_dir: Path | None
    planned_visits: int


class Board:
    """What workers and their parent show each other. Free of locks, so a worker that is killed leaves none held."""

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
    place: int

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Start from what a checkpoint had done."""
        self.board.visits[self.place] = visits_done

    def step(self, num_visits: int) -> None:
        """Add a batch."""
        self.board.visits[self.place] += num_visits

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Nothing to add."""

    def remark(self, line: str) -> None:
        """Say it on the standard error that the worker shares with its parent."""
        warnings.warn(line, stacklevel=2)


def load_splits(config: RunConfig, data_dir: Path | None) -> Splits[Any]:
    """Return the splits that a run trains and scores on; the last data are kept."""
    return tasks.load_splits(
        get_task(config.task),
        data_dir,
        train_size=config.train_size,
        validation=config.validation,
        imbalance=config.imbalance,
        label_noise=config.label_noise,
        subset_fraction=config.subset_fraction,
        leave_out=config.leave_out,
        seed=config.seed,
    )


def start_worker(board: Board) -> None:
    """Prepare a worker process, which does not outlive its parent.

    Ctrl-C is the parent's to handle. SIGTERM, which a job's time limit may send to every process of a group, makes the
    workers leave their checkpoints.
    """
    global _board
    _board = board
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: board.ask_to_stop())
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def run_job(job: Job) -> None:
    """Run a job from where it stands to its end, in a process that `start_worker` prepared."""
    assert _board is not None, "start_worker is the pool's initializer"
    board = _board
    torch.set_num_threads(job.config.threads)
    config = job.config
    with RunFolder(job.folder).held():
        folder = RunFolder.open(job.folder, config, resume=True)
        if folder.finished:  # by another process, since this one was begun
            return
        splits = load_splits(config, job.data_dir)
        report, stop = BoardReporter(board, job.place), lambda: board.stop
        drivers.run(config, folder, splits, ranks=Ranks(), data_dir=job.data_dir, report=report, stop=stop)


_board: Board | None = None


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
