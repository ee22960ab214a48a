"""What a report is made from: finished runs, of which everything but the result may be missing."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emprune.errors import ConfigError
from emprune_lab.files import read_text
from emprune_lab.results.reading import results_at, unlike
from emprune_lab.settings import RunConfig

__all__ = ["Experiment", "Found", "Run", "find_runs"]

DEFAULTS = {f.name: f.default for f in dataclasses.fields(RunConfig) if f.default is not dataclasses.MISSING}
RECORD = {"summary": dict, "probe_loss": float | None}
SUMMARY = dict.fromkeys(("churn", "greedy_overlap", "staleness"), float | None)
"""What is read of an epoch in the log, and of its summary."""

MOST_CLASSES = 1_000_000

Experiment = Mapping[str, Any]
"""What `compare` wrote of itself: its task, title, baseline and margin among others."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        result: What its result.json holds, or its entry in a results.json.
        folder: Where the rest is; None where only the result is known.
    """

    result: Mapping[str, Any]
    folder: Path | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its settings; those that an earlier version did not have are at their defaults."""
        return {**DEFAULTS, **self.result["config"]}

    @property
    def content(self) -> dict[str, Any]:
        """The result as any file holds it."""
        return {name: value for name, value in self.result.items() if name not in ("format", "config")}

    @property
    def method(self) -> str:
        """The method and its options."""
        return str(self.config["method"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.config["seed"])

    @property
    def draws_samples(self) -> bool:
        """Whether its seed decides on what samples it trains, so that another's have other places."""
        return bool(self.config["subset_fraction"] != 1 or self.config["leave_out"])

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """A record for each epoch; empty where the log is missing, damaged or not this run's whole."""
        path = self._file("log.jsonl")
        try:
            records = [json.loads(line) for line in read_text(path).splitlines()] if path else []
        except (OSError, ValueError, RecursionError):
            return []
        return records if len(records) == self.config["epochs"] and all(map(_is_record, records)) else []

    @cached_property
    def samples(self) -> pa.Table | None:
        """A row for each training sample, as `results.samples` makes it; None where that is missing or damaged."""
        path = self._file("samples.parquet")
        try:
            table = None if path is None else pq.read_table(path)
        except (OSError, ValueError):  # pyarrow's errors are ValueErrors
            return None
        return table if table is not None and self._are_samples(table) else None

    @cached_property
    def visits(self) -> NDArray[np.int64] | None:
        """(N,) how often each training sample was visited."""
        if self.samples is not None:
            return self.column("visits", np.int64)
        path = self._file("visits.npy")
        try:
            found = None if path is None else np.load(path)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
            return None
        return found.astype(np.int64) if found.min() >= 0 and found.max() <= self.config["epochs"] else None

    @property
    def damaged(self) -> list[Path]:
        """The files that are there and hold something else than what a run leaves in them."""
        read = {"log.jsonl": bool(self.log), "samples.parquet": self.samples is not None}
        if self.samples is None:
            read["visits.npy"] = self.visits is not None
        files = [self._file(name) for name, whole in read.items() if not whole]
        return [file for file in files if file is not None]

    def _are_samples(self, table: pa.Table) -> bool:
        """Whether a table has a row for each sample, with a label and a number of visits that can be."""
        limits = {"index": len(table) - 1, "label": MOST_CLASSES - 1, "visits": self.config["epochs"]}
        if not len(table) or not set(limits) <= set(table.column_names):
            return False
        for name, most in limits.items():
            column = table[name]
            if not pa.types.is_integer(column.type) or column.null_count:
                return False
            if not 0 <= pc.min(column).as_py() <= pc.max(column).as_py() <= most:
                return False
        return True

    @property
    def class_names(self) -> dict[int, str]:
        """The names of the classes by label, of those that it trained on; empty where they were not recorded."""
        if self.samples is None or "class" not in self.samples.column_names:
            return {}
        pairs = self.samples.select(["label", "class"])
        if not pa.types.is_string(pairs.schema.field("class").type):
            return {}
        known = pairs.group_by(["label", "class"]).aggregate([]).drop_null()
        return dict(zip(known["label"].to_pylist(), known["class"].to_pylist(), strict=True))

    def column(self, name: str, kind: Any = np.float64) -> NDArray[Any] | None:
        """Return a column of `samples`, (N,), with nan where nothing is known; None where no such numbers are."""
        if self.samples is None or name not in self.samples.column_names:
            return None
        held = self.samples.schema.field(name).type
        if not (pa.types.is_integer(held) or pa.types.is_floating(held)):
            return None
        return self.samples[name].to_numpy().astype(kind)  # type: ignore[no-any-return]

    def _file(self, name: str) -> Path | None:
        path = None if self.folder is None else self.folder / name
        return path if path is not None and path.is_file() else None


@dataclass(frozen=True)
class Found:
    """What lies in the places that a report is made of.

    Args:
        runs: The finished runs, each once.
        experiments: What the comparisons among them say of themselves.
        num_unfinished: Runs that have not come to their end.
        num_repeated: Runs left out because another of the same settings and seed, with other results, came first.
    """

    runs: Sequence[Run]
    experiments: Sequence[Experiment] = ()
    num_unfinished: int = 0
    num_repeated: int = 0


def find_runs(places: Sequence[Path]) -> Found:
    """Return the finished runs of several places.

    Args:
        places: Folders of `emprune compare`, folders of single runs, result.json or results.json files.

    Raises:
        ConfigError: If one holds no finished run, runs of several tasks, or what cannot be read.
    """
    runs: dict[str, Run] = {}
    experiments: list[Experiment] = []
    repeated: set[str] = set()
    num_unfinished = 0
    for place in places:
        own = []
        for results in results_at(place):
            own += [Run(result, results.folder) for result in results.runs]
            experiments += [] if results.experiment is None else [results.experiment]
        _check(place, own)
        for run in own:
            key = json.dumps(run.config, sort_keys=True)
            if key in runs and run.content != runs[key].content:
                repeated.add(key)
            elif key not in runs or runs[key].folder is None:
                runs[key] = run
        if place.is_dir():
            folders = {path.parent for path in place.resolve().rglob("config.json")}
            runs_alone = {f for f in folders if f.parent.parent not in folders}  # a Trainer's checkpoints lie so deep
            num_unfinished += sum(not (folder / "result.json").is_file() for folder in runs_alone)
    return Found(list(runs.values()), experiments, num_unfinished, len(repeated))


def _is_record(record: object) -> bool:
    """Whether a line of a log is of an epoch."""
    if not isinstance(record, dict) or any(unlike(record, RECORD, needed=["summary"])):
        return False
    return not any(unlike(record["summary"], SUMMARY, needed=SUMMARY))


def _check(place: Path, runs: Sequence[Run]) -> None:
    tasks = sorted({str(run.config["task"]) for run in runs})
    if not tasks:
        raise ConfigError(
            f"{place} holds no finished run: there is neither a result.json below it nor a results.json in it. "
            "`emprune run` and `emprune compare` make them."
        )
    if len(tasks) > 1:
        raise ConfigError(
            f"{place} mixes runs of {len(tasks)} tasks, which do not compare: {', '.join(tasks)}. "
            "Name the folder of each task; several folders give a section each."
        )
