"""Samples per second of `emprune run` against a loop by hand, and the wall time of a pruned run against a full one."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run, make_settings
from emprune_lab.tasks import get_task
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.optimization import one_cycle
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.cost import machine

__all__ = ["main"]

SPEED_TARGET = 0.95
TIME_TARGET = 0.33


class Silent:
    """Reports nothing."""

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Say nothing."""

    def step(self, num_visits: int) -> None:
        """Say nothing."""

    def epoch(self, record: Any) -> None:
        """Say nothing."""

    def remark(self, line: str) -> None:
        """Say nothing."""


def main() -> int:
    """Measure in turn, print and write; return the exit status, 0 whether or not the targets are reached."""
    options = _options()
    torch.set_num_threads(options.threads)
    full, pruned, by_hand = [], [], []
    for _ in range(options.repeats):
        by_hand.append(_timed(lambda: _by_hand(_training(options, "full", 1.0))))
        full.append(_timed(lambda: _emprune(_training(options, "full", 1.0))))
        pruned.append(_timed(lambda: _emprune(_training(options, options.method, options.keep))))
    speed = statistics.median(h / f for h, f in zip(by_hand, full, strict=True))
    share = statistics.median(p / f for p, f in zip(pruned, full, strict=True))
    targets = [
        ("samples per second over a loop by hand", speed, f"≥ {SPEED_TARGET}", speed >= SPEED_TARGET),
        (f"wall time at keep {options.keep} over full", share, f"≤ {TIME_TARGET}", share <= TIME_TARGET),
    ]
    table = Table("what", "found", "target", "", title="Training")
    for name, found, bound, reached in targets:
        table.add_row(name, f"{found:.3f}", bound, "PASS" if reached else "FAIL")
    Console(width=110).print(table)
    if options.json is not None:
        seconds = {"by_hand": by_hand, "full": full, "pruned": pruned}
        document = {
            "settings": vars(options) | {"json": None, "data_dir": None},
            "seconds": seconds,
            "targets": targets,
        }
        options.json.write_text(json.dumps(document | machine.measure(), indent=1) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast `emprune run` trains.")
    parser.add_argument("--task", default="fashion-mnist")
    parser.add_argument("--train-size", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=40, help="a short run is scored as often as a long one")
    parser.add_argument("--model", default=None)
    parser.add_argument("--method", default="emp:pool=2")
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="about eight minutes each")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--data-dir", type=Path, help="where data sets are cached (default: the user's cache)")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    return parser.parse_args()


def _training(options: argparse.Namespace, method: str, keep: float) -> ArrayTraining:
    given = {name: getattr(options, name) for name in ("epochs", "model", "train_size", "device", "threads")}
    task = get_task(options.task)
    settings = make_settings(task, method, keep=keep, **given)
    return ArrayTraining(Run.resolve(settings, task, data_dir=options.data_dir))


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _emprune(training: ArrayTraining) -> None:
    with tempfile.TemporaryDirectory() as folder:
        training.train(RunFolder.open(Path(folder) / "run", training.run.settings), report=Silent())


def _by_hand(training: ArrayTraining) -> None:
    """The same training on all the data as one would write it, without emprune, scored as often."""
    data, task, compute = training.train_split, training.objective.task, training.run.compute
    size, epochs = training.run.sizes.batch, training.run.settings.cost.epochs
    num_batches = -(-len(data) // size)
    generator = torch.Generator(compute.device)
    for epoch in range(epochs):
        order = torch.randperm(len(data), device=compute.device)
        for number, chosen in enumerate(order.split(size)):
            x = task.normalise(task.augment(generator, data.x[chosen]))
            _hand_step(training, x, data.y[chosen], (epoch * num_batches + number) / (epochs * num_batches))
        if (epoch + 1) * 4 % epochs < 4:
            training.evaluate("test")
    compute.synchronize()


def _hand_step(training: ArrayTraining, x: Tensor, y: Tensor, progress: float) -> None:
    settings = training.run.settings.training
    for group in training.optimizer.param_groups:
        group["lr"] = settings.max_lr * one_cycle(progress)
    with training.run.compute.autocast():
        logits = training.model(x.contiguous(memory_format=torch.channels_last))
    F.cross_entropy(logits.float(), y, label_smoothing=settings.label_smoothing).backward()
    training.optimizer.step()
    training.optimizer.zero_grad()
