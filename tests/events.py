"""What TensorBoard's files hold."""

from pathlib import Path
from typing import Any

import pytest

__all__ = ["read_events", "scalars_of"]


def read_events(folder: Path) -> Any:
    """TensorBoard's own reader, with all that a folder's files hold."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars_of(events: Any) -> dict[str, list[tuple[int, float]]]:
    """Every number by its name: (step, value)."""
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
