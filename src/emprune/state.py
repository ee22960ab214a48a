"""A pruner's saved state: its version, and every way in which it can fail to belong to a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from emprune.errors import StateError

__all__ = ["FORMAT_VERSION", "check_state", "plain"]

FORMAT_VERSION = 1

_PARTS = ("run", "plan", "columns", "pending", "chosen", "churn", "observed", "spent", "planning_seconds")

_ADVICE = {
    "method": "Resume with the method the run was started with.",
    "options": "Resume with the options the run was started with.",
    "num_samples": "The dataset must be the one the run was started with.",
    "num_epochs": "The length of a run fixes its plan; start a new run to train longer.",
    "keep": "The cost of a run is fixed at its start.",
    "warmup_epochs": "Resume with the warmup_epochs the run was started with.",
    "tail_epochs": "Resume with the tail_epochs the run was started with.",
    "seed": "Resume with the seed the run was started with.",
}


def plain(value: Any) -> Any:
    """Return NumPy's scalar, as a sweep has it, as Python's own, which loads with ``weights_only=True``."""
    return value.item() if isinstance(value, np.generic) else value


def check_state(state: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raise StateError unless `state` is a pruner's, of this version, and from a run with these settings.

    Args:
        state: What was loaded.
        run: The settings of the pruner that loads it, by name.
    """
    version = state.get("format_version") if isinstance(state, Mapping) else None
    if version is None:
        raise StateError(
            f"This is not a pruner's state: got a {type(state).__name__} without `format_version`. "
            "Pass what pruner.state_dict() returned."
        )
    if version != FORMAT_VERSION:
        raise StateError(
            f"The state has format version {version}, this emprune reads version {FORMAT_VERSION}. "
            "Resume with the emprune it was written by."
        )
    missing = [part for part in _PARTS if part not in state]
    if missing:
        raise StateError(f"The state lacks {', '.join(missing)}. Was it written by pruner.state_dict()?")
    for name, mine in run.items():
        saved = state["run"].get(name)
        if saved != mine:
            raise StateError(f"The state's `{name}` is {saved!r}, this pruner's is {mine!r}. {_ADVICE[name]}")
