"""Whether epochs have room for what must be in them: pinned samples, floors of groups, batches of whole groups."""

from emprune.engine.plan_options import PlanOptions
from emprune.errors import ConfigError
from emprune.schedule import Schedule

__all__ = ["check_epoch", "check_run"]


def check_run(
    options: PlanOptions,
    schedule: Schedule,
    *,
    batch_size: int,
    accumulation: int,
    world_size: int,
    drop_last: bool,
) -> None:
    """Raise ConfigError unless every epoch has room, before the first one.

    Args:
        options: What the user asks of every plan.
        schedule: Of the run.
        batch_size: Samples per batch and rank; of a step, where the batches are not known.
        accumulation: Batches per step.
        world_size: W.
        drop_last: Whether full epochs are multiples of the step too.
    """
    if options.pinned is None and options.groups is None:
        return
    _check_batches(options, batch_size)

    def smallest(step: int) -> int:
        sizes = schedule.num_kept_per_epoch(multiple_of=world_size * step, world_size=world_size, drop_last=drop_last)
        pruned = [size for epoch, size in enumerate(sizes) if not schedule.is_full(epoch)]
        return min(pruned, default=schedule.num_samples)

    size = smallest(batch_size * accumulation)
    if size < options.num_least:
        helps = smallest(1) >= options.num_least
        _refuse(options, size, "the smallest pruned epoch", "take smaller batches" if helps else "raise `keep`")


def check_epoch(
    options: PlanOptions,
    schedule: Schedule,
    size: int,
    *,
    epoch: int,
    multiple_of: int,
    world_size: int,
    drop_last: bool,
) -> None:
    """Raise ConfigError unless an epoch has room, and at the first one, unless all have: batches may change later.

    Args:
        options: What the user asks of every plan.
        schedule: Of the run.
        size: Of the epoch.
        epoch: The epoch.
        multiple_of: Samples of an optimizer step on all ranks together.
        world_size: W.
        drop_last: Whether full epochs are multiples of it too.
    """
    step = multiple_of // world_size
    if epoch == 0:
        check_run(options, schedule, batch_size=step, accumulation=1, world_size=world_size, drop_last=drop_last)
    _check_batches(options, step)
    if not schedule.is_full(epoch) and size < options.num_least:
        _refuse(options, size, f"epoch {epoch}", "go on with the batch size of the epochs before")


def _check_batches(options: PlanOptions, batch_size: int) -> None:
    per_batch = None if options.groups is None else options.groups.per_batch
    if per_batch is not None and batch_size % per_batch:
        raise ConfigError(
            f"`per_batch` must divide the batch size; got {per_batch} and batches of {batch_size}. "
            "Choose another of the two.",
            parameter="per_batch",
            value=per_batch,
        )


def _refuse(options: PlanOptions, size: int, where: str, advice: str) -> None:
    num_pinned = 0 if options.pinned is None else len(options.pinned)
    if options.groups is None or num_pinned > size:
        raise ConfigError(
            f"`pinned` must be at most the {size:,} samples of {where}; got {num_pinned:,}. Pin fewer, or {advice}.",
            parameter="pinned",
            value=options.pinned,
        )
    raise ConfigError(
        f"`floor` and the pinned samples must leave room in {where}, {size:,} samples; got {options.num_least:,} with "
        f"floor={options.groups.floor}. Lower it, or {advice}.",
        parameter="floor",
        value=options.groups.floor,
    )
