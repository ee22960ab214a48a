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
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import divide, get_task
from emprune_lab.training.learning_rate import one_cycle
from emprune_lab.training.loop import train
from emprune_lab.training.session import Session
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
        by_hand.append(_timed(lambda: _by_hand(_session(options, "full", 1.0))))
        full.append(_timed(lambda: _emprune(_session(options, "full", 1.0))))
        pruned.append(_timed(lambda: _emprune(_session(options, options.method, options.keep))))
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


def _session(options: argparse.Namespace, method: str, keep: float) -> Session:
    settings = {"epochs": options.epochs, "model": options.model, "train_size": options.train_size}
    settings["device"] = options.device
    config = RunConfig.for_task(options.task, method, keep=keep, threads=options.threads, **settings)
    return Session.build(config, divide(get_task(options.task).load(options.data_dir), train_size=options.train_size))


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _emprune(session: Session) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train(session, RunFolder.open(Path(folder) / "run", session.config), report=Silent())


def _by_hand(session: Session) -> None:
    """The same training on all the data as one would write it, without emprune, scored as often."""
    config, data, compute = session.config, session.splits.train, session.compute
    size, num_batches = config.batch_size, -(-len(data) // config.batch_size)
    generator = torch.Generator(compute.device)
    for epoch in range(config.epochs):
        order = torch.randperm(len(data), device=compute.device)
        for number, chosen in enumerate(order.split(size)):
            x = session.objective.task.normalise(session.objective.task.augment(generator, data.x[chosen]))
            _hand_step(session, x, data.y[chosen], (epoch * num_batches + number) / (config.epochs * num_batches))
        if (epoch + 1) * 4 % config.epochs < 4:
            session.score(session.splits.test)
    compute.synchronize()


def _hand_step(session: Session, x: Tensor, y: Tensor, progress: float) -> None:
    for group in session.optimizer.param_groups:
        group["lr"] = session.config.max_lr * one_cycle(progress)
    with session.compute.autocast():
        logits = session.model(x.contiguous(memory_format=torch.channels_last))
    F.cross_entropy(logits.float(), y, label_smoothing=session.config.label_smoothing).backward()
    session.optimizer.step()
    session.optimizer.zero_grad()
