"""How an epoch's plan is made: full epochs, unseen samples first, then the method's choice, in random order."""

import torch
from torch import Tensor

from emprune.current import CurrentEpoch
from emprune.errors import EpochError, MethodError
from emprune.lengths import by_length
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator
from emprune.schedule import Schedule
from emprune.selection import sample
from emprune.stats import SampleStats, all_finite

__all__ = ["plan_epoch"]


def plan_epoch(
    method: Method,
    stats: SampleStats,
    schedule: Schedule,
    size: int,
    *,
    epoch: int,
    seed: int,
    last: CurrentEpoch | None,
    spent: int,
    gap: float | None,
    lengths: Tensor | None,
    step: int,
) -> CurrentEpoch:
    """Plan an epoch, full or pruned, as the schedule says.

    Args:
        method: The method.
        stats: What is remembered.
        schedule: Of the run.
        size: K.
        epoch: The epoch.
        seed: The run's seed.
        last: The epoch before; None before the first.
        spent: The visits of all epochs before.
        gap: The generalisation gap; None if it is not known.
        lengths: (N,) int64, by which samples of like length share a step; None for chance alone.
        step: Samples of an optimizer step on all ranks together.
    """
    if last is not None:
        last.forget_weights()  # planning needs the room
    if schedule.is_full(epoch):
        plan, by_method = _full_plan(stats.num_samples, size, epoch=epoch, seed=seed), False
    else:
        plan, by_method = _pruned_plan(
            method,
            stats,
            size,
            epoch=epoch,
            seed=seed,
            previous=last.plan.index if last is not None and last.by_method else None,
            progress=min(1.0, (spent + size) / schedule.budget),
            gap=gap,
        )
    if lengths is not None:
        plan = by_length(plan, lengths, step=step, seed=seed)
    return CurrentEpoch(plan, by_method=by_method)


def _full_plan(num_samples: int, size: int, *, epoch: int, seed: int) -> EpochPlan:
    """Plan an epoch over all the data but the few that make the ranks unequal: drawn at random, and rotating."""
    num_left_out = num_samples - size
    index = torch.randperm(num_samples, generator=derive_generator(seed, "order", epoch))
    if num_left_out:
        rotation = torch.randperm(num_samples, generator=derive_generator(seed, "left out"))
        left_out = torch.zeros(num_samples, dtype=torch.bool)
        left_out[rotation[torch.arange(epoch * num_left_out, (epoch + 1) * num_left_out) % num_samples]] = True
        index = index[~left_out[index]]
    return EpochPlan(epoch, index, None, num_samples)


def _pruned_plan(
    method: Method,
    stats: SampleStats,
    size: int,
    *,
    epoch: int,
    seed: int,
    previous: Tensor | None,
    progress: float,
    gap: float | None,
) -> tuple[EpochPlan, bool]:
    """Plan a pruned epoch.

    For a method that scores, unseen samples come first: U = min(size, unseen) of them, drawn at random, with weight 1.
    The method chooses the rest from the seen samples. A sample without a finite loss after two visits no longer comes
    first.

    Args:
        method: The method.
        stats: What is remembered.
        size: K.
        epoch: The epoch.
        seed: The run's seed.
        previous: What the method alone selected for the epoch before, if it did.
        progress: The share of the run that is done once this epoch is over.
        gap: The generalisation gap; None if it is not known.

    Returns:
        The plan, and whether the method alone chose it.
    """
    num_samples = stats.num_samples
    seen = stats.seen if method.scores else torch.ones(num_samples, dtype=torch.bool)
    num_seen = int(seen.count_nonzero())
    parts: list[Selection] = []
    num_first = 0
    if num_seen < num_samples:
        parts.append(_first(stats, seen, num_seen, size, epoch=epoch, seed=seed))
        num_first = len(parts[0].index)
    rest = size - num_first
    if num_seen and rest:
        _check_gap(method, gap, epoch)
        context = SelectionContext(
            stats=stats,
            scores=_checked_scores(method, stats, seen, num_seen) if method.scores else torch.empty(0),
            seen=seen,
            num_seen=num_seen,
            num_kept=rest,
            epoch=epoch,
            seed=seed,
            previous=previous if num_first == 0 else None,
            progress=progress,
            gap=gap,
        )
        parts.append(_checked_selection(method, method.select(context), context))
    index, weight = _joined(parts)
    order = torch.randperm(len(index), generator=derive_generator(seed, "order", epoch))
    weight = None if weight is None else weight.index_select(0, order)
    return EpochPlan(epoch, index.index_select(0, order), weight, num_samples), num_first == 0


def _first(stats: SampleStats, seen: Tensor, num_seen: int, size: int, *, epoch: int, seed: int) -> Selection:
    """Choose what comes before the method's choice: the unseen, and those given up where too few are seen without."""
    num_samples = stats.num_samples
    unseen = ~(seen | stats.given_up)
    num_first = min(size, int(unseen.count_nonzero()))
    index = sample(num_samples, num_first, generator=derive_generator(seed, "unseen", epoch), among=unseen)
    num_missing = size - num_first - num_seen
    if num_missing > 0:
        generator = derive_generator(seed, "given up", epoch)
        index = torch.cat([index, sample(num_samples, num_missing, generator=generator, among=stats.given_up)])
    return Selection(index)


def _joined(parts: list[Selection]) -> tuple[Tensor, Tensor | None]:
    if len(parts) == 1:
        return parts[0].index, parts[0].weight
    index = torch.cat([part.index for part in parts])
    if all(part.weight is None for part in parts):
        return index, None
    return index, torch.cat(
        [torch.ones(len(p.index), dtype=torch.float32) if p.weight is None else p.weight for p in parts]
    )


def _check_gap(method: Method, gap: float | None, epoch: int) -> None:
    if method.needs_gap and gap is None:
        raise EpochError(
            f"{type(method).__name__} must know the generalisation gap before it chooses epoch {epoch}; got no "
            "validation loss. Call loader.observe_validation(loss, train_loss=...) at the end of each epoch; with "
            "`initial`, before the first too."
        )


def _checked_scores(method: Method, stats: SampleStats, seen: Tensor, num_seen: int) -> Tensor:
    scores = method.score(stats)
    if scores.shape != seen.shape or scores.dtype != torch.float32:
        raise MethodError(
            f"{type(method).__name__}.score must return (N,) = {tuple(seen.shape)} float32; "
            f"got {tuple(scores.shape)} {scores.dtype}."
        )
    if not all_finite(scores if num_seen == len(scores) else scores.where(seen, 0)):
        raise MethodError(f"{type(method).__name__}.score must be finite for every seen sample; got NaN or infinity.")
    return scores


def _checked_selection(method: Method, selection: Selection, context: SelectionContext) -> Selection:
    index, weight = selection.index, selection.weight
    name = f"{type(method).__name__}.select"
    if index.dtype != torch.int64 or index.ndim != 1:
        raise MethodError(f"{name} must return a (K,) int64 index; got {tuple(index.shape)} {index.dtype}.")
    if len(index) != context.num_kept:
        raise MethodError(f"{name} must choose exactly {context.num_kept} samples; got {len(index)}.")
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < context.num_samples:
        raise MethodError(
            f"{name} must choose positions in [0, {context.num_samples}); got {index.min()} to {index.max()}."
        )
    chosen = torch.zeros_like(context.seen).index_fill_(0, index, True)
    all_seen = context.num_seen == context.num_samples or not bool((chosen & ~context.seen).any())
    if int(chosen.count_nonzero()) != len(index) or not all_seen:
        raise MethodError(f"{name} must choose each sample at most once, and only among `context.seen`.")
    if weight is not None and (weight.shape != index.shape or not bool(weight.isfinite().all())):
        raise MethodError(f"{name} must give one finite weight per chosen sample; got {tuple(weight.shape)}.")
    return selection if weight is None else Selection(index, weight.float())
