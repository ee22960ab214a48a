"""What the bandit methods share: two options, and holding a selection for several epochs."""

import torch
from torch import Tensor

from emprune.checks import real_number, whole_number
from emprune.indexing import taken
from emprune.methods.base import SelectionContext
from emprune.randomness import random_order
from emprune.selection import sample

__all__ = ["checked_alpha", "checked_replan_every", "held_selection"]


def checked_alpha(alpha: float) -> float:
    """Return the newest loss's weight, in (0, 1].

    Raises:
        ConfigError: If it is another value.
    """
    return real_number("alpha", alpha, above=0, most=1, meaning="the newest loss's weight")


def checked_replan_every(replan_every: int) -> int:
    """Return for how many epochs a selection is held, at least 1.

    Raises:
        ConfigError: If it is another value.
    """
    return whole_number("replan_every", replan_every, least=1, meaning="in epochs")


def held_selection(context: SelectionContext, replan_every: int) -> Tensor | None:
    """Return the previous epoch's selection if it is to be held, or None if it is time to select again.

    It is time in every epoch divisible by `replan_every`. It is time as well where there is nothing to hold: after a
    full epoch, or after one with unseen samples. Where the epoch's size differs by rounding, samples are dropped from
    the selection or added to it at random.
    """
    held = context.previous
    if held is None or context.epoch % replan_every == 0:
        return None
    if context.num_seen < context.num_samples:
        held = held[taken(context.seen, held)]  # a guard may have set some of them aside since
    generator = context.generator("hold", context.epoch)
    missing = context.num_kept - len(held)
    if missing <= 0:
        return taken(held, random_order(len(held), generator)[: context.num_kept])
    others = context.seen.clone()
    others[held] = False
    return torch.cat([held, sample(context.num_samples, missing, generator=generator, among=others)])
