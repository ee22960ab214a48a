"""The entropy of a softmax, which two memory terms are made of."""

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


def softmax_entropy(logits: Tensor) -> Tensor:
    """Return (M,) float32 entropies in nats of softmax(logits), for (M, C) float logits of any size."""
    if logits.numel() <= CHUNK_ELEMENTS:
        return _entropy(logits)
    return torch.cat([_entropy(chunk) for chunk in logits.split(rows_at_once(logits.shape[1]))])


def _entropy(logits: Tensor) -> Tensor:
    # No summand of sum(p * log p) is positive, so nothing cancels. A class masked out would give 0 * -inf: its
    # logarithm is made finite, which changes nothing where p has long been 0; a NaN stays one.
    with torch.autocast(logits.device.type, enabled=False):  # which would take the products in half precision
        log_p = torch.log_softmax(logits, -1, dtype=torch.float32).clamp_(min=_LEAST_LOG)
        entropy: Tensor = torch.linalg.vecdot(log_p.exp(), log_p).neg_()
    return entropy
