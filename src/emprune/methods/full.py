"""Full: everything, every epoch."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from emprune.errors import ConfigError
from emprune.methods.base import Method, Selection, SelectionContext

__all__ = ["Full"]


@dataclass(frozen=True)
class Full(Method):
    """Visit every sample in every epoch: training without pruning, at `keep=1`, which need not be given.

    Example:
        >>> Full().settings()
        {}
    """

    name: ClassVar[str] = "full"
    scores: ClassVar[bool] = False
    default_keep: ClassVar[float | None] = 1.0
    takes_weights: ClassVar[bool] = False

    def check(self, *, num_samples: int, keep: float) -> None:
        """Raise ConfigError unless `keep` is 1."""
        if keep != 1:
            raise ConfigError(
                f"Full visits everything, so `keep` must be 1; got {keep=}. Leave it out, or choose another method."
            )

    def select(self, context: SelectionContext) -> Selection:
        """Choose all; the engine itself delivers full epochs, so this is only reached by a direct call."""
        return Selection(torch.arange(context.num_samples))
