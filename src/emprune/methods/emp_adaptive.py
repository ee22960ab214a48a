"""AdaptiveEMP: EMP whose pool widens as the data come to be remembered. Ours, experimental."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.methods.base import Selection, SelectionContext
from emprune.methods.emp import MemoryScored, best_of_pool
from emprune.stats import Column, SampleStats

__all__ = ["AdaptiveEMP"]

_RATE = 0.5
"""Weight of the newest visit in a sample's confidence."""


@dataclass(frozen=True)
class AdaptiveEMP(MemoryScored):
    r"""Keep the highest loss + beta · memory of a pool as wide as what is remembered.

    A sample's confidence a is the running mean of the probability its label was given, p = exp(-loss):
    a <- (a + p) / 2, on the first visit p. With r the share of the seen samples whose confidence is above `threshold`,
    the K best of m · K candidates drawn uniformly are kept,

    .. math:: m = 1 + (m_{max} - 1) \, r^\gamma

    so that nothing is ranked while little is remembered (m = 1 is random, which covers the data), and the score decides
    once repeats would be wasted.

    Args:
        beta: Weight of the memory term, finite and at least 0.
        memory: The term, as in `EMP`.
        max_pool: The pool's width once all is remembered, m_max, finite and at least 1, in candidates per kept sample.
        threshold: The confidence above which a sample counts as remembered, in [0, 1).
        gamma: How late the pool widens, finite and above 0; 1 is in proportion.
        replay: Instead of looking at the confidence, the widths of the pool from the run's start to its end, evenly
            spaced over the visits, linear in between, and separated by slashes: ``"1/1.5/3"``. The ablation.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Ours, a hypothesis under test; EMP's paper has no pool. That the labels' probability is exp(-loss) holds for the
        plain cross-entropy of one prediction: pass it as `score_losses` where the optimised loss is smoothed.
    """

    max_pool: float = 4.0
    threshold: float = 0.5
    gamma: float = 1.0
    replay: str | None = None
    name: ClassVar[str] = "emp-adaptive"
    columns: ClassVar[tuple[Column, ...]] = (
        *MemoryScored.columns,
        Column("confidence", "running mean of the label's probability, exp(-loss)"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.max_pool) and self.max_pool >= 1):
            raise ConfigError(
                f"`max_pool` must be finite and at least 1, candidates per kept sample: got max_pool={self.max_pool}."
            )
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"`threshold` must be in [0, 1), a probability: got threshold={self.threshold}.")
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ConfigError(f"`gamma` must be finite and above 0, an exponent: got gamma={self.gamma}.")
        if self.replay is not None and not all(width >= 1 for width in _widths(self.replay)):
            raise ConfigError(
                "`replay` must be widths of the pool of at least 1, separated by slashes as in '1/1.5/3': "
                f"got replay={self.replay!r}."
            )

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        """Move the confidence towards the newest probability; the first one starts it."""
        probability = new["loss"].neg().exp_()
        confidence = torch.lerp(old["confidence"], probability, _RATE)
        return {"memory": new["memory"], "confidence": torch.where(first, probability, confidence)}

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k of a pool as wide as what is remembered."""
        if self.replay is not None:
            widths = _widths(self.replay)
            return best_of_pool(context, float(np.interp(context.progress, np.linspace(0, 1, len(widths)), widths)))
        return best_of_pool(context, self._pool(self._remembered(context.stats, context.seen, context.num_seen)))

    def details(self, stats: SampleStats) -> Mapping[str, float]:
        """Return the share of the seen that is remembered, and the pool that follows from it."""
        seen = stats.seen
        remembered = self._remembered(stats, seen, int(seen.count_nonzero()))
        return {"remembered": remembered} | ({} if self.replay else {"pool": self._pool(remembered)})

    def _remembered(self, stats: SampleStats, seen: Tensor, num_seen: int) -> float:
        remembered = stats["confidence"] > self.threshold
        return int(remembered.logical_and_(seen).count_nonzero()) / max(1, num_seen)

    def _pool(self, remembered: float) -> float:
        return 1 + (self.max_pool - 1) * float(remembered**self.gamma)


def _widths(replay: str) -> list[float]:
    try:
        return [float(width) for width in replay.split("/")]
    except ValueError:
        return [math.nan]
