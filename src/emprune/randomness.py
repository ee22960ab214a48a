"""The library's own randomness: every draw is a function of (seed, purpose, epoch) and of nothing else."""

import hashlib

import torch

__all__ = ["derive_generator", "derive_seed"]


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
    """Return a fresh CPU generator seeded by `derive_seed`; the global generators are neither read nor seeded."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))
