"""StaticRandom: one uniform subset for the whole run."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from emprune.methods.base import Method, Selection, SelectionContext

__all__ = ["StaticRandom"]


@dataclass(frozen=True)
class StaticRandom(Method):
    """Draw one uniform subset before training and keep to it.

    Where the epochs' sizes differ by rounding, the smaller epoch's samples are among the larger one's.
    """

    name: ClassVar[str] = "static-random"
    scores: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = False

    def select(self, context: SelectionContext) -> Selection:
        """Choose the head of one permutation of the data."""
        order = torch.randperm(context.num_samples, generator=context.generator("subset"))
        return Selection(order[: context.num_kept])
