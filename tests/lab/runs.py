"""Runs small enough for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from emprune_lab.comparison.workers import load_splits
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import RunConfig
from emprune_lab.training.loop import train
from emprune_lab.training.saved_state import load_state
from emprune_lab.training.session import Session

CLOCKS = ("seconds", "planning_seconds")


class SilentReporter:
    """Counts the batches it is told of."""

    def __init__(self) -> None:
        self.steps = 0
        self.records: list[Any] = []
        self.remarks: list[str] = []

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        self.planned_visits, self.visits_done = planned_visits, visits_done

    def step(self, num_visits: int) -> None:
        self.steps += 1

    def epoch(self, record: Any) -> None:
        self.records.append(record)

    def remark(self, line: str) -> None:
        self.remarks.append(line)


def small_config(method: str = "emp", *, task: str = "digits", **settings: Any) -> RunConfig:
    values = {"epochs": 4, "train_size": 160, "batch_size": 16, "device": "cpu", "precision": "fp32", **settings}
    return RunConfig.for_task(task, method, **values)


def run_small(
    config: RunConfig, path: Path, *, stop_after: int | None = None, report: SilentReporter | None = None
) -> Session:
    """Run in `path`, resuming what is there; ask to stop after so many batches of this call."""
    session = Session.build(config, load_splits(config, None))
    report = report or SilentReporter()
    folder = RunFolder.open(path, config, resume=True)
    train(session, folder, report=report, stop=lambda: stop_after is not None and report.steps >= stop_after)
    return session


def checkpoint_of(path: Path) -> dict[str, Any]:
    state = RunFolder(path).checkpoints.newest(load_state, say=print)
    assert state is not None
    return state


def checkpoints_of(path: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, the newest first."""
    return sorted((path / "checkpoints").iterdir(), key=lambda path: -int(path.name.split("-")[1]))


def files_of(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def log(path: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    for record in records:
        record["summary"].pop("planning_seconds")
    return [{name: value for name, value in record.items() if name not in CLOCKS} for record in records]


def outcome(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((path / "result.json").read_text())
    return {name: value for name, value in result.items() if not name.endswith("seconds")}


def assert_equal_runs(one: Path, other: Path, models: tuple[Session, Session]) -> None:
    weights = [session.model.state_dict() for session in models]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert np.array_equal(np.load(one / "visits.npy"), np.load(other / "visits.npy"))
    assert pq.read_table(one / "samples.parquet").equals(pq.read_table(other / "samples.parquet"))
    assert outcome(one) == outcome(other)
    assert log(one) == log(other)
