"""An epoch's samples, shared out among groups: in proportion, within bounds, in whole numbers that add up."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["shared_out"]


def shared_out(size: int, shares: Tensor, *, least: Tensor, most: Tensor, generator: torch.Generator) -> Tensor:
    """Return whole numbers in proportion to shares, but within bounds, that add up to a size.

    The real quotas are λ · share, held within the bounds, with the λ at which they add up. What is behind the point is
    rounded up or down at random by systematic sampling. So the mean of many epochs is the real quota.

    Args:
        size: What they add up to, between the sums of `least` and `most`.
        shares: (G,) float64, above 0.
        least: (G,) int64.
        most: (G,) int64, at least `least`.
        generator: Rounds.

    Returns:
        (G,) int64.

    Example:
        >>> groups = {"least": torch.tensor([0, 0, 0]), "most": torch.tensor([500, 500, 100])}
        >>> shared_out(600, torch.ones(3, dtype=torch.float64), **groups, generator=torch.Generator()).tolist()
        [250, 250, 100]
    """
    real = _real_quotas(size, shares.numpy(), least.numpy(), most.numpy())
    whole = np.floor(real).astype(np.int64)
    num_missing = size - int(whole.sum())
    if num_missing:
        whole += _systematic(real - whole, num_missing, generator)
    return torch.from_numpy(whole)


def _real_quotas(
    size: int, shares: NDArray[np.float64], least: NDArray[np.int64], most: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the quotas before they are rounded.

    Each round holds at its bound what lies beyond it: below, if that adds too much, and otherwise above. What is held
    stays so, because λ moves the other way; there are at most G rounds, and few in practice.
    """
    quotas = np.zeros(len(shares))
    free = np.ones(len(shares), dtype=bool)
    left = float(size)
    while free.any():
        wished = shares[free] * (left / shares[free].sum())
        held = np.clip(wished, least[free], most[free])
        excess = held.sum() - left
        beyond = (held > wished) if excess > 0 else (held < wished)
        if not beyond.any() or abs(excess) < 1e-9 * max(1.0, left):
            quotas[free] = held
            break
        positions = np.flatnonzero(free)[beyond]
        quotas[positions] = held[beyond]
        left -= held[beyond].sum()
        free[positions] = False
    nearest = np.rint(quotas)
    return np.where(np.abs(quotas - nearest) < 1e-9 * np.maximum(1.0, nearest), nearest, quotas)


def _systematic(chances: NDArray[np.float64], num_drawn: int, generator: torch.Generator) -> NDArray[np.int64]:
    """Return 1 for so many of the groups, each with its chance of at most 1, and 0 for the others."""
    order = torch.randperm(len(chances), generator=generator).numpy()
    sums = chances[order].cumsum()
    sums *= num_drawn / sums[-1]
    marks = np.floor(sums + torch.rand(1, generator=generator, dtype=torch.float64).item())
    marks[-1] = num_drawn  # whatever the rounding of the sums says
    drawn = np.empty(len(chances), dtype=np.int64)
    drawn[order] = np.diff(marks, prepend=0).astype(np.int64)
    return drawn
