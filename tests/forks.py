"""Processes of tests, forked from one server that has imported what takes seconds: a process has no more than one."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Ended", "be_command", "call_forked", "forks", "run_forked"]

PRELOADED = (
    "tests.distributed.pool",
    "tests.lab.slow_disk",
    "emprune_lab.comparison.pool",
    "emprune_lab.commands.app",
    "sklearn.datasets",
    "torch._dynamo",
)
"""For the ranks, the lab's runs and the command. What is not installed is passed over."""

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload([*PRELOADED])


class Ended(NamedTuple):
    """What a process ended with."""

    returncode: int | None
    stdout: str
    stderr: str


def run_forked(code: str, *arguments: str, path: Sequence[str] = ()) -> Ended:
    """Run Python code as `python -c code arguments` does, where it does not matter what was imported before.

    Args:
        code: What is run.
        *arguments: `sys.argv[1:]`.
        path: What stands before the other folders of `sys.path`.
    """
    return call_forked(_run, code, arguments, path)


def call_forked(work: Callable[..., Any], *arguments: Any) -> Ended:
    """Call a function, which is at the top of a module, in a process of its own, with this one's environment."""
    with tempfile.TemporaryDirectory() as folder:
        process = forks.Process(target=_call, args=(folder, work, arguments, dict(os.environ)))
        process.start()
        process.join(120)
        process.kill()
        process.join()
        return Ended(process.exitcode, *((Path(folder) / name).read_text("utf-8") for name in ("stdout", "stderr")))


def be_command(arguments: Sequence[str]) -> None:
    """Be the command `emprune` with these arguments, which prints to nobody."""
    from emprune.cli import main

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.argv = ["emprune", *arguments]
    main()


def _call(folder: str, work: Callable[..., Any], arguments: Sequence[Any], environment: dict[str, str]) -> None:
    os.environ.clear()  # the server's is that of the test that started it
    os.environ.update(environment)
    for stream, name in enumerate(("stdout", "stderr"), start=1):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT), stream)
    work(*arguments)


def _run(code: str, arguments: Sequence[str], path: Sequence[str]) -> None:
    sys.argv, sys.path[:0] = ["-c", *arguments], path
    exec(code, {"__name__": "__main__"})
