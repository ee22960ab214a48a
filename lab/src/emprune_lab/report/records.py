"""What a report is made from: finished runs. All of their files except the result may be missing or damaged."""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emprune.errors import ConfigError
from emprune_lab.files import files_below, read_text
from emprune_lab.results.record import RunRecord, Table, problem_of, results_at

__all__ = ["Found", "ReportedRun", "find_run", "find_runs"]

MOST_CLASSES = 1_000_000
MOST_NAMED = 3
"""Folders in a message."""
DAMAGE = (OSError, ValueError, EOFError, RecursionError, zipfile.BadZipFile)
"""What reading a damaged file raises; pyarrow's errors are ValueErrors."""

T = TypeVar("T")


class Summary(Table):
    """What is read of an epoch's summary in the log."""

    churn: float | None
    greedy_overlap: float | None
    staleness: float | None


class EpochRecord(Table):
    """What is read of an epoch in the log."""

    summary: Summary
    probe_loss: float | None = None
    seconds: float | None = None
    test_accuracy: float | None = None
    test_score: float | None = None
    validation_accuracy: float | None = None
    validation_score: float | None = None


@dataclass(frozen=True)
class ReportedRun:
    """A finished run, as its files have it. What is missing or damaged is None.

    Args:
        result: What its result.json holds, or its entry in a results.json.
        folder: Where the rest is; None where only the result is known.
        experiment: What the comparison whose results.json lists it says of itself: title, baseline, margin and more.
    """

    result: RunRecord
    folder: Path | None = None
    experiment: Mapping[str, Any] | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its settings by their names alone, with task, method and seed as people write them."""
        return {**self.result.settings.named(), **self.result.settings.flat()}

    @property
    def method(self) -> str:
        """The method and its options."""
        return self.result.method

    @property
    def seed(self) -> int:
        """The seed."""
        return self.result.seed

    @property
    def draws_samples(self) -> bool:
        """Whether its seed decides on what samples it trains, so that another's have other positions."""
        return bool(self.config["subset_fraction"] != 1 or self.config["leave_out"])

    @cached_property
    def log(self) -> pd.DataFrame | None:
        """A row for each epoch: the numbers of `EpochRecord` and of its `Summary`, nan where not measured."""
        return self._read("log.jsonl", _read_log)

    @cached_property
    def samples(self) -> pd.DataFrame | None:
        """A row for each training sample, as `training.samples` makes it."""
        return self._read("samples.parquet", _read_samples)

    @cached_property
    def visits(self) -> NDArray[np.int64] | None:
        """(N,) how often each training sample was visited."""
        if self.samples is not None:
            return self.column("visits", np.int64)
        return self._read("visits.npy", _read_visits)

    @property
    def damaged(self) -> list[Path]:
        """The files that are there and hold something else than what a run leaves in them."""
        read = {"log.jsonl": self.log, "samples.parquet": self.samples}
        if self.samples is None:
            read["visits.npy"] = self.visits
        files = [self._file(name) for name, content in read.items() if content is None]
        return [file for file in files if file is not None]

    @property
    def class_names(self) -> dict[int, str]:
        """The names of the classes by label, of those that it trained on; empty where they were not recorded."""
        if self.samples is None or "class" not in self.samples:
            return {}
        named = self.samples[["label", "class"]].dropna()
        if not pd.api.types.is_string_dtype(named["class"]):
            return {}
        named = named.drop_duplicates()
        return dict(zip(named["label"], named["class"], strict=True))

    def column(self, name: str, kind: Any = np.float64) -> NDArray[Any] | None:
        """Return a column of `samples`, (N,), with nan where nothing is known; None where no such numbers are."""
        if self.samples is None or name not in self.samples or self.samples[name].dtype.kind not in "iuf":
            return None
        return self.samples[name].to_numpy(kind)  # type: ignore[no-any-return]

    def _read(self, name: str, read: Callable[[Path, int], T]) -> T | None:
        """What a file holds, read by a function of its path and the number of epochs."""
        file = self._file(name)
        try:
            return None if file is None else read(file, self.config["epochs"])
        except DAMAGE:
            return None

    def _file(self, name: str) -> Path | None:
        path = None if self.folder is None else self.folder / name
        return path if path is not None and path.is_file() else None


@dataclass(frozen=True)
class Found:
    """What lies in the folders and files that a report is made of.

    Args:
        runs: The finished runs, each once.
        num_unfinished: Runs that have not come to their end.
        num_repeated: Runs left out because another of the same settings and seed, with other results, came first.
    """

    runs: Sequence[ReportedRun]
    num_unfinished: int = 0
    num_repeated: int = 0


def find_runs(paths: Sequence[Path]) -> Found:
    """Return the finished runs of several folders and files.

    Args:
        paths: Folders of `emprune compare`, folders of single runs, result.json or results.json files.

    Raises:
        ConfigError: If one holds no finished run, runs of several tasks, or what cannot be read.
    """
    runs: dict[str, ReportedRun] = {}
    repeated: set[str] = set()
    num_unfinished = 0
    for path in paths:
        found = [(results, result) for results in results_at(path) for result in results.runs]
        own = [ReportedRun(result, results.folder, results.experiment) for results, result in found]
        _check_tasks(path, own)
        for run in own:
            key = json.dumps(run.config, sort_keys=True)
            first = runs.setdefault(key, run)
            if run.result.found != first.result.found:
                repeated.add(key)
            else:
                folder, experiment = first.folder or run.folder, first.experiment or run.experiment
                runs[key] = dataclasses.replace(first, folder=folder, experiment=experiment)
        num_unfinished += _num_unfinished(path) if path.is_dir() else 0
    return Found(list(runs.values()), num_unfinished, len(repeated))


def find_run(path: Path) -> ReportedRun:
    """Return the one finished run that a folder or file holds.

    Raises:
        ConfigError: If it holds none, or several.
    """
    runs = find_runs([path]).runs
    if len(runs) != 1:
        folders = [str(run.folder) for run in runs if run.folder is not None][:MOST_NAMED]
        names = f", such as {' or '.join(folders)}" if folders else ""
        raise ConfigError(f"RUN must be the folder of one run; got {path} with {len(runs)}. Name one of them{names}.")
    return runs[0]


def _num_unfinished(path: Path) -> int:
    folders = {file.parent for file in files_below(path.resolve(), "config.json")}
    runs_alone = {f for f in folders if folders.isdisjoint(f.parents)}  # not what lies in a run: checkpoints, an export
    return sum(not (folder / "result.json").is_file() for folder in runs_alone)


def _check_tasks(path: Path, runs: Sequence[ReportedRun]) -> None:
    tasks = sorted({str(run.config["task"]) for run in runs})
    if not tasks:
        raise ConfigError(
            f"{path} holds no finished run: there is neither a result.json below it nor a results.json in it. "
            "`emprune run` and `emprune compare` make them."
        )
    if len(tasks) > 1:
        raise ConfigError(
            f"{path} mixes runs of {len(tasks)} tasks, which do not compare: {', '.join(tasks)}. "
            "Name the folder of each task; several folders give a section each."
        )


def _read_log(path: Path, num_epochs: int) -> pd.DataFrame:
    records = [json.loads(line) for line in read_text(path).splitlines()]
    _hold(len(records) == num_epochs)
    for record in records:
        _hold(problem_of(EpochRecord, record) is None)
    names = [name for name in EpochRecord.model_fields if name != "summary"]
    rows = [{**record["summary"], **{name: record.get(name) for name in names}} for record in records]
    return pd.DataFrame(rows, columns=[*names, *Summary.model_fields], dtype=float)


def _read_samples(path: Path, num_epochs: int) -> pd.DataFrame:
    samples = pq.read_table(path).to_pandas(ignore_metadata=True)
    _hold(len(samples) > 0 and samples.columns.is_unique)
    for name, most in {"index": len(samples) - 1, "label": MOST_CLASSES - 1, "visits": num_epochs}.items():
        _hold(name in samples and samples[name].dtype.kind in "iu" and samples[name].between(0, most).all())
    return samples


def _read_visits(path: Path, num_epochs: int) -> NDArray[np.int64]:
    visits = np.load(path)
    _hold(isinstance(visits, np.ndarray) and visits.ndim == 1 and visits.dtype.kind in "iu" and len(visits) > 0)
    _hold(visits.min() >= 0 and visits.max() <= num_epochs)
    return visits.astype(np.int64)  # type: ignore[no-any-return]


def _hold(condition: bool) -> None:
    """Raise ValueError unless a file holds what it must."""
    if not condition:
        raise ValueError("The file is damaged.")
