"""Samples of like length in one batch, so that little is padded: the same plan, in another order.

    plan, in random order     ... | ................ window: about 2,048 samples ................ | ...
    sorted in each window           short ........................................ long
    cut into steps                  [  Q samples  ][  Q samples  ][  Q samples  ][  Q samples  ]
    steps in random order           [  3rd  ][  1st  ][  4th  ][  2nd  ] of all windows

A step's Q samples are those of all ranks together. Each rank takes every W-th of them, so that its batches are alike
too. Windows, and not the whole epoch, are sorted: who shares a batch with whom is left to chance. The order is part of
the plan, so that cost, ranks and resume are what they are without.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune.errors import ConfigError
from emprune.given import as_tensor, is_integer
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator

__all__ = ["WINDOW", "Lengths", "by_length", "checked_lengths"]

Lengths: TypeAlias = Sequence[int] | NDArray[Any] | Tensor
"""(N,) integers of at least 0."""

WINDOW = 2048
"""Samples among which those of like length are brought together; at most half an epoch. No world size changes it."""


def by_length(plan: EpochPlan, lengths: Tensor, *, step: int, seed: int) -> EpochPlan:
    """Return a plan with the samples of each step of like length, and the steps in random order.

    Args:
        plan: In random order.
        lengths: (N,) int64.
        step: Samples of an optimizer step on all ranks together, Q. What is less than a step stays at the end.
        seed: The run's.

    Example:
        >>> lengths = torch.tensor([1, 9, 2, 8, 3, 7, 4, 6])
        >>> plan = EpochPlan(0, torch.arange(8), None, 8)
        >>> sorted(map(sorted, by_length(plan, lengths, step=2, seed=0).index.view(4, 2).tolist()))
        [[0, 2], [1, 3], [4, 6], [5, 7]]
    """
    num_steps = len(plan) // step
    if num_steps < 2:
        return plan
    whole = num_steps * step
    window = max(1, min(WINDOW, whole // 2) // step) * step  # at most half an epoch: chance has a say
    # One stable sort by (window, length): equal lengths stay in the plan's random order.
    length = lengths.index_select(0, plan.index[:whole])
    order = torch.argsort(length, stable=True)
    order = order[torch.argsort(order.div(window, rounding_mode="floor"), stable=True)]
    steps = torch.randperm(num_steps, generator=derive_generator(seed, "lengths", plan.epoch))
    order = torch.cat([order.view(num_steps, step)[steps].flatten(), torch.arange(whole, len(plan))])
    return plan.reordered(order)


def checked_lengths(lengths: Any, *, num_samples: int) -> Tensor | None:
    """Return the samples' lengths, (N,) int64; None if none are given.

    Args:
        lengths: Integers, 0 or more: a sequence, an array or a tensor; or None.
        num_samples: N.

    Raises:
        ConfigError: If they are not N such integers.
    """
    if lengths is None:
        return None
    values, found = as_tensor(lengths)
    right = is_integer(values) and values.shape == (num_samples,)
    if right and int(values.min()) < 0:
        right, found = False, str(int(values.min()))
    if not right:
        raise ConfigError(
            f"`lengths` must be one integer of at least 0 for each of {num_samples:,} samples; got {found}. "
            "Write lengths=[len(tokens) for tokens in dataset].",
            parameter="lengths",
            value=lengths,
        )
    return values.long()
