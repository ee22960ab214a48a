"""Seeded, class-balanced subsets. Their seeds are fixed here: every run, whatever its own seed, sees the same data."""

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.lab.tasks.base import Splits

__all__ = ["divide", "stratified_order"]

SUBSET_SEED = 1
VALIDATION_SEED = 2


def stratified_order(y: Tensor, *, seed: int) -> Tensor:
    """Return a random order of the samples in which every beginning holds the classes in proportion.

    Subsets taken from the front are therefore nested: the first 1,000 are part of the first 2,000.

    Args:
        y: Labels (N,) int64.
        seed: Where the order comes from; NumPy's generator, the same on all platforms.

    Returns:
        A permutation (N,) int64.

    Example:
        >>> y = torch.tensor([0] * 6 + [1] * 2)
        >>> y[stratified_order(y, seed=0)[:4]].bincount().tolist()
        [3, 1]
    """
    random = np.random.default_rng(seed)
    labels = y.cpu().numpy()
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    shuffled = random.permutation(len(labels))  # ties between classes are broken at random
    return torch.from_numpy(shuffled[np.argsort(position[shuffled], kind="stable")])


def divide(splits: Splits, *, train_size: int | None, validation: float) -> Splits:
    """Return the splits with a smaller training set, and a validation set split off it.

    Args:
        splits: The whole data.
        train_size: Training samples to keep, validation included; None keeps all.
        validation: Share of those that is not trained on but scored, in [0, 1).

    Raises:
        ConfigError: If there are fewer training samples than `train_size`, or a part would be empty.
    """
    train = splits.train
    if train_size is not None:
        if not 1 <= train_size <= len(train):
            raise ConfigError(f"`train_size` must be between 1 and {len(train)}, the training data: got {train_size=}.")
        train = train.take(stratified_order(train.y, seed=SUBSET_SEED)[:train_size])
    if validation == 0:
        return Splits(train, splits.test)
    num_held = round(validation * len(train))
    if not 0 < num_held < len(train):
        raise ConfigError(
            f"`validation` leaves one part empty: {num_held} of {len(train)} samples, got {validation=}. "
            "Use 0 for none, or a larger share."
        )
    order = stratified_order(train.y, seed=VALIDATION_SEED)
    return Splits(train.take(order[num_held:]), splits.test, train.take(order[:num_held]))
