"""The entropy of a softmax, which two memory terms use."""

import torch
from torch import Tensor

__all__ = ["rows_at_once", "softmax_entropy"]

CHUNK_ELEMENTS = 1 << 24
"""Logits turned into float32 probabilities at a time: 64 MiB, whatever B · T · C is."""

_LEAST_LOG = -200.0
"""Below the logarithm of the smallest float32."""


def rows_at_once(row_size: int) -> int:
    """Return how many rows of so many elements are taken together."""
    return max(1, CHUNK_ELEMENTS // max(1, row_size))


def softmax_entropy(logits: Tensor, class_dim: int = -1) -> Tensor:
    """Return the float32 entropy in nats of each softmax over `class_dim`, in the shape of the other dimensions."""
    class_dim %= logits.ndim
    if logits.numel() > CHUNK_ELEMENTS:
        for dim, size in enumerate(logits.shape):
            if dim != class_dim and size > 1:
                parts = logits.split(rows_at_once(logits.numel() // size), dim)
                entropies = [softmax_entropy(part, class_dim) for part in parts]
                return torch.cat(entropies, dim - (class_dim < dim))
    # No summand of sum(p * log p) is positive, so nothing cancels. A class masked out would give 0 * -inf. So its
    # logarithm is made finite, which changes nothing because p is 0 there. A NaN stays a NaN.
    with torch.autocast(logits.device.type, enabled=False):  # which would take the products in half precision
        log_p = torch.log_softmax(logits, class_dim, dtype=torch.float32).clamp_(min=_LEAST_LOG)
        entropy: Tensor = torch.linalg.vecdot(log_p.exp(), log_p, dim=class_dim).neg_()
    return entropy
