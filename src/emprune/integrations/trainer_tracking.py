"""What the Trainer's TensorBoard and Weights & Biases get at the end of an epoch."""

from collections.abc import Sequence
from typing import Any

from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback

from emprune.integrations.tracking import track_pruner
from emprune.pruner import DataPruner

__all__ = ["track_in"]


def track_in(callbacks: Sequence[Any], pruner: DataPruner, *, ends: bool) -> None:
    """Track an epoch where `report_to` names TensorBoard or Weights & Biases; collective on several ranks then."""
    found = [callback for callback in callbacks if isinstance(callback, (TensorBoardCallback, WandbCallback))]
    if found:
        track_pruner(pruner, [tracker for tracker in map(_opened, found) if tracker is not None], ends=ends)


def _opened(callback: TensorBoardCallback | WandbCallback) -> Any:
    """Return a callback's writer or run; None on ranks that have none."""
    if isinstance(callback, TensorBoardCallback):
        return callback.tb_writer
    return callback._wandb.run
