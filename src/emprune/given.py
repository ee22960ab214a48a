"""Arrays as people give them: a sequence, NumPy's or torch's."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune.indexing import positions_of

__all__ = ["PositionsLike", "as_positions", "as_tensor", "is_integer"]


PositionsLike: TypeAlias = Sequence[int] | NDArray[Any] | Tensor
"""Positions of samples, or True and False for each of them."""
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Of these torch can compute next to nothing."""


def as_tensor(values: Any) -> tuple[Tensor, str]:
    """Return a copy of values on the CPU, empty if they are no numbers, and what they are, for an error.

    Example:
        >>> as_tensor([3, 1])
        (tensor([3, 1]), '(2,) int64')
    """
    try:
        if isinstance(values, Tensor):
            tensor = values.detach().cpu().clone()
        else:
            array = np.asarray(values)
            tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    except (TypeError, ValueError):
        return torch.empty(0), "no numbers"
    if tensor.dtype in _UNSIGNED:
        tensor = tensor.long()
    if not tensor.numel():
        return tensor, "none"
    return tensor, f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def as_positions(values: Any, num_samples: int) -> tuple[Tensor, str | None]:
    """Return positions, (M,) int64, or those where (N,) is True; and what is wrong with them, or None.

    Example:
        >>> as_positions([3, 1], 4), as_positions([False, True], 2), as_positions([4, 1], 4)[1]
        ((tensor([3, 1]), None), (tensor([1]), None), '1 to 4')
    """
    given, found = as_tensor(values)
    if given.dtype == torch.bool and given.shape == (num_samples,):
        return positions_of(given), None
    if given.shape == (0,) and found == "none":
        return given.long(), None
    if given.ndim != 1 or not is_integer(given):
        return given, found
    ascending = given.long().sort().values
    if int(ascending[0]) < 0 or int(ascending[-1]) >= num_samples:
        return given, f"{int(ascending[0])} to {int(ascending[-1])}"
    twice = ascending[:-1][ascending.diff() == 0]
    return given.long(), f"{int(twice[0])} twice" if len(twice) else None


def is_integer(values: Tensor) -> bool:
    """Return whether a tensor holds integers: no fractions, and not True and False.

    Example:
        >>> is_integer(torch.tensor([1])), is_integer(torch.tensor([True]))
        (True, False)
    """
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
