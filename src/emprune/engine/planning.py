"""How an epoch's plan is made: all the data, or pinned samples, then groups, then the rest; in random order."""

from collections.abc import Iterator

import torch
from torch import Tensor

from emprune.engine.choosing import Chooser
from emprune.engine.current import CurrentEpoch
from emprune.engine.plan_options import PlanOptions
from emprune.indexing import mask_of, positions_of
from emprune.methods.base import Method, Selection
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator, derive_seed, random_order
from emprune.schedule import Schedule
from emprune.stats import SampleStats

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
    options: PlanOptions,
    step: int,
    world_size: int,
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
        options: What the user asks of every plan.
        step: Samples of an optimizer step on all ranks together.
        world_size: W.
    """
    if last is not None:
        last.forget_weights()  # planning needs the room
    if schedule.is_full(epoch):
        plan = _full_plan(stats.num_samples, size, epoch=epoch, seed=seed)
        planned, by_method = mask_of(plan.index, plan.num_samples), False
    else:
        chooser = Chooser(
            method=method,
            stats=stats,
            epoch=epoch,
            previous=last if last is not None and last.by_method else None,
            progress=min(1.0, (spent + size) / schedule.budget),
            gap=gap,
            weights=options.weights,
            guard=options.guard,
        )
        chosen, by_method = _pruned_plan(chooser, options, size, seed=seed)
        planned = mask_of(chosen.index, chosen.num_samples)  # before its order is random, which costs less
        plan = chosen.reordered(random_order(size, derive_generator(seed, "order", epoch)))
    plan = options.ordered(plan, step=step, world_size=world_size, seed=seed)
    return CurrentEpoch(plan, planned=planned, by_method=by_method)


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


def _pruned_plan(chooser: Chooser, options: PlanOptions, size: int, *, seed: int) -> tuple[EpochPlan, bool]:
    """Plan a pruned epoch: the pinned samples, each group's quota or floor, and the rest from all that is left.

    Returns:
        The plan, in no order that counts, and whether the method alone chose it, but for what is pinned.
    """
    num_samples = chooser.stats.num_samples
    chosen = [] if options.pinned is None else [Selection(options.pinned)]
    num_first = 0
    for part, quota, own_seed in _quotas(chooser, options, size, seed=seed):
        selections, num_unseen = chooser.choose(quota, seed=own_seed, part=part)
        chosen += selections
        num_first += num_unseen
    rest = size - sum(len(selection.index) for selection in chosen)
    if rest:
        selections, num_unseen = chooser.choose(rest, seed=seed, part=_others(chosen, num_samples))
        chosen += selections
        num_first += num_unseen
    index, weight = _joined(chosen)
    return EpochPlan(chooser.epoch, index, weight, num_samples), num_first == 0


def _quotas(chooser: Chooser, options: PlanOptions, size: int, *, seed: int) -> Iterator[tuple[Tensor, int, int]]:
    """Yield each group's samples that are not pinned, how many of them the epoch visits, and a seed of its own."""
    groups = options.groups
    if groups is None:
        return
    generator = derive_generator(seed, "quotas", chooser.epoch)
    quotas = groups.quotas(size, chooser.stats, least=options.least, generator=generator) - options.num_pinned
    for number, (part, quota) in enumerate(zip(options.parts, quotas.tolist(), strict=True)):
        if quota:
            yield part, quota, derive_seed(seed, "group", number)


def _others(chosen: list[Selection], num_samples: int) -> Tensor | None:
    """Return the samples that are not chosen yet; None if none is."""
    if not chosen:
        return None
    index = torch.cat([selection.index for selection in chosen])
    return positions_of(~mask_of(index, num_samples))


def _joined(parts: list[Selection]) -> tuple[Tensor, Tensor | None]:
    if len(parts) == 1:
        return parts[0].index, parts[0].weight
    index = torch.cat([part.index for part in parts])
    if all(part.weight is None for part in parts):
        return index, None
    return index, torch.cat(
        [torch.ones(len(p.index), dtype=torch.float32) if p.weight is None else p.weight for p in parts]
    )
