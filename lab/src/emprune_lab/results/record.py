"""What files hold of finished runs, checked as it is read: a file may be somebody else's, damaged, or of before."""

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from emprune.errors import ConfigError
from emprune_lab.earlier import settings_of
from emprune_lab.errors import OtherVersionError
from emprune_lab.files import files_below, read_text
from emprune_lab.settings import Settings

__all__ = ["FORMAT", "Results", "RunRecord", "problem_of", "read_record", "read_results", "results_at"]


FORMAT = 2
"""Of what this version writes of a run; version 0.1 wrote 1."""


class Table(BaseModel):
    """What is read of a table in a file. It may hold more."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Machine(Table):
    """Where a run was computed."""

    device_name: str
    precision: str


class Outcome(Table):
    """What is read of a result. What has a default is missing in some tasks, or in earlier versions."""

    accuracy: float
    loss: float
    visits: float
    visits_fraction: float
    optimizer_steps: float
    final_learning_rate: float
    train_seconds: float
    num_train: float
    machine: Machine
    versions: dict[str, Any]
    score: float = 0.0
    validation_accuracy: float = 0.0
    validation_loss: float = 0.0
    validation_score: float = 0.0
    probe_loss: float = 0.0
    knn_accuracy: float = 0.0
    evaluation_seconds: float = 0.0
    metric: str = ""
    class_accuracy: list[float | None] | None = None


class Experiment(Table):
    """What is read of what a comparison says of itself."""

    task: str = ""
    title: str = ""
    baseline: str = ""
    margin: float | None = None
    settings: dict[str, Any] = {}


WORDS = {
    "float": "a number",
    "finite": "a number",
    "int": "an integer",
    "string": "text",
    "dict": "a table",
    "model": "a table",
    "list": "a list",
    "bool": "true or false",
}
"""What pydantic's errors begin with, in words."""


@dataclass(frozen=True)
class RunRecord(Mapping[str, Any]):
    """A finished run as files have it: its settings and, as a mapping, all that was found.

    Args:
        settings: Its settings, as this version has them.
        found: The rest of the result, by name.
    """

    settings: Settings
    found: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @cached_property
    def method(self) -> str:
        """The method as people write it."""
        return str(self.settings.method)

    @property
    def seed(self) -> int:
        """The seed."""
        return self.settings.seed

    def document(self) -> dict[str, Any]:
        """Return all of it as a file has it."""
        return {"format": FORMAT, **self.found, "method": self.method, "settings": self.settings.model_dump()}


@dataclass(frozen=True)
class Results:
    """What a file holds.

    Args:
        runs: The finished runs.
        experiment: What the comparison that they were made for says of itself.
        folder: Of the run, where the file is a run's own.
    """

    runs: list[RunRecord]
    experiment: Mapping[str, Any] | None = None
    folder: Path | None = None


def results_at(path: Path, *, pass_over: bool = False) -> Iterator[Results]:
    """Read the files that hold results: folders of runs first, because they hold more than a results.json.

    Args:
        path: A folder of runs, or a results.json.
        pass_over: As `read_results` takes it.

    Raises:
        ConfigError: If one of them holds something else.
    """
    files = [path]
    if path.is_dir():
        files = [*files_below(path, "result.json"), *filter(Path.is_file, [path / "results.json"])]
    for file in files:
        yield read_results(file, pass_over=pass_over)


def read_results(path: Path, *, pass_over: bool = False) -> Results:
    """Return what a results.json, or a run's result.json, holds.

    Args:
        path: The file.
        pass_over: Whether to leave out the runs with settings that this version of emprune does not know.

    Raises:
        ConfigError: If it is neither.
        OtherVersionError: If it has such runs that are not to be left out.
    """
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is neither a folder of runs nor a readable results.json ({error}).") from error
    try:
        if not isinstance(document, dict) or "runs" not in document:
            return Results(list(_records([document], pass_over=pass_over)), folder=path.parent)
        if not isinstance(document["runs"], list):
            raise ConfigError(f"`runs` must be a list; got {reprlib.repr(document['runs'])}.")
        experiment = document.get("experiment")
        problem = None if experiment is None else problem_of(Experiment, experiment, called="`experiment`")
        if problem is not None:
            raise ConfigError(problem)
        return Results(list(_records(document["runs"], pass_over=pass_over)), experiment)
    except OtherVersionError as error:
        raise OtherVersionError(f"{path} holds runs of another version of emprune. {error}") from error
    except ConfigError as error:
        raise ConfigError(
            f"{path} holds something else than results of emprune: {error} Name a results.json or a run folder."
        ) from error


def _records(documents: Sequence[object], *, pass_over: bool) -> Iterator[RunRecord]:
    for number, document in enumerate(documents, start=1):
        try:
            record = read_record(document)
        except ConfigError as error:
            if pass_over and isinstance(error, OtherVersionError):
                continue
            where = f"Of run {number}: " if len(documents) > 1 else ""
            raise type(error)(f"{where}{error}") from error
        yield record


def read_record(document: object) -> RunRecord:
    """Return the record of a result, of this version or of 0.1.

    Raises:
        ConfigError: If it is no result, or is damaged.
        OtherVersionError: If its settings are not known to this version.

    Example:
        >>> read_record({"accuracy": None})
        Traceback (most recent call last):
        emprune.errors.ConfigError: `accuracy` must be a number; got None.
    """
    problem = problem_of(Outcome, document)
    if problem is not None:
        raise ConfigError(problem)
    assert isinstance(document, dict), "a table, as was just checked"
    stored = document.get("settings", document.get("config"))
    if not isinstance(stored, dict):
        raise ConfigError(f"`settings` must be a table; got {reprlib.repr(stored)}.")
    found = {name: value for name, value in document.items() if name not in ("config", "format", "method", "settings")}
    return RunRecord(settings_of(stored), found)


def problem_of(table: type[Table], values: object, *, called: str = "A result") -> str | None:
    """Return what keeps values from being such a table, as a sentence; None if nothing does."""
    if not isinstance(values, dict):
        return f"{called} must be a table; got {reprlib.repr(values)}."
    try:
        table.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = str(problem["loc"][0])
        if problem["type"] == "missing":
            return f"There is no `{'.'.join(map(str, problem['loc']))}`."
        rule = WORDS.get(problem["type"].partition("_")[0], "of another type")
        return f"`{name}` must be {rule}; got {reprlib.repr(problem['input'])}."
    return None
