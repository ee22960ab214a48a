"""Values per sample that a method is given from outside the run: their checks, and their digest."""

import hashlib

import torch
from torch import Tensor

from emprune.errors import ConfigError

__all__ = ["check_length", "checked_values", "digest"]


def checked_values(name: str, values: Tensor) -> Tensor:
    """Return a copy of (N,) finite floats, on the CPU, in float32 or more.

    Raises:
        ConfigError: If it is not a finite (N,) float tensor.
    """
    if not isinstance(values, Tensor) or values.ndim != 1 or not values.is_floating_point():
        found = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
        raise ConfigError(f"`{name}` must be a float tensor of shape (N,); got {found}.")
    if values.layout != torch.strided or values.is_meta:
        found = "a meta tensor" if values.is_meta else str(values.layout)
        raise ConfigError(f"`{name}` must hold a value for each sample; got {found}. Pass a dense tensor.")
    values = values.detach().to(torch.promote_types(values.dtype, torch.float32)).cpu().clone()
    if not values.isfinite().all():
        raise ConfigError(
            f"`{name}` must be finite; got NaN or infinite values. Choose a number for each of those samples."
        )
    return values


def check_length(name: str, values: Tensor, num_samples: int) -> None:
    """Raise ConfigError unless there is one value per sample."""
    if len(values) != num_samples:
        raise ConfigError(f"`{name}` must have one value per sample; got {len(values)}, {num_samples=}.")


def digest(values: Tensor) -> str:
    """Return what a saved state keeps of the values, to tell them from others."""
    return hashlib.blake2b(values.numpy().tobytes(), digest_size=8).hexdigest()
