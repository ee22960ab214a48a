"""Comparisons whose runs are jobs of a cluster: submitit's own processes on this machine stand for one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from emprune.errors import ConfigError
from tests.lab.reports import call
from tests.lab.runs import SilentReporter, log, outcome, run_of, small_settings
from tests.messages import Raises

pytest.importorskip("submitit", reason="needs emprune-lab[cluster]")

from emprune_lab.commands.compare import launcher
from emprune_lab.comparison.cluster import run_on_cluster
from emprune_lab.comparison.pool import make_run
from emprune_lab.files import files_below

METHODS = ("random-permutation", "emp:pool=2")
SETTINGS: dict[str, Any] = {"epochs": 30, "train_size": 160, "batch_size": 16, "device": "cpu", "precision": "fp32"}


def compare(out: Path) -> tuple[int, str]:
    """Return the exit code, and what is said on stderr."""
    options = [part for name, value in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", value)]
    which = ["--methods", ",".join(METHODS), "--seeds", 1, "--launcher", "submitit", "--out", out]
    code, _, said = call("compare", "digits", *options, *which)
    return code, said


def workers() -> list[psutil.Process]:
    """Return the processes that make runs."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "submitit.core._submit" in " ".join(child.cmdline())]


def kill_one() -> None:
    workers()[-1].kill()


def interrupt() -> None:
    """Send this process what Ctrl-C sends, as long as the command waits for it."""
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def once_it_trains(out: Path, act: Callable[[], None]) -> Iterator[None]:
    """Act when a run has logged epochs that it had not before."""
    before, end, over = sizes(out), time.monotonic() + 120, threading.Event()

    def wait() -> None:
        while not over.wait(0.01) and time.monotonic() < end:
            if sizes(out) > before:
                return act()
        pytest.fail("no epoch was logged")

    with ThreadPoolExecutor(1) as thread:
        acted = thread.submit(wait)
        try:
            yield
        finally:
            over.set()
    acted.result()


def sizes(out: Path) -> int:
    return sum(log.stat().st_size for log in files_below(out, "log.jsonl"))


@pytest.mark.slow
def test_a_cluster_s_runs_survive_a_death_and_a_stop_and_end_as_those_of_this_process(tmp_path: Path) -> None:
    out = tmp_path / "there"
    with once_it_trains(out, kill_one):
        code, said = compare(out)
    assert code == 1
    assert "1 of 2 runs did not finish." in said
    assert "its job died" in said
    with once_it_trains(out, interrupt):
        code, said = compare(out)
    assert code == 130
    assert "To go on, give the same command again." in said
    code, said = compare(out)
    assert code == 0, said
    for method in METHODS:
        settings = small_settings(method, **SETTINGS)
        run = run_of(settings)
        make_run(run, tmp_path / method, report=SilentReporter(), stop=lambda: False)
        there = out / "digits" / settings.folder_name / "seed-0"
        assert outcome(there) == outcome(tmp_path / method)
        assert outcome(there)["visits"] == run.sizes.visits
        assert log(there) == log(tmp_path / method)


def test_what_is_no_launcher_and_no_parameter_is_refused(tmp_path: Path, raises: Raises) -> None:
    with raises(ConfigError, parameter="launcher", value="cloud"):
        launcher("cloud", tmp_path, [])
    with raises(ConfigError, parameter="cluster", value="timeout"):
        launcher("slurm", tmp_path, ["timeout"])
    with raises(ConfigError, parameter="cluster", value="timeout_min=3"):
        launcher("local", tmp_path, ["timeout_min=3"])


def test_a_cluster_that_is_not_there_is_refused(tmp_path: Path, raises: Raises) -> None:
    with raises(ConfigError, parameter="launcher", value="slurm"):
        run_on_cluster(
            [],
            num_jobs=1,
            watch=lambda finished, visits: None,
            stop=lambda: False,
            cluster="slurm",
            folder=tmp_path,
            parameters={},
        )


@pytest.mark.parametrize("given", ["colour=red", "timeout_min=soon", "timeout_min=-1", "mem_gb=much"])
def test_a_parameter_that_submitit_does_not_take_is_refused(given: str, tmp_path: Path) -> None:
    launch = launcher("submitit", tmp_path, [given])
    assert launch is not None
    with pytest.raises(ConfigError, match=f"`cluster` must be parameters that submitit takes; got {given}. It says: "):
        launch([], num_jobs=1, watch=lambda finished, visits: None, stop=lambda: False)


def test_memory_may_have_decimals(tmp_path: Path) -> None:
    launch = launcher("submitit", tmp_path, ["mem_gb=1.5", "timeout_min=3", "partition=gpu.1"])
    assert launch is not None
    launch([], num_jobs=1, watch=lambda finished, visits: None, stop=lambda: False)
