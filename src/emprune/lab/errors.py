"""What can go wrong around a run, beyond what the library itself refuses."""

import difflib
from collections.abc import Iterable

from emprune.errors import ConfigError, EmpruneError

__all__ = ["DataError", "RunError", "RunExistsError", "StoppedError", "unknown_name"]


class DataError(EmpruneError, RuntimeError):
    """A data set could not be had, or is damaged."""


class RunError(EmpruneError, RuntimeError):
    """A run failed half-way: its losses diverged, its checkpoint is unreadable, a worker died."""


class RunExistsError(ConfigError):
    """The output folder already holds a run, and nothing was said about what to do with it."""


class StoppedError(EmpruneError):
    """A run was asked to stop and left a checkpoint behind."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist, with the nearest one that does.

    Example:
        >>> print(unknown_name("task", "digit", ["digits", "fashion-mnist"]))
        Unknown task: got 'digit'. Did you mean 'digits'? There are: digits, fashion-mnist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"Unknown {kind}: got {name!r}.{hint} There are: {', '.join(names) or 'none'}.")
