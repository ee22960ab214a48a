"""What files hold of finished runs, checked as it is read: a file may be somebody else's, damaged, or of before."""

import dataclasses
import json
import math
import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from emprune.errors import ConfigError
from emprune_lab.earlier import settings_now
from emprune_lab.files import read_text
from emprune_lab.settings import RunConfig

__all__ = ["Results", "as_named_now", "problem_of", "read_results", "results_at", "table_problems"]

NUMBERS = (
    "accuracy", "loss", "visits", "visits_fraction", "optimizer_steps", "final_learning_rate", "train_seconds",
    "num_train",
)  # fmt: skip
SOME_NUMBERS = (
    "score", "validation_accuracy", "validation_loss", "validation_score", "probe_loss", "knn_accuracy",
    "evaluation_seconds",
)  # fmt: skip
"""What not every task, or earlier version, has."""

TABLES = ("machine", "versions", "config")
RESULT = {
    **dict.fromkeys((*NUMBERS, *SOME_NUMBERS), float),
    **dict.fromkeys(TABLES, dict),
    "metric": str,
    "class_accuracy": list | None,
}
MACHINE = {"device_name": str, "precision": str}
SETTINGS = {field.name: field.type for field in dataclasses.fields(RunConfig)}
NEEDED_SETTINGS = [field.name for field in dataclasses.fields(RunConfig) if field.default is dataclasses.MISSING]
EXPERIMENT = {"task": str, "title": str, "baseline": str, "margin": float | None, "settings": dict}

TOO_LARGE = 10**300
"""For a number with a point; JSON has integers of any length."""

WORDS = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
    NoneType: "null",
}


@dataclass(frozen=True)
class Results:
    """What a file holds.

    Args:
        runs: The result of each run, with its settings as this version has them.
        stored: The same, as the file has them.
        experiment: What the comparison that they were made for says of itself.
        folder: Of the run, where the file is a run's own.
    """

    runs: list[dict[str, Any]]
    stored: list[dict[str, Any]]
    experiment: Mapping[str, Any] | None = None
    folder: Path | None = None


def results_at(place: Path) -> Iterator[Results]:
    """Read the files that hold results: folders of runs first, because they hold more than a results.json.

    Raises:
        ConfigError: If one of them holds something else.
    """
    if not place.is_dir():
        yield read_results(place)
        return
    yield from map(read_results, sorted(place.rglob("result.json")))
    if (place / "results.json").is_file():
        yield read_results(place / "results.json")


def read_results(path: Path) -> Results:
    """Return what a results.json, or a run's result.json, holds.

    Raises:
        ConfigError: If it is neither.
    """
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is neither a folder of runs nor a readable results.json ({error}).") from error
    problem = _problem_of_document(document)
    if problem is not None:
        raise ConfigError(
            f"{path} holds something else than results of emprune: {problem}. Name a results.json or a run folder."
        )
    if "runs" in document:
        return Results([as_named_now(run) for run in document["runs"]], document["runs"], document.get("experiment"))
    return Results([as_named_now(document)], [document], folder=path.parent)


def as_named_now(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with its settings as this version has them; one without a seed has the default one."""
    return {**result, "config": {"seed": RunConfig.seed, **settings_now(result["config"])}}


def problem_of(result: object) -> str | None:
    """Return what keeps a value from being the result of a finished run, in words; None if nothing does.

    Example:
        >>> problem_of({"accuracy": None})
        '`accuracy` must be a number; got None'
        >>> problem_of({})
        'there is no `accuracy`'
    """
    return next(_problems(result), None)


def table_problems(values: Mapping[str, Any], kinds: Mapping[str, Any], *, needed: Collection[str]) -> Iterator[str]:
    """Yield, in words, what is missing of a table as JSON has it, and what is of another kind than it must be."""
    for name, kind in kinds.items():
        if name not in values:
            if name in needed:
                yield f"there is no `{name}`"
        elif not _is(values[name], kind):
            allowed = " or ".join(WORDS[one] for one in get_args(kind) or (kind,))
            yield f"`{name}` must be {allowed}; got {reprlib.repr(values[name])}"


def _problem_of_document(document: object) -> str | None:
    if not isinstance(document, dict) or "runs" not in document:
        return problem_of(document)
    if not isinstance(document["runs"], list):
        return f"`runs` must be a list; got {reprlib.repr(document['runs'])}"
    for place, result in enumerate(document["runs"], start=1):
        problem = problem_of(result)
        if problem is not None:
            return f"of run {place}, {problem}"
    return next(_problems_of_experiment(document), None)


def _problems(result: object) -> Iterator[str]:
    """Lazily, because each line stands on those before it."""
    if not isinstance(result, dict):
        yield f"a result must be a table; got {reprlib.repr(result)}"
        return
    yield from table_problems(result, RESULT, needed=(*NUMBERS, *TABLES))
    yield from table_problems(result["machine"], MACHINE, needed=MACHINE)
    yield from table_problems(settings_now(result["config"]), SETTINGS, needed=NEEDED_SETTINGS)
    for value in result.get("class_accuracy") or ():
        yield from table_problems({"class_accuracy": value}, {"class_accuracy": float | None}, needed=())


def _problems_of_experiment(document: Mapping[str, Any]) -> Iterator[str]:
    yield from table_problems(document, {"experiment": dict}, needed=())
    yield from table_problems(document.get("experiment", {}), EXPERIMENT, needed=())


def _is(value: object, kind: Any) -> bool:
    """Whether a value is of a kind, 1 being a number with or without a point, and true none."""
    kinds = get_args(kind) or (kind,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int) and abs(value) < TOO_LARGE)
