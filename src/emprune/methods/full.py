"""Full: everything, every epoch."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from emprune.errors import ConfigError
from emprune.methods.base import Method, Selection, SelectionContext

__all__ = ["Full"]


@dataclass(frozen=True)
class Full(Method):
    """Visit every sample in every epoch: training without pruning, `keep=1`.

    Example:
        >>> Full().settings()
        {}
    """

    name: ClassVar[str] = "full"
    scores: ClassVar[bool] = False

    def check(self, *, num_samples: int, keep: float | None) -> None:
        """Raise ConfigError unless `keep` is 1."""
        if keep != 1:
            raise ConfigError(
                f"Full visits everything, so `keep` must be 1: got {keep=}. To prune, choose another method."
            )

    def select(self, context: SelectionContext) -> Selection:
        """Choose all; the engine itself delivers full epochs, so this is only reached by a direct call."""
        return Selection(torch.arange(context.num_samples))
