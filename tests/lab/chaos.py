"""Training processes killed at random moments, and whether what they end with is what an unharmed run ends with.

`make chaos` runs it with 200 kills.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.forks import forks
from tests.lab.runs import checkpoint_of, checkpoints_of, log, outcome
from tests.lab.slow_disk import run_slowly

METHODS = ("emp:pool=2", "ucb:replan_every=2", "infobatch", "epsilon-greedy", "random-permutation")
SETTINGS = "--epochs 4 --train-size 160 --validation 0.1 --batch-size 16 --precision fp32 --device cpu"
LIFE_SECONDS = 0.3
"""The longest that a process lives on: about an epoch and its checkpoint."""
PATIENCE_SECONDS = 120


def run_unharmed(method: str, out: Path) -> None:
    """Run to the end in `out` as users do."""
    command = [sys.executable, "-m", "emprune", *_arguments(method, out)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)


def endure(method: str, out: Path, *, max_kills: int, draws: random.Random, met: Counter[str]) -> int:
    """Run to the end in `out` on a slow disk, killing the process again and again; return how often.

    The processes are forked: 200 of them in minutes.

    Args:
        method: The run's.
        out: Its folder.
        max_kills: After so many the process is left alone.
        draws: Decides the moments.
        met: Counts what the killed processes were doing.
    """
    kills = 0
    says = out.with_suffix(".txt")
    while True:
        says.write_text("")
        process = forks.Process(target=run_slowly, args=(_arguments(method, out), says), daemon=True)
        process.start()
        if kills < max_kills:
            _wait_for_epochs(draws.choice((0, 1, 2)), process, says)  # after 2 there is a new checkpoint
            process.join(draws.uniform(0, LIFE_SECONDS))
            process.kill()
        process.join(PATIENCE_SECONDS)
        if process.exitcode == 0:
            return kills
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"The run in {out} failed after {kills} kills: {says.read_text()}")
        kills += 1
        met[_interrupted(out) + (", gone on from a checkpoint" if "of them done" in says.read_text() else "")] += 1


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between two finished runs, the clocks apart: nothing, if resuming is exact."""
    sessions = [checkpoint_of(path)["session"] for path in (one, other)]
    equal = {
        "result.json": outcome(one) == outcome(other),
        "visits.npy": np.array_equal(np.load(one / "visits.npy"), np.load(other / "visits.npy")),
        "samples.parquet": pq.read_table(one / "samples.parquet").equals(pq.read_table(other / "samples.parquet")),
        "log.jsonl": log(one) == log(other),
        "checkpoints": [path.name for path in checkpoints_of(one)] == [path.name for path in checkpoints_of(other)],
    }
    parts = {f"checkpoint's {name}": _same(sessions[0][name], sessions[1].get(name)) for name in sessions[0]}
    left_over = [f"{path.name} left over" for path in other.glob(".*")]
    return [name for name, same in {**equal, **parts}.items() if not same] + left_over


def chaos(num_kills: int, *, seed: int, folder: Path, advance: Callable[[int], None]) -> tuple[list[str], Counter[str]]:
    """Kill `num_kills` processes, in as many runs as it takes; return the divergences, and what the kills hit."""
    draws, met = random.Random(seed), Counter[str]()
    found: list[str] = []
    kills = rounds = 0
    while kills < num_kills:
        method = METHODS[rounds % len(METHODS)]
        unharmed, out = folder / f"unharmed-{rounds % len(METHODS)}", folder / f"round-{rounds}"
        if not (unharmed / "result.json").exists():
            run_unharmed(method, unharmed)
        suffered = endure(method, out, max_kills=min(5, num_kills - kills), draws=draws, met=met)
        if different := differences(unharmed, out):
            found.append(f"{method}, round {rounds}: {', '.join(different)}")
        kills, rounds = kills + suffered, rounds + 1
        advance(suffered)
    return found, met


def _arguments(method: str, out: Path) -> list[str]:
    return ["run", "digits", "--method", method, *SETTINGS.split(), "--out", str(out), "--resume"]


def _wait_for_epochs(number: int, process: ForkServerProcess, says: Path) -> None:
    """Wait until the process trains and has told of so many epochs, or has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.is_alive():
        said = says.read_text()
        if "visits planned" in said and said.count("epoch ") >= number:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"The run does not get on: {says.read_text()}")
        time.sleep(0.002)


def _interrupted(out: Path) -> str:
    """Say what a killed process was doing, by what it left."""
    if list(out.glob(".checkpoints.*/seal.json")):
        return "sealing a checkpoint"
    for name in ("checkpoints", "visits.npy", "samples.parquet", "result.json"):
        if list(out.glob(f".{name}.*")):
            return f"writing {name}"
    surplus = len(list(out.glob("checkpoints/checkpoint-*"))) > (1 if (out / "result.json").exists() else 2)
    return "removing a checkpoint" if surplus else "elsewhere"


def _same(one: Any, other: Any) -> bool:
    """Whether two states are bit-equal, but for the seconds in them."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and _bits(one) == _bits(other)
    if isinstance(one, dict):
        names = [name for name in one if not str(name).endswith("seconds")]
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in names)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()


def main() -> int:
    """Print how many runs diverged; return 1 if any did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments, as far as a clock lets it")
    options = parser.parse_args()
    console = Console()
    columns = (TextColumn("kills"), *Progress.get_default_columns()[1:2], MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        bar = progress.add_task("kills", total=options.kills)
        found, met = chaos(
            options.kills, seed=options.seed, folder=Path(folder), advance=lambda kills: progress.advance(bar, kills)
        )
    for what, times in met.most_common():
        console.print(f"killed {times} times {what}", highlight=False)
    for line in found:
        console.print(line, style="red")
    console.print(f"{options.kills} kills, {len(found)} divergences from the runs that were never killed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
