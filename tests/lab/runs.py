"""Runs small enough for tests."""

from pathlib import Path
from typing import Any

from emprune.lab.config import RunConfig
from emprune.lab.session import Session
from emprune.lab.store import RunFolder
from emprune.lab.train import train
from emprune.lab.workers import load_splits


class SilentReporter:
    """Counts the batches it is told of."""

    def __init__(self) -> None:
        self.steps = 0
        self.records: list[Any] = []

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        self.visits_done = visits_done

    def step(self, num_visits: int) -> None:
        self.steps += 1

    def epoch(self, record: Any) -> None:
        self.records.append(record)


def small_config(method: str = "emp", **settings: Any) -> RunConfig:
    values = {"epochs": 4, "train_size": 160, "batch_size": 16, "device": "cpu", "precision": "fp32", **settings}
    return RunConfig.for_task("digits", method, **values)


def run_small(config: RunConfig, path: Path, *, stop_after: int | None = None) -> Session:
    """Run in `path`, resuming what is there; ask to stop after so many batches of this call."""
    session = Session.build(config, load_splits(config, None))
    report = SilentReporter()
    folder = RunFolder.open(path, config, resume=True)
    train(session, folder, report=report, stop=lambda: stop_after is not None and report.steps >= stop_after)
    return session
