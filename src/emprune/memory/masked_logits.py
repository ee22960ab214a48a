"""A model's outputs where a sample is many predictions, not all of which count."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MaskedLogits"]


@dataclass(frozen=True, eq=False)
class MaskedLogits:
    """A model's outputs where a sample is a sequence of predictions, not all of which count.

    Observed in place of the logits, ``pruner.reduce(index, losses, MaskedLogits(logits, labels != -100))``, it brings
    the mask to the memory term.

    Args:
        logits: (B, T, C) float.
        mask: (B, T) bool or 0/1, the positions that count.
    """

    logits: Tensor
    mask: Tensor

    @property
    def shape(self) -> torch.Size:
        """The logits' shape."""
        return self.logits.shape
