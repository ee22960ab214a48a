"""Runs small enough for tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from emprune_lab import run
from emprune_lab.data.splits import Splits
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run, make_settings
from emprune_lab.settings import Settings
from emprune_lab.tasks import get_task
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.saved_state import load_state

from emprune.distributed import Ranks

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


def settings_for(task: str, method: str, **settings: Any) -> Settings:
    """Return a run's settings on a task that is known by its name."""
    return make_settings(get_task(task), method, **settings)


def small_settings(method: str = "emp", *, task: str = "digits", **settings: Any) -> Settings:
    values = {"epochs": 4, "train_size": 160, "batch_size": 16, "device": "cpu", "precision": "fp32", **settings}
    return settings_for(task, method, **values)


def run_of(settings: Settings, *, data_dir: Path | None = None, world_size: int = 1) -> Run:
    return Run.resolve(settings, get_task(settings.task), data_dir=data_dir, world_size=world_size)


def splits_of(settings: Settings, data_dir: Path | None = None) -> Splits[Any]:
    return run.splits_of(settings, get_task(settings.task), data_dir)


def training_of(settings: Settings, data_dir: Path | None = None) -> ArrayTraining:
    """Return the training of a run, which all ranks share where there are several."""
    ranks = Ranks()
    return ArrayTraining(run_of(settings, data_dir=data_dir, world_size=ranks.size), ranks)


def run_small(
    settings: Settings,
    path: Path,
    *,
    stop_after: int | None = None,
    report: SilentReporter | None = None,
    data_dir: Path | None = None,
) -> ArrayTraining:
    """Run in `path`, resuming what is there; ask to stop after so many batches of this call."""
    training = training_of(settings, data_dir)
    report = report or SilentReporter()
    folder = RunFolder.open(path, settings, resume=True)
    training.train(folder, report=report, stop=lambda: stop_after is not None and report.steps >= stop_after)
    return training


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


def assert_equal_runs(one: Path, other: Path, models: tuple[ArrayTraining, ArrayTraining]) -> None:
    weights = [training.model.state_dict() for training in models]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert np.array_equal(np.load(one / "visits.npy"), np.load(other / "visits.npy"))
    assert pq.read_table(one / "samples.parquet").equals(pq.read_table(other / "samples.parquet"))
    assert outcome(one) == outcome(other)
    assert log(one) == log(other)
