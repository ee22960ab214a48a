"""What the frameworks' loaders share: the budget's types, and one state for all ranks."""

from typing import Any

from torch.utils.data import DataLoader

from emprune.data.own_pruner import Choice
from emprune.data.planned import PlannedLoader
from emprune.data.streams.stream import ShardedStream
from emprune.errors import ConfigError, StateError

__all__ = ["Budget", "Choice", "InFit", "check_in_order", "check_one_state", "is_stream"]


class InFit(Choice, total=False):
    """What a prepared loader takes where a framework gives the run's length."""

    shuffle_buffer: int


class Budget(InFit, total=False):
    """What a prepared loader takes beside the method."""

    num_epochs: int | None
    num_steps: int | None


def is_stream(dataloader: DataLoader[Any]) -> bool:
    """Return whether a DataLoader is for a PrunedStream."""
    return isinstance(getattr(dataloader, "dataset", None), ShardedStream)


def check_in_order(loader: PlannedLoader) -> None:
    """Raise ConfigError where ranks would need a state each, and the framework keeps one for all."""
    if loader.pruner.world_size > 1 and not loader._in_order:
        raise ConfigError(
            "`in_order` must be True on several ranks, since the framework saves one state for all of them; got False. "
            "Leave it out."
        )


def check_one_state(state: dict[str, Any], world_size: int) -> None:
    """Raise StateError if a loader's state holds for this rank alone."""
    if world_size > 1 and state["delivery"]["ahead"]:
        raise StateError(
            "The state must be the same on all ranks; got batches that were delivered out of turn, after an exception "
            "in a worker. Save at the end of the epoch."
        )
