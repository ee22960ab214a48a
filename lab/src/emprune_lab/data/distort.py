"""Harder versions of a training set, the same for every run: wrong labels, rare classes."""

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError

__all__ = ["long_tail", "with_label_noise"]

NOISE_SEED = 3
TAIL_SEED = 4


def with_label_noise(y: Tensor, fraction: float, *, num_classes: int) -> Tensor:
    """Return labels of which a fixed share is wrong: drawn uniformly from the other classes (symmetric noise).

    Smaller shares are part of larger ones.

    Args:
        y: Labels (N,) int64.
        fraction: Share of wrong labels, in [0, 1).
        num_classes: Classes C, at least 2.

    Raises:
        ConfigError: If so small a share of so few labels is none of them.

    Example:
        >>> y = torch.zeros(10, dtype=torch.int64)
        >>> int((with_label_noise(y, 0.3, num_classes=5) != y).sum())
        3
    """
    num_wrong = round(fraction * len(y))
    if fraction > 0 and num_wrong == 0:
        raise ConfigError(
            f"`label_noise` must make at least one label wrong; got label_noise={fraction} of {len(y)} samples. "
            "Raise it, or leave it out."
        )
    random = np.random.default_rng(NOISE_SEED)
    wrong = torch.from_numpy(random.permutation(len(y))[:num_wrong])
    offset = torch.from_numpy(random.integers(1, num_classes, len(y)))
    noisy = y.clone()
    noisy[wrong] = (y[wrong] + offset[wrong]) % num_classes
    return noisy


def long_tail(y: Tensor, ratio: float) -> Tensor:
    """Return which samples make a long-tailed subset: class sizes fall off exponentially, first to last.

    The profile of Cui et al. 2019: class c keeps n · ratio^(-c / (C - 1)) of its n samples, drawn at random.

    Args:
        y: Labels (N,) int64.
        ratio: Largest class over smallest, at least 1.

    Returns:
        Positions (M,) int64, in the order of `y`.

    Raises:
        ConfigError: If a class would be left without a sample.

    Example:
        >>> y = torch.arange(3).repeat(100)
        >>> y[long_tail(y, 25)].bincount().tolist()
        [100, 20, 4]
    """
    sizes = y.bincount()
    shares = ratio ** (-torch.arange(len(sizes), dtype=torch.float64) / max(1, len(sizes) - 1))
    wanted = (sizes * shares).round().long()
    if bool((wanted[sizes > 0] == 0).any()):
        raise ConfigError(f"`imbalance` leaves a class without a sample; got imbalance={ratio}. Lower it.")
    random = np.random.default_rng(TAIL_SEED)
    kept = [random.permutation(np.flatnonzero(y.numpy() == c))[: int(wanted[c])] for c in range(len(sizes))]
    return torch.from_numpy(np.sort(np.concatenate(kept)))
