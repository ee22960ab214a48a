"""Holding a selection for several epochs, as the bandit methods do."""

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.methods.base import SelectionContext
from emprune.selection import sample

__all__ = ["check_replan_every", "held_selection"]


def check_replan_every(replan_every: int) -> None:
    """Raise ConfigError unless it is an integer of at least 1."""
    if not isinstance(replan_every, int) or isinstance(replan_every, bool) or replan_every < 1:
        raise ConfigError(f"`replan_every` must be an integer of at least 1, in epochs: got {replan_every=}.")


def held_selection(context: SelectionContext, replan_every: int) -> Tensor | None:
    """Return the previous epoch's selection where it is to be held, or None where it is time to select anew.

    It is anew in every epoch divisible by `replan_every`, and whenever there is nothing to hold: after a full epoch,
    or while unseen samples were still being placed. Where the epoch's size differs by rounding, samples are dropped
    from it or added to it at random.
    """
    held = context.previous
    if held is None or context.epoch % replan_every == 0:
        return None
    generator = context.generator("hold", context.epoch)
    missing = context.size - len(held)
    if missing <= 0:
        return held[torch.randperm(len(held), generator=generator)[: context.size]]
    others = context.seen.clone()
    others[held] = False
    return torch.cat([held, sample(context.num_samples, missing, generator=generator, among=others)])
