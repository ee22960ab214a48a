"""Seeded, class-balanced subsets. Their seeds are fixed here: every run, whatever its own seed, sees the same data."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.randomness import derive_seed
from emprune_lab.data.distort import long_tail, with_label_noise
from emprune_lab.tasks.task import Split, Splits, X

__all__ = ["divide", "drawn", "stratified_order"]

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


def divide(
    splits: Splits[X],
    *,
    train_size: int | None = None,
    validation: float = 0.0,
    imbalance: float = 1.0,
    label_noise: float = 0.0,
) -> Splits[X]:
    """Return the splits with a smaller or harder training set, and a validation set split off it.

    In this order: the subset, the long tail, the validation part, the wrong labels. So the validation part has the
    training set's classes in its proportions, and correct labels, and the test set is never touched.

    Args:
        splits: The whole data.
        train_size: Training samples to keep, validation included; None keeps all.
        validation: Share of those that is not trained on but scored, in [0, 1).
        imbalance: Largest class over smallest, >= 1.
        label_noise: Share of wrong labels in what is trained on, in [0, 1).

    Raises:
        ConfigError: If there are fewer training samples than `train_size`, or a part would be empty.
    """
    train = splits.train
    if train_size is not None:
        if not 1 <= train_size <= len(train):
            raise ConfigError(f"`train_size` must be between 1 and {len(train)}, the training data; got {train_size=}.")
        train = train.take(stratified_order(train.y, seed=SUBSET_SEED)[:train_size])
    if imbalance != 1:
        train = train.take(long_tail(train.y, imbalance))
    num_classes = int(splits.train.y.max()) + 1  # also those that a small subset has none of
    if validation == 0:
        return Splits(_noisy(train, label_noise, num_classes), splits.test, classes=splits.classes)
    num_held = round(validation * len(train))
    if not 0 < num_held < len(train):
        raise ConfigError(
            f"`validation` leaves one part empty: {num_held} of {len(train)} samples, got {validation=}. "
            "Use 0 for none, or a larger share."
        )
    order = stratified_order(train.y, seed=VALIDATION_SEED)
    trained, held = train.take(order[num_held:]), train.take(order[:num_held])
    return Splits(_noisy(trained, label_noise, num_classes), splits.test, held, splits.classes)


def drawn(num_samples: int, *, fraction: float = 1.0, leave_out: int = 0, seed: int) -> Tensor:
    """Return which of the training samples a run trains on that draws its own: unlike `divide`, by the run's seed.

    Args:
        num_samples: Those there are.
        fraction: The share that is drawn, in (0, 1].
        leave_out: How many of those are left out again, >= 0.
        seed: The run's.

    Returns:
        (K,) int64, ascending.

    Raises:
        ConfigError: If that is none.

    Example:
        >>> len(drawn(10, fraction=0.7, seed=0)), len(drawn(10, leave_out=1, seed=0))
        (7, 9)
    """
    size = round(fraction * num_samples) - leave_out
    if size < 1:
        rest = f" and leave_out={leave_out}" if leave_out else ""
        raise ConfigError(
            f"`subset_fraction` leaves nothing of {num_samples} samples; got subset_fraction={fraction}{rest}."
        )
    if fraction < 1 and size == num_samples:
        raise ConfigError(
            f"`subset_fraction` leaves out none of {num_samples} samples; got subset_fraction={fraction}. Lower it, or "
            "leave it at 1."
        )
    # Not the run's seed itself, which may be that of the label noise: then all the wrong ones would be drawn, or none.
    random = np.random.default_rng(derive_seed(seed, "subset"))
    return torch.from_numpy(np.sort(random.permutation(num_samples)[:size]))


def _noisy(split: Split[X], fraction: float, num_classes: int) -> Split[X]:
    if fraction == 0:
        return split
    return dataclasses.replace(split, y=with_label_noise(split.y, fraction, num_classes=num_classes))
