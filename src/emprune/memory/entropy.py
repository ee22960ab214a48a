"""The entropy of a softmax, which two memory terms use."""

import torch
from torch import Tensor

__all__ = ["rows_at_once", "softmax_entropy"]

CHUNK_ELEMENTS = 1 << 24
"""Logits turned into float32 probabilities at a time: 64 MiB, whatever B · T · C is."""
CACHED_ELEMENTS = 1 << 18
"""The same on a CPU: what its cache holds, 1 MiB, is read again several times quicker than memory."""

_LEAST_LOG = -200.0
"""Below the logarithm of the smallest float32."""


def rows_at_once(row_size: int) -> int:
    """Return how many rows of so many elements are taken together."""
    return max(1, CHUNK_ELEMENTS // max(1, row_size))


def softmax_entropy(logits: Tensor, class_dim: int = -1, *, normalized: bool = False) -> Tensor:
    """Return the float32 entropy in nats of each softmax over `class_dim`, in the shape of the other dimensions.

    Args:
        logits: (..., C, ...) float.
        class_dim: The dimension of the classes.
        normalized: Whether they are log-probabilities.
    """
    class_dim %= logits.ndim
    elements = CACHED_ELEMENTS if logits.is_cpu else CHUNK_ELEMENTS
    if logits.numel() > elements:
        for dim, size in enumerate(logits.shape):
            if dim != class_dim and size > 1:
                rows = max(1, elements * size // logits.numel())
                entropies = [
                    softmax_entropy(part, class_dim, normalized=normalized) for part in logits.split(rows, dim)
                ]
                return torch.cat(entropies, dim - (class_dim < dim))
    # No summand of sum(p * log p) is positive, so nothing cancels. A class masked out would give 0 * -inf. So its
    # logarithm is made finite, which changes nothing because p is 0 there. A NaN stays a NaN.
    with torch.autocast(logits.device.type, enabled=False):  # which would take the products in half precision
        if normalized:
            log_p = logits.float().clamp(min=_LEAST_LOG)  # a copy: they are the user's, or the backward pass's
            p = torch.softmax(log_p, class_dim)  # on a CPU quicker than exp
        else:
            log_p = torch.log_softmax(logits, class_dim, dtype=torch.float32).clamp_(min=_LEAST_LOG)
            p = log_p.exp()
        entropy: Tensor = torch.linalg.vecdot(p, log_p, dim=class_dim).neg_()
    return entropy
