"""Parts of data, and harder versions of it. Their seeds are fixed here: every run, whatever its own, sees the same.

Only what `drawn` draws is decided by the run's own seed.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.randomness import derive_seed
from emprune_lab.data.splits import Split, Splits, X

__all__ = ["divide", "drawn", "long_tail", "steady_order", "stratified_order", "with_label_noise", "with_test_part"]

TEST_SEED, SUBSET_SEED, VALIDATION_SEED, NOISE_SEED, TAIL_SEED = range(5)


def stratified_order(y: Tensor, *, seed: int) -> Tensor:
    """Return a random order (N,) of samples with labels (N,), in which every beginning has the classes in proportion.

    Subsets taken from the front are therefore nested: the first 1,000 are part of the first 2,000. The order comes from
    NumPy's generator, the same on all platforms.

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


def steady_order(y: Tensor, *, seed: int) -> Tensor:
    """Return an order as `stratified_order` does, in which a label that is corrected moves few other samples.

    Each sample draws its place among those of its class by its position alone.

    Example:
        >>> y = torch.arange(1000) % 4
        >>> corrected = torch.where(torch.arange(1000) == 17, 0, y)
        >>> before, after = (set(steady_order(labels, seed=0)[:200].tolist()) for labels in (y, corrected))
        >>> len(before & after) >= 198
        True
    """
    draws, ties = np.random.default_rng(seed).random((2, len(y)))
    labels = y.cpu().numpy()
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members[np.argsort(draws[members])]] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(np.lexsort((ties, place)))


def with_test_part(
    everything: Split[X],
    *,
    one_in: int,
    classes: Sequence[str] | None = None,
    order: Callable[..., Tensor] = stratified_order,
) -> Splits[X]:
    """Return data that come without a test part as splits: one sample in so many is for testing, stratified."""
    chosen = order(everything.y, seed=TEST_SEED)
    num_test = -(-len(chosen) // one_in)
    return Splits(everything.take(chosen[num_test:]), everything.take(chosen[:num_test]), classes=classes)


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
    train, held = splits.train, None
    num_classes = int(train.y.max()) + 1  # also those that a small subset has none of
    if train_size is not None:
        if not 1 <= train_size <= len(train):
            raise ConfigError(f"`train_size` must be between 1 and {len(train)}, the training data; got {train_size=}.")
        train = train.take(stratified_order(train.y, seed=SUBSET_SEED)[:train_size])
    if imbalance != 1:
        train = train.take(long_tail(train.y, imbalance))
    if validation != 0:
        num_held = round(validation * len(train))
        if not 0 < num_held < len(train):
            raise ConfigError(
                f"`validation` leaves one part empty: {num_held} of {len(train)} samples, got {validation=}. "
                "Use 0 for none, or a larger share."
            )
        order = stratified_order(train.y, seed=VALIDATION_SEED)
        train, held = train.take(order[num_held:]), train.take(order[:num_held])
    if label_noise != 0:
        train = dataclasses.replace(train, y=with_label_noise(train.y, label_noise, num_classes=num_classes))
    return Splits(train, splits.test, held, splits.classes)


def drawn(num_samples: int, *, fraction: float = 1.0, leave_out: int = 0, seed: int) -> Tensor:
    """Return which of the training samples (K,), ascending, a run trains on that draws its own, by its own seed.

    Args:
        num_samples: Those there are.
        fraction: The share that is drawn, in (0, 1].
        leave_out: How many of those are left out again, >= 0.
        seed: The run's.

    Raises:
        ConfigError: If that is none.

    Example:
        >>> len(drawn(10, fraction=0.7, seed=0)), len(drawn(10, leave_out=1, seed=0))
        (7, 9)
    """
    size = round(fraction * num_samples) - leave_out
    if size < 1:
        name = "leave_out" if leave_out else "subset_fraction"
        got = f"{leave_out=}, subset_fraction={fraction}" if leave_out else f"subset_fraction={fraction}"
        raise ConfigError(f"`{name}` must leave a sample to train on, of {num_samples}; got {got}.")
    if fraction < 1 and size == num_samples:
        raise ConfigError(
            f"`subset_fraction` leaves out none of {num_samples} samples; got subset_fraction={fraction}. Lower it, or "
            "leave it at 1."
        )
    # Not the run's seed itself, which may be that of the label noise: then all the wrong ones would be drawn, or none.
    random = np.random.default_rng(derive_seed(seed, "subset"))
    return torch.from_numpy(np.sort(random.permutation(num_samples)[:size]))


def with_label_noise(y: Tensor, fraction: float, *, num_classes: int) -> Tensor:
    """Return labels (N,) with a fixed share, in [0, 1), of wrong ones, drawn uniformly from the other classes.

    Smaller shares are part of larger ones.

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
    """Return which samples (M,) of those with labels (N,) make a long-tailed subset, in their order.

    The profile is that of Cui et al. 2019: class c keeps n · ratio^(-c / (C - 1)) of its n samples, drawn at random. So
    `ratio` is the largest class over the smallest.

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
