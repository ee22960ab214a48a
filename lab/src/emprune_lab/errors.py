"""What can go wrong around a run, beyond what the library itself refuses."""

from collections.abc import Iterable

from emprune.errors import ConfigError, EmpruneError
from emprune.names import unknown_name

__all__ = ["DataError", "OtherVersionError", "RunError", "RunExistsError", "StoppedError", "some", "unknown_name"]

MOST_NAMES = 8


class DataError(EmpruneError, RuntimeError):
    """A data set could not be had, or is damaged."""


class OtherVersionError(ConfigError):
    """Stored settings hold one that this version of emprune does not know."""


class RunError(EmpruneError, RuntimeError):
    """A run failed half-way: its losses diverged, its checkpoint is unreadable, a worker died."""


class RunExistsError(ConfigError):
    """The output folder already holds a run, and nothing was said about what to do with it."""


class StoppedError(EmpruneError):
    """A run was asked to stop and left a checkpoint behind."""


def some(names: Iterable[str]) -> str:
    """Return the first of some names, and how many more there are.

    Example:
        >>> some(map(str, range(10)))
        '0, 1, 2, 3, 4, 5, 6, 7 and 2 more'
    """
    shown = [name if len(name) <= 40 else f"{name[:39]}…" for name in names]
    more = f" and {len(shown) - MOST_NAMES:,} more" if len(shown) > MOST_NAMES else ""
    return ", ".join(shown[:MOST_NAMES]) + more
