"""SeTa: a window over the last losses that slides from easy to hard."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from emprune.checks import real_number, whole_number
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import sample, top_k, top_k_mask

__all__ = ["SeTa"]


@dataclass(frozen=True)
class SeTa(Method):
    """Draw K samples uniformly from a window of loss groups that slides from easy to hard.

    The seen samples form groups of equal size, by last loss. A window of them moves up by one group per epoch, and
    starts again at the easiest after the hardest.

    With G groups, the window of epoch e starts at group e mod (G - w + 1). Its width w is round(`window` · G), or more
    where that many hold fewer than K samples. At the end, after the share `delta` of the visits, the draw is from all
    seen samples. It remembers only the loss, and has no weights. Planning is O(N).

    Args:
        num_groups: G, at least 1.
        window: The window's share of the groups, in (0, 1]. 1 is random.
        delta: The share of the visits after which the draw is from all seen samples, in (0, 1].

    Raises:
        ConfigError: If a value is out of range.

    References:
        SeTa (Zhou, Gao and Wang, CVPR 2025, arXiv 2503.13385), with the defaults and the window of its code. There a
        random share is drawn first, and its window is kept as a whole; the end draws that share of all. Its script for
        CIFAR-100 has 5 groups and a window of 0.9. Ours: exactly K of the window, so the share follows from K. Ours:
        groups by quantiles instead of k-means, and an end that is counted in visits instead of epochs.
    """

    num_groups: int = 10
    window: float = 0.5
    delta: float = 0.875
    name: ClassVar[str] = "seta"

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_groups", whole_number("num_groups", self.num_groups, least=1))
        for name, meaning in (
            ("window", "the window's share of the groups"),
            ("delta", "the share of the visits before the draw from all"),
        ):
            object.__setattr__(self, name, real_number(name, getattr(self, name), above=0, most=1, meaning=meaning))

    def select(self, context: SelectionContext) -> Selection:
        """Choose uniformly from the window."""
        generator = context.generator("subset", context.epoch)
        if context.progress > self.delta:
            return Selection(sample(context.num_samples, context.num_kept, generator=generator, among=context.seen))
        window = self._window(context)
        draws = torch.rand(context.num_samples, generator=generator, dtype=torch.float32).index_select(0, window)
        return Selection(window.index_select(0, top_k(draws, context.num_kept, generator=generator)))

    def _window(self, context: SelectionContext) -> Tensor:
        """(n,) int64, the samples of the epoch's groups; equal losses at its edges are divided at random."""
        first, size = self._groups(context)
        low, high = (group * context.num_seen // self.num_groups for group in (first, first + size))
        generator = context.generator("window", context.epoch)
        above = top_k_mask(context.scores, context.num_seen - high, generator=generator, among=context.seen)
        return top_k(context.scores, high - low, generator=generator, among=context.seen & ~above)

    def _groups(self, context: SelectionContext) -> tuple[int, int]:
        """Return the window's first group and how many it has: enough for K samples wherever it is."""
        least = -(-context.num_kept * self.num_groups // context.num_seen)
        size = max(least, round(self.window * self.num_groups))
        return context.epoch % (self.num_groups - size + 1), size
