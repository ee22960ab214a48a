"""What a method chooses from all samples or from a part of them, and that its choice is sound.

Who comes when::

    unseen      first, at random
    open        seen, and not set aside: the method chooses among them
    set aside   given up (tried twice in vain), or guarded (wrong in each of the last visits): last, at random
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from emprune.engine.current import CurrentEpoch
from emprune.errors import EpochError, MethodError
from emprune.indexing import are_all, extremes, mask_of, num_true, positions_of, taken
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.randomness import derive_generator
from emprune.selection import sample, sample_weighted_mask
from emprune.stats import SampleStats, all_finite

__all__ = ["Chooser"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chooser:
    """Chooses the samples of one pruned epoch, from all of the data or part by part.

    For a method that scores, unseen samples come first: U = min(size, unseen) of them, drawn at random, with weight 1.
    The method chooses the rest from the seen samples. What is set aside comes where too few are left: a sample without
    a finite loss after two visits, and one that a guard holds back.

    Args:
        method: The method.
        stats: What is remembered of all samples.
        epoch: The epoch.
        previous: The epoch before, if the method alone selected its plan, from all samples.
        progress: The share of the run that is done once this epoch is over.
        gap: The generalisation gap; None if it is not known.
        weights: (N,) float32, by which the candidates are drawn; None for all samples alike.
        guard: Visits in a row with a wrong prediction after which a sample is set aside; None for no guard.
    """

    method: Method
    stats: SampleStats
    epoch: int
    previous: CurrentEpoch | None
    progress: float
    gap: float | None
    weights: Tensor | None
    guard: int | None = None

    def choose(self, size: int, *, seed: int, part: Tensor | None = None) -> tuple[list[Selection], int]:
        """Choose samples of a part: first the unseen, if there are any, and then the method's.

        Args:
            size: How many, at most those of the part.
            seed: Of the draws; parts have different ones.
            part: (n,) int64, positions in the dataset, ascending; None for all samples.

        Returns:
            The selections, and how many samples were not the method's choice.
        """
        if self.weights is not None:
            part = self._candidates(size, seed=seed, part=part)
        stats = self.stats if part is None else self.stats.take(part)
        if self._are_all_to_choose_from:
            is_open, num_open = torch.ones(stats.num_samples, dtype=torch.bool), stats.num_samples
        else:
            is_open = self._open if part is None else taken(self._open, part)
            num_open = num_true(is_open)
        chosen: list[Selection] = []
        if num_open < stats.num_samples:
            chosen.append(self._not_by_method(is_open, num_open, size, seed=seed, part=part))
        num_first = sum(len(selection.index) for selection in chosen)
        rest = size - num_first
        if num_open and rest:
            context = self._context(stats, is_open, num_open, rest, seed=seed, part=part, is_alone=num_first == 0)
            chosen.append(_checked_selection(self.method, self.method.select(context), context))
        if part is not None:
            chosen = [Selection(taken(part, each.index), each.weight) for each in chosen]
        return chosen, num_first

    def _candidates(self, size: int, *, seed: int, part: Tensor | None) -> Tensor:
        """Draw the samples that a method may choose from by their weights: 2 a choice, at most half of the others.

        A method that does not score gets as many as it has to choose. What is set aside comes where too few are left.
        """
        assert self.weights is not None
        weights = self.weights if part is None else taken(self.weights, part)
        num_candidates = size
        if self.method.scores:
            aside = self._aside_among(part)
            weights = weights.masked_fill(aside, 0)  # drawn after all others
            num_candidates = max(size, min(2 * size, (size + len(weights) - num_true(aside)) // 2))
        generator = derive_generator(seed, "candidates", self.epoch)
        drawn = positions_of(sample_weighted_mask(weights, num_candidates, generator=generator))
        return drawn if part is None else taken(part, drawn)

    def _not_by_method(self, is_open: Tensor, num_open: int, size: int, *, seed: int, part: Tensor | None) -> Selection:
        """Choose what the method does not: the unseen, and what is set aside where too few are left without."""
        num_samples = len(is_open)
        aside = self._aside_among(part)
        unseen = ~(is_open | aside)
        num_first = min(size, num_true(unseen))
        index = sample(num_samples, num_first, generator=derive_generator(seed, "unseen", self.epoch), among=unseen)
        num_missing = size - num_first - num_open
        if num_missing > 0:
            generator = derive_generator(seed, "given up", self.epoch)
            index = torch.cat([index, sample(num_samples, num_missing, generator=generator, among=aside)])
        return Selection(index)

    def _context(
        self,
        stats: SampleStats,
        seen: Tensor,
        num_seen: int,
        num_kept: int,
        *,
        seed: int,
        part: Tensor | None,
        is_alone: bool,
    ) -> SelectionContext:
        if self.method.needs_gap and self.gap is None:
            raise EpochError(
                f"{type(self.method).__name__} must know the generalisation gap before it chooses epoch {self.epoch}; "
                "got no validation loss. Call loader.observe_validation(loss, train_loss=...) at the end of each "
                "epoch; with `initial`, before the first too."
            )
        scores = self._scores if self.method.scores else torch.empty(0)
        previous = None if self.previous is None or not is_alone else self.previous.plan.index
        if part is not None:
            scores = taken(scores, part) if self.method.scores else scores
            if self.previous is not None and is_alone:
                previous = positions_of(taken(self.previous.planned, part))
        return SelectionContext(
            stats=stats,
            scores=scores,
            seen=seen,
            num_seen=num_seen,
            num_kept=num_kept,
            epoch=self.epoch,
            seed=seed,
            previous=previous,
            progress=self.progress,
            gap=self.gap,
            positions=part,
        )

    @cached_property
    def _seen(self) -> Tensor:
        """(N,) bool."""
        return self.stats.seen

    def _aside_among(self, part: Tensor | None) -> Tensor:
        """(n,) bool, which samples of a part are set aside; of all, if it is None."""
        return self._aside if part is None else taken(self._aside, part)

    @cached_property
    def _aside(self) -> Tensor:
        """(N,) bool, the samples that are given up, or that were predicted wrong in each of so many last visits."""
        given_up = self.stats.given_up
        return given_up if self.guard is None else given_up | (self.stats["missed"] >= self.guard)

    @cached_property
    def _open(self) -> Tensor:
        """(N,) bool, the samples that a method may choose."""
        return self._seen if self.guard is None else self._seen & ~self._aside

    @cached_property
    def _are_all_to_choose_from(self) -> bool:
        """Whether the method may choose any sample: it does not score, or all are open."""
        return not self.method.scores or are_all(self._open)

    @cached_property
    def _scores(self) -> Tensor:
        """(N,) float32, finite where seen."""
        scores, name = self.method.score(self.stats), f"{type(self.method).__name__}.score"
        seen = self._seen
        if not isinstance(scores, Tensor) or scores.shape != seen.shape or scores.dtype != torch.float32:
            raise MethodError(f"{name} must return (N,) = {tuple(seen.shape)} float32; got {_kind_of(scores)}.")
        if not all_finite(scores) and not all_finite(scores.where(seen, 0)):
            raise MethodError(f"{name} must be finite for every seen sample; got NaN or infinity.")
        return scores


def _checked_selection(method: Method, selection: Selection, context: SelectionContext) -> Selection:
    name = f"{type(method).__name__}.select"
    if not isinstance(selection, Selection):
        raise MethodError(f"{name} must return a Selection; got {_kind_of(selection)}. Return Selection(index).")
    index, weight = selection.index, selection.weight
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        raise MethodError(f"{name} must return a (K,) int64 index; got {_kind_of(index)}.")
    if len(index) != context.num_kept:
        raise MethodError(f"{name} must choose exactly {context.num_kept} samples; got {len(index)}.")
    if len(index):
        least, most = extremes(index)
        if not 0 <= least <= most < context.num_samples:
            raise MethodError(f"{name} must choose positions in [0, {context.num_samples}); got {least} to {most}.")
    chosen = mask_of(index, context.num_samples)
    all_seen = context.num_seen == context.num_samples or not num_true(chosen & ~context.seen)
    if num_true(chosen) != len(index) or not all_seen:
        raise MethodError(f"{name} must choose each sample at most once, and only among `context.seen`.")
    if weight is None:
        return selection
    if not isinstance(weight, Tensor) or weight.shape != index.shape or not all_finite(weight):
        raise MethodError(f"{name} must give one finite weight per chosen sample; got {_kind_of(weight)}.")
    return Selection(index, weight.float())


def _kind_of(value: object) -> str:
    """What something is, for a message: a tensor's shape and dtype, or a type."""
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
