"""Logits of many predictions per sample, and which of the predictions count."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

__all__ = ["MaskedLogits"]


@dataclass(frozen=True, eq=False)
class MaskedLogits:
    """Logits of many predictions per sample, with the mask of those that count.

    Observe it instead of the logits, ``loader.reduce(index, losses, MaskedLogits(logits, labels != -100))``. The memory
    term then gets the mask too.

    Args:
        logits: (B, T, C) float of tokens, or (B, C, H, W), (B, C, D, H, W) of pixels.
        mask: (B, T) or (B, H, W), bool or 0/1, the predictions that count; None for all.
        class_dim: The dimension of the classes, as in `prediction_entropy`: 1 for (B, C, T).
        normalized: Whether the logits are log-probabilities, as float32 ``log_softmax`` gives them. They are then not
            normalised again, which is half of the work.
    """

    logits: Tensor
    mask: Tensor | None = None
    class_dim: Literal[1, -1] | None = field(default=None, kw_only=True)
    normalized: bool = field(default=False, kw_only=True)

    @property
    def shape(self) -> torch.Size:
        """The logits' shape."""
        return self.logits.shape

    def __repr__(self) -> str:
        mask = "" if self.mask is None else f", mask {tuple(self.mask.shape)}"
        where = "" if self.class_dim is None else f", class_dim={self.class_dim}"
        kind = ", normalized" if self.normalized else ""
        return f"MaskedLogits({tuple(self.shape)} {self.logits.dtype}{mask}{where}{kind})"
