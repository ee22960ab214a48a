"""What can go wrong around a run, beyond what the library itself refuses."""

from emprune.errors import ConfigError, EmpruneError
from emprune.names import unknown_name

__all__ = ["DataError", "OtherVersionError", "RunError", "RunExistsError", "StoppedError", "unknown_name"]


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
