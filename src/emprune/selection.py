"""Selections of exactly k samples in O(N): by the highest scores, uniform, or by weights. Ties are broken at random."""

from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emprune.indexing import are_all

__all__ = [
    "exponential_noise",
    "sample",
    "sample_mask",
    "sample_weighted",
    "sample_weighted_mask",
    "top_k",
    "top_k_mask",
]

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]

_HALF_STEP = 2.0**-25
"""Half of the step between two uniform draws of float32: what a draw of 0 counts as."""


def top_k(scores: Tensor, k: int, *, generator: torch.Generator, among: Tensor | None = None) -> Tensor:
    """Return the positions of the k highest scores, with ties at the k-th score broken at random.

    A partition finds the k-th highest score (introselect, O(N)). Two comparisons find the scores above it and those
    equal to it. The missing ones are drawn at random from those equal to it, never by position.

    Args:
        scores: (N,) float, without NaN.
        k: How many, at most the number of candidates.
        generator: Breaks the ties.
        among: (N,) bool, the candidates; None for all.

    Returns:
        (k,) int64 positions, in no particular order.

    Example:
        >>> top_k(torch.tensor([0.1, 0.9, 0.5]), 2, generator=torch.Generator()).tolist()
        [1, 2]
    """
    if k == 0:
        return torch.empty(0, dtype=torch.int64)
    above, ties = _cut(scores, k, generator, among)
    return torch.from_numpy(np.concatenate([np.flatnonzero(above), ties]))


def top_k_mask(scores: Tensor, k: int, *, generator: torch.Generator, among: Tensor | None = None) -> Tensor:
    """Return the selection of `top_k` as (N,) bool: one byte per sample, where k positions may cost sixteen.

    Example:
        >>> top_k_mask(torch.tensor([0.1, 0.9, 0.5]), 2, generator=torch.Generator()).tolist()
        [False, True, True]
    """
    if k == 0:
        return torch.zeros(len(scores), dtype=torch.bool)
    mask, ties = _cut(scores, k, generator, among)
    mask[ties] = True
    return torch.from_numpy(mask)


def sample(num_samples: int, k: int, *, generator: torch.Generator, among: Tensor | None = None) -> Tensor:
    """Return k positions drawn uniformly and without replacement, in no particular order.

    Args:
        num_samples: N.
        k: How many, at most the number of candidates.
        generator: Draws them.
        among: (N,) bool, the candidates; None for all.

    Returns:
        (k,) int64 positions.

    Example:
        >>> sample(3, 3, generator=torch.Generator()).sort().values.tolist()
        [0, 1, 2]
    """
    return top_k(_draws(num_samples, generator), k, generator=generator, among=among)


def sample_mask(num_samples: int, k: int, *, generator: torch.Generator, among: Tensor | None = None) -> Tensor:
    """Return the selection of `sample` as (N,) bool.

    Example:
        >>> sample_mask(3, 3, generator=torch.Generator()).tolist()
        [True, True, True]
    """
    return top_k_mask(_draws(num_samples, generator), k, generator=generator, among=among)


def sample_weighted(weights: Tensor, k: int, *, generator: torch.Generator) -> Tensor:
    """Return k positions drawn by weights and without replacement, in no particular order.

    One sample is drawn after another, each in proportion to the weights of those that are left. The k smallest e / w
    are such a draw, with e exponential noise (Efraimidis and Spirakis 2006; Kool et al. 2019, arXiv 1903.06059).

    Args:
        weights: (N,) float, at least 0; only their ratios count. Those of 0 are drawn after all others.
        k: How many, at most N.
        generator: Draws them.

    Returns:
        (k,) int64 positions.

    Example:
        >>> sample_weighted(torch.tensor([1.0, 1e9, 1.0]), 1, generator=torch.Generator()).tolist()
        [1]
    """
    return top_k(_weighted_keys(weights, generator), k, generator=generator)


def sample_weighted_mask(weights: Tensor, k: int, *, generator: torch.Generator) -> Tensor:
    """Return the selection of `sample_weighted` as (N,) bool.

    Example:
        >>> sample_weighted_mask(torch.tensor([1.0, 1e9, 1.0]), 1, generator=torch.Generator()).tolist()
        [False, True, False]
    """
    return top_k_mask(_weighted_keys(weights, generator), k, generator=generator)


def exponential_noise(num_samples: int, generator: torch.Generator) -> Tensor:
    """Return (N,) float32 exponential noise, above 0. Minus its logarithm is Gumbel noise.

    Example:
        >>> bool((exponential_noise(3, torch.Generator()) > 0).all())
        True
    """
    uniform = torch.rand(num_samples, generator=generator, dtype=torch.float32)
    return uniform.neg_().log1p_().neg_().clamp_(min=_HALF_STEP)


def _weighted_keys(weights: Tensor, generator: torch.Generator) -> Tensor:
    return exponential_noise(len(weights), generator).div_(weights).neg_()


def _draws(num_samples: int, generator: torch.Generator) -> Tensor:
    return torch.rand(num_samples, generator=generator, dtype=torch.float32)


def _cut(
    scores: Tensor, k: int, generator: torch.Generator, among: Tensor | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return the mask of the candidates above the k-th highest, and the places drawn from those equal to it."""
    values: FloatArray = scores.numpy()
    mask = None if among is None or are_all(among) else among.numpy()
    threshold = _kth_highest(values.copy() if mask is None else values[mask], k)
    above, equal = values > threshold, values == threshold
    if mask is not None:
        above &= mask
        equal &= mask
    ties = np.flatnonzero(equal)
    num_ties = k - int(np.count_nonzero(above))
    if num_ties < len(ties):
        ties = ties[torch.randperm(len(ties), generator=generator)[:num_ties].numpy()]
    return above, ties


def _kth_highest(values: FloatArray, k: int) -> np.floating[Any]:
    """Return the k-th highest of (N,) values, in O(N); they are reordered.

    NumPy's partition is the fastest if values differ. It is twenty times slower if most of them are equal, such
    as losses of exactly 0. So a value that dominates a sample of about a thousand is removed first.
    """
    while len(values) >= 100_000:
        distinct, counts = np.unique(values[:: len(values) // 1024 + 1], return_counts=True)
        if 4 * counts.max() < counts.sum():
            break
        common = distinct[counts.argmax()]
        above = values[values > common]
        if k <= len(above):
            values = above
            continue
        below = values[values < common]
        if k <= len(values) - len(below):
            return cast("np.floating[Any]", common)
        values, k = below, k - (len(values) - len(below))
    values.partition(len(values) - k)
    return cast("np.floating[Any]", values[len(values) - k])
