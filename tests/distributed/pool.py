"""Processes that form a process group for one piece of work after another: torch is imported once for all of them."""

import os
import pickle
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.forks import forks

__all__ = ["RankPool"]

_PATIENCE = 240.0
"""Seconds after which a piece of work counts as hanging."""


class RankPool:
    """Runs functions in processes that are the ranks of a group, a new group each time.

    The processes are forked, when they are first needed, from a server that has done nothing but import.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._number = count()
        self._workers: list[tuple[Any, Connection]] = []

    def run(
        self,
        work: Callable[..., Any],
        *arguments: Any,
        world_size: int = 2,
        timeout: float = 120.0,
        dying: Sequence[int] = (),
        backend: str = "gloo",
    ) -> list[Any]:
        """Return what ``work(*arguments)`` returned on each rank; warnings are errors there, too.

        Args:
            work: A function at the top of a module.
            *arguments: What it is given; it and its results are pickled.
            world_size: The size of the default group.
            timeout: The group's, in seconds.
            dying: The ranks that are to end their process; they return None.
            backend: The group's.

        Raises:
            AssertionError: If another rank died, or any raised or hangs.
        """
        rendezvous = self._folder / str(next(self._number))
        self._workers = [worker for worker in self._workers if worker[0].is_alive()]  # the idle may have been killed
        started = [self._start() for _ in range(world_size - len(self._workers))]
        for _, connection in started:  # before the group's time runs
            assert connection.poll(_PATIENCE), "a new process did not come up"
            connection.recv()
        self._workers += started
        job = pickle.dumps((work, arguments))  # a Connection's own pickling would have all ranks share one memory
        for rank, (_, connection) in enumerate(self._workers[:world_size]):
            connection.send((job, backend, rank, world_size, timeout, str(rendezvous)))
        deadline = time.monotonic() + _PATIENCE
        outcomes = [self._outcome(rank, deadline) for rank in range(world_size)]
        self._workers = [worker for worker in self._workers if worker[0].is_alive()]
        if any(how == "raised" for how, _ in outcomes):  # torch may number their next groups differently
            self._end()
        for rank, (how, found) in enumerate(outcomes):
            assert how == ("died" if rank in dying else "returned"), f"rank {rank} {how}: {found}"
        return [pickle.loads(found) if how == "returned" else None for how, found in outcomes]

    def close(self) -> None:
        """End the processes."""
        self._end()
        shutil.rmtree(self._folder)

    def _end(self) -> None:
        for process, connection in self._workers:
            connection.close()
            process.join(5)
            process.kill()
        self._workers = []

    def _start(self) -> tuple[Any, Connection]:
        ours, theirs = forks.Pipe()
        process = forks.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _outcome(self, rank: int, deadline: float) -> tuple[str, Any]:
        process, connection = self._workers[rank]
        if not connection.poll(max(0.0, deadline - time.monotonic())):
            process.kill()
            process.join()
            return "hangs", ""
        try:
            outcome: tuple[str, Any] = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            return "died", f"exit status {process.exitcode}"
        return outcome


def _serve(connection: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    os.environ["TORCH_DIST_INIT_BARRIER"] = "1"  # or one may leave the group while another still connects to it
    connection.send("ready")
    while True:
        try:
            job, backend, rank, world_size, timeout, rendezvous = connection.recv()
        except EOFError:
            return
        outcome: tuple[str, Any]
        try:
            dist.init_process_group(
                backend,
                init_method=f"file://{rendezvous}",
                rank=rank,
                world_size=world_size,
                timeout=timedelta(seconds=timeout),
            )
            work, arguments = pickle.loads(job)
            outcome = ("returned", pickle.dumps(work(*arguments)))
        except BaseException:  # whatever it is, it is reported
            outcome = ("raised", traceback.format_exc())
        if dist.is_initialized():
            dist.destroy_process_group()
        connection.send(outcome)


def die() -> None:
    """End this process at once, as a crash would."""
    os._exit(1)
