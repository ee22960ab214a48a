"""The schedule that a method and a budget give."""

from collections.abc import Callable
from dataclasses import replace

from emprune.errors import ConfigError
from emprune.methods.base import Method
from emprune.schedule import Schedule

__all__ = ["keep_of", "schedule_of", "tail_of"]


def keep_of(method: Method, keep: float | None) -> float:
    """Return a run's `keep`, the method's own where none was given.

    Raises:
        ConfigError: If the method has none of its own either.
    """
    keep = method.default_keep if keep is None else keep
    if keep is None:
        raise ConfigError(
            "`keep` must be a number in (0, 1], the mean fraction of the dataset visited per epoch; got keep=None. "
            "Give it, such as keep=0.3; only Full needs none."
        )
    return keep


def schedule_of(
    method: Method, *, keep: float | None, warmup_epochs: int, tail_epochs: int | None, **run: int | None
) -> Schedule:
    """Return a run's schedule, with what the method says where nothing was given."""
    plain = Schedule(**run, keep=keep_of(method, keep))  # type: ignore[arg-type]
    method.check(num_samples=plain.num_samples, keep=plain.keep)
    if tail_epochs is None:
        tail_epochs = tail_of(method, plain, lambda tail: replace(plain, warmup_epochs=warmup_epochs, tail_epochs=tail))
    return replace(plain, warmup_epochs=warmup_epochs, tail_epochs=tail_epochs)


def tail_of(method: Method, plain: Schedule, attempt: Callable[[int], object]) -> int:
    """Return the method's own tail, or as much of it as the run can have: nobody asked for it.

    Args:
        method: The method.
        plain: The schedule without a tail.
        attempt: Raises ConfigError where the run cannot have so many tail epochs.
    """
    for tail in range(method.default_tail_epochs(num_epochs=plain.num_epochs, keep=plain.keep), 0, -1):
        try:
            attempt(tail)
        except ConfigError:
            continue
        return tail
    return 0
