"""The pruner of a loader: the one that was given, or one made of a method and a budget."""

import reprlib
from dataclasses import replace
from typing import Any, NoReturn, TypedDict, Unpack

from emprune.distributed import ProcessGroup, Ranks
from emprune.engine.budget import keep_of, tail_of
from emprune.engine.initial import Initial
from emprune.engine.plan_options import GroupsLike, PinnedLike, WeightsLike
from emprune.engine.recording import RecordLike
from emprune.errors import ConfigError
from emprune.lengths import Lengths
from emprune.methods.base import Method
from emprune.methods.registry import as_method
from emprune.pruner import DataPruner, NonfinitePolicy
from emprune.schedule import Schedule

__all__ = ["Choice", "as_pruner", "refuse_beside_pruner"]


class Choice(TypedDict, total=False):
    """What a loader takes beside the method, the length of the run and the ranks, and a `DataPruner` too."""

    keep: float | None
    warmup_epochs: int
    tail_epochs: int | None
    seed: int
    nonfinite: NonfinitePolicy
    lengths: Lengths | None
    groups: GroupsLike | None
    weights: WeightsLike | None
    pinned: PinnedLike | None
    guard: int | None
    initial: "Initial | None"
    data_key: str | None
    record: RecordLike | None


class _Options(Choice, total=False):
    process_group: "ProcessGroup | None"


def as_pruner(
    method: Method | str | DataPruner,
    *,
    num_samples: int,
    samples_per_batch: int,
    accumulation: int,
    drop_last: bool,
    num_epochs: int | None,
    num_steps: int | None,
    **options: Unpack[_Options],
) -> DataPruner:
    """Return the pruner that is given, or make one of a method and a budget.

    Raises:
        ConfigError: If a pruner is given and a budget too, neither or both of `num_epochs` and `num_steps` are, or the
            budget cannot be met.
    """
    if isinstance(method, DataPruner):
        _check_pruner(method, num_samples, {"num_epochs": num_epochs, "num_steps": num_steps, **options})
        return method
    method = as_method(method)
    _check_one_length(num_epochs, num_steps)
    run = {"num_samples": num_samples, "keep": keep_of(method, options.get("keep"))}
    warmup_epochs, tail_epochs = options.get("warmup_epochs", 0), options.get("tail_epochs")
    world_size = Ranks(options.get("process_group")).size
    batches: dict[str, Any] = {"accumulation": accumulation, "world_size": world_size, "drop_last": drop_last}
    if num_epochs is None:
        schedule = _schedule_for_steps(
            method,
            tail_epochs,
            num_steps=num_steps,
            samples_per_step=world_size * samples_per_batch * accumulation,
            warmup_epochs=warmup_epochs,
            **run,
            **batches,
        )
        num_epochs, options["tail_epochs"] = schedule.num_epochs, schedule.tail_epochs
    elif tail_epochs is None:
        plain = Schedule(num_epochs=num_epochs, **run)  # type: ignore[arg-type]

        def attempt(tail_epochs: int) -> None:
            schedule = replace(plain, warmup_epochs=warmup_epochs, tail_epochs=tail_epochs)
            schedule.steps_per_epoch(batch_size=samples_per_batch, **batches)

        options["tail_epochs"] = tail_of(method, plain, attempt)
    return DataPruner(method, num_samples=num_samples, num_epochs=num_epochs, num_steps=num_steps, **options)


def _check_one_length(num_epochs: int | None, num_steps: int | None) -> None:
    if (num_epochs is None) == (num_steps is None):
        raise ConfigError(
            f"Exactly one of `num_epochs` and `num_steps` must be given, the run's length; got {num_epochs=}, "
            f"{num_steps=}. Write num_epochs=200, or num_steps=10_000 for a loop that counts optimizer steps."
        )


def _schedule_for_steps(method: Method, tail_epochs: int | None, **options: Any) -> Schedule:
    """Return the schedule of so many steps, with the method's tail where none was given."""
    if tail_epochs is None:
        plain = Schedule.for_steps(**options)
        tail_epochs = tail_of(method, plain, lambda tail: Schedule.for_steps(**options, tail_epochs=tail))
    return Schedule.for_steps(**options, tail_epochs=tail_epochs)


def refuse_beside_pruner(name: str, value: Any) -> NoReturn:
    """Raise the error of an option that a given pruner has already.

    Raises:
        ConfigError: Always.
    """
    found = reprlib.repr(value)  # of many lengths the first
    raise ConfigError(
        f"`{name}` must be given to the DataPruner; got a pruner and {name}={found}. Leave it out, or hand over the "
        "method instead of a pruner."
    )


_DEFAULTS = {"warmup_epochs": 0, "seed": 0, "nonfinite": "error"}


def _check_pruner(pruner: DataPruner, num_samples: int, budget: dict[str, Any]) -> None:
    for name, value in budget.items():
        default = _DEFAULTS.get(name)
        if value is not None if default is None else value != default:
            refuse_beside_pruner(name, value)
    if num_samples != pruner.num_samples:
        raise ConfigError(
            f"The pruner's `num_samples` must be the length of the dataset, {num_samples}; got {pruner.num_samples}. "
            "Use num_samples=len(dataset)."
        )
