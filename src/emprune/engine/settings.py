"""A run's settings, as its state keeps them: plain values, by which a saved run is known again."""

from collections.abc import Mapping
from types import NoneType
from typing import Any

import numpy as np

from emprune.engine.plan_options import PlanOptions
from emprune.errors import MethodError, StateError
from emprune.methods.base import Method
from emprune.schedule import Schedule

__all__ = ["check_settings", "is_same", "run_settings"]

_ADVICE = {
    "method": "Resume with the method and the options the run was started with.",
    "num_samples": "The dataset must be the one the run was started with.",
    "num_epochs": "The length of a run fixes its plan; start a new run to train longer.",
    "epochs of num_steps": "With `num_steps` they follow from the samples of a step. Resume with as many: ranks · "
    "batch size · accumulation.",
    "num_steps": "The length of a run fixes its plan; start a new run to train longer.",
    "keep": "The cost of a run is fixed at its start.",
    "warmup_epochs": "Resume with the warmup_epochs the run was started with.",
    "tail_epochs": "Resume with the tail_epochs the run was started with.",
    "seed": "Resume with the seed the run was started with.",
    "data_key": "Resume with the data the run was started with, in the same order, and with their key.",
    **{
        name: f"Resume with the {name} the run was started with, or without any if it had none."
        for name in ("lengths", "groups", "weights", "pinned", "guard", "record")
    },
}


def run_settings(
    method: Method, schedule: Schedule, seed: int, plan_options: PlanOptions, data_key: str | None, record: str | None
) -> dict[str, Any]:
    """Return what must be the same on every rank, and after a resume.

    Raises:
        MethodError: If a method's option cannot be saved.
    """
    options = {name: _plain(value, name, method) for name, value in method.settings().items()}
    return {
        "method": {"name": _name_of(method), **options},
        "num_samples": schedule.num_samples,
        "num_epochs": schedule.num_epochs,
        "num_steps": schedule.num_steps,
        "keep": schedule.keep,
        "warmup_epochs": schedule.warmup_epochs,
        "tail_epochs": schedule.tail_epochs,
        "seed": seed,
        **plan_options.settings(),
        "data_key": data_key,
        "record": record,
    }


def _name_of(method: Method) -> str:
    """Return a method's name, with the class's where that has the name from its base: both are then told apart."""
    cls = type(method)
    return method.name if "name" in vars(cls) else f"{method.name}, as changed by {cls.__name__}"


def check_settings(saved: object, settings: Mapping[str, Any]) -> None:
    """Raise StateError unless saved settings are those of a run."""
    if not isinstance(saved, Mapping):
        raise StateError(f"The saved `settings` must be a dictionary; got a {type(saved).__name__}.")
    for name in sorted(settings, key="num_epochs".__eq__):  # which follow from the others where steps are counted
        if not is_same(saved.get(name), mine := settings[name]):
            by_steps = name == "num_epochs" and settings["num_steps"] is not None
            advice = _ADVICE["epochs of num_steps" if by_steps else name]
            raise StateError(f"The state's `{name}` is {saved.get(name)!r}, this run's is {mine!r}. {advice}")


def is_same(saved: object, mine: object) -> bool:
    """Return whether a saved value is ours, a list as good as a tuple; a tensor never is."""
    if isinstance(saved, Mapping) and isinstance(mine, Mapping):
        return saved.keys() == mine.keys() and all(is_same(saved[name], mine[name]) for name in mine)
    if isinstance(saved, (list, tuple)) and isinstance(mine, (list, tuple)):
        return len(saved) == len(mine) and all(map(is_same, saved, mine))
    return isinstance(saved, (str, int, float, NoneType)) and saved == mine


def _plain(value: Any, option: str, method: Method) -> Any:
    """Return an option as it loads with ``weights_only=True``: NumPy's scalar, as a sweep has it, as Python's own."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, (list, tuple)):
        return [_plain(each, option, method) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each, option, method) for name, each in value.items()}
    if not isinstance(value, (str, int, float, NoneType)):
        cls = type(method).__name__
        raise MethodError(
            f"`{cls}.{option}` must be a number, text or None, or a list or dictionary of those, as a saved state "
            f"keeps it; got a {type(value).__name__}. Return text that tells it from others in {cls}.settings()."
        )
    return value
