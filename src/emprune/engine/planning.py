"""How an epoch's plan is made: all the data, or pinned samples and the rest, by groups or freely; in random order."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from emprune.engine.choosing import Chooser
from emprune.engine.current import CurrentEpoch
from emprune.engine.plan_options import PlanOptions
from emprune.indexing import mask_of, positions_of, taken
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
    progress: float,
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
        progress: The share of the run that is made once the epoch is over, in (0, 1].
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
            previous=last if last is not None and last.by_method and options.weights is None else None,
            progress=progress,
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
    """Plan a pruned epoch: the pinned samples, and the rest by quotas of the groups, or from all samples at once.

    Returns:
        The plan, in no order that counts, and whether the method alone chose it, but for what is pinned.
    """
    pinned = [] if options.pinned is None else [Selection(options.pinned)]
    plan_rest = _by_quotas if options.groups is not None and options.groups.quota != "free" else _freely
    selections, num_first = plan_rest(chooser, options, size, seed=seed)
    index, weight = _joined(pinned + selections)
    return EpochPlan(chooser.epoch, index, weight, chooser.stats.num_samples), num_first == 0


def _by_quotas(chooser: Chooser, options: PlanOptions, size: int, *, seed: int) -> tuple[list[Selection], int]:
    """Choose each group's quota from that group alone, without what is pinned."""
    assert options.groups is not None
    generator = derive_generator(seed, "quotas", chooser.epoch)
    quotas = options.groups.quotas(size, chooser.stats, least=options.least, generator=generator)
    wanted = enumerate((quotas - options.num_pinned).tolist())
    return _from_groups(chooser, options, {group: quota for group, quota in wanted if quota}, seed=seed)


def _freely(chooser: Chooser, options: PlanOptions, size: int, *, seed: int) -> tuple[list[Selection], int]:
    """Choose from all samples that are not pinned, and hold the groups' floors.

    A group that would get less than its floor gets exactly that, from its own samples. The method then chooses again,
    from the samples of the other groups. So a floor that the method keeps by itself changes nothing.
    """
    size -= 0 if options.pinned is None else len(options.pinned)
    at_floor: dict[int, int] = {}
    short: dict[int, int] | None = None
    while short is None or short:
        part = _outside(options, at_floor, num_samples=chooser.stats.num_samples)
        selections, num_first = chooser.choose(size, seed=seed, part=part) if size else ([], 0)
        short = _below_floor(selections, options, at_floor)
        at_floor |= short
        size -= sum(short.values())
    held, num_first_held = _from_groups(chooser, options, at_floor, seed=seed)
    return held + selections, num_first + num_first_held


def _below_floor(selections: list[Selection], options: PlanOptions, at_floor: Mapping[int, int]) -> dict[int, int]:
    """Return the floors of the groups that a choice gives less, by group, without those that are at theirs."""
    if options.groups is None or not options.groups.floor:
        return {}
    floors = options.least - options.num_pinned
    counts = torch.zeros_like(floors)
    for selection in selections:
        counts += torch.bincount(taken(options.groups.codes, selection.index), minlength=len(floors))
    short = positions_of(counts < floors).tolist()
    return {group: int(floors[group]) for group in short if group not in at_floor}


def _outside(options: PlanOptions, groups: Collection[int], *, num_samples: int) -> Tensor | None:
    """Return the samples that are neither pinned nor in some of the groups, ascending; None if those are all."""
    if options.pinned is None and not groups:
        return None
    is_out = torch.zeros(num_samples, dtype=torch.bool)
    if options.groups is not None and groups:
        is_out = taken(mask_of(torch.tensor(list(groups)), len(options.groups.names)), options.groups.codes)
    if options.pinned is not None:
        is_out[options.pinned] = True
    return positions_of(~is_out)


def _from_groups(
    chooser: Chooser, options: PlanOptions, quotas: Mapping[int, int], *, seed: int
) -> tuple[list[Selection], int]:
    """Choose so many samples of each of some groups, with randomness of its own."""
    chosen: list[Selection] = []
    num_first = 0
    for group, quota in quotas.items():
        selections, num_unseen = chooser.choose(
            quota, seed=derive_seed(seed, "group", group), part=options.parts[group]
        )
        chosen += selections
        num_first += num_unseen
    return chosen, num_first


def _joined(parts: list[Selection]) -> tuple[Tensor, Tensor | None]:
    if len(parts) == 1:
        return parts[0].index, parts[0].weight
    index = torch.cat([part.index for part in parts])
    if all(part.weight is None for part in parts):
        return index, None
    return index, torch.cat(
        [torch.ones(len(p.index), dtype=torch.float32) if p.weight is None else p.weight for p in parts]
    )
