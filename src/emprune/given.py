"""Arrays as people give them: a sequence, NumPy's or torch's."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_tensor", "is_integer"]


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


def is_integer(values: Tensor) -> bool:
    """Return whether a tensor holds integers: no fractions, and not True and False.

    Example:
        >>> is_integer(torch.tensor([1])), is_integer(torch.tensor([True]))
        (True, False)
    """
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
