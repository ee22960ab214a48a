"""The finished runs that are committed here, as the version that made them wrote them, and what a run counts with.

Nothing of the lab reads them, so that no later version changes a number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]


GROUPS = ("cost", "data", "training", "machine")
"""Of settings, since version 0.2; version 0.1 has them flat in `config`."""


def read_stored(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a comparison's results.json, or that of a run's result.json, as they are stored."""
    document = json.loads(path.read_text())
    runs: list[dict[str, Any]] = document.get("runs", [document])
    return runs


def read_runs(path: Path) -> list[Result]:
    """Return the runs of such a file, each with its settings in a flat `config`."""
    return [{**run, "config": config_of(run)} for run in read_stored(path)]


def config_of(run: Result) -> dict[str, Any]:
    """Return a stored run's settings by their names alone."""
    if "config" in run:
        return as_named_now(run["config"])
    settings = run["settings"]
    named = {"task": settings["task"], "method": run["method"], "seed": settings["seed"]}
    return {**named, **{name: value for group in GROUPS for name, value in settings[group].items()}}


def as_named_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings with its method as it is called today: `emp` without a pool had none at that time.

    Example:
        >>> as_named_now({"method": "emp:beta=5", "seed": 0})
        {'method': 'emp:beta=5:pool=none', 'seed': 0}
    """
    name, *options = config["method"].split(":")
    is_earlier = name == "emp" and not any(option.startswith("pool=") for option in options)
    return {**config, "method": config["method"] + ":pool=none" * is_earlier}


def outcome(result: Result) -> float:
    """Return the task's metric on the validation part where one was split off, else on the test set."""
    part = "validation_" if "validation_accuracy" in result else ""
    return float(result.get(f"{part}score", result[f"{part}accuracy"]))


def held_out_loss(result: Result) -> float:
    """Return the loss where the outcome is measured."""
    return float(result.get("validation_loss", result["loss"]))
