"""The library's own randomness: every draw is a function of (seed, purpose, epoch), and of nothing else."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from numpy import random as numpy_random  # loaded here: a worker seeds it, and must not import it just after a fork

__all__ = ["derive_generator", "derive_seed", "random_order", "untouched"]


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Hash a run's seed, a purpose and any numbers (an epoch, a batch) into a 63-bit seed.

    Example:
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1)
        True
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 2)
        False
    """
    text = "/".join([purpose, str(seed), *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """Return a new CPU generator seeded by `derive_seed`. The global generators are neither read nor seeded."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


def random_order(num: int, generator: torch.Generator) -> torch.Tensor:
    """Return (num,) a random order, int32 where that can hold it: the order of int64, made faster.

    Example:
        >>> random_order(5, derive_generator(0, "order")).tolist()
        [2, 3, 0, 1, 4]
    """
    dtype = torch.int32 if num <= torch.iinfo(torch.int32).max else torch.int64
    return torch.randperm(num, generator=generator, dtype=dtype)


@contextmanager
def untouched() -> Iterator[None]:
    """Restore the states of the global CPU generators of Python, NumPy and torch after a block."""
    of_python, of_numpy = random.getstate(), numpy_random.get_state()  # noqa: NPY002 - the user's transforms draw from it
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(of_python)
        numpy_random.set_state(of_numpy)  # noqa: NPY002
