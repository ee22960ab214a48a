"""The errors and warnings of emprune. Each says which parameter, which rule, what was found and what to do."""

from collections.abc import Mapping

__all__ = [
    "ConfigError",
    "EmpruneError",
    "EmpruneWarning",
    "EpochError",
    "MethodError",
    "MethodWarning",
    "ObservationError",
    "RankError",
    "StateError",
]


class EmpruneError(Exception):
    """Base of every error raised on purpose by this library."""


class ConfigError(EmpruneError, ValueError):
    """An argument is outside its range, or a combination of arguments cannot be met.

    Attributes:
        parameter: The argument's name, where the error knows it.
        value: What was given for it.
        suggestion: Arguments that are accepted in place of those given, by name. The message says the same.
    """

    def __init__(
        self,
        message: str,
        *,
        parameter: str | None = None,
        value: object = None,
        suggestion: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.parameter, self.value, self.suggestion = parameter, value, dict(suggestion or {})


class MethodError(EmpruneError, RuntimeError):
    """A method broke its contract, such as by a score that is not finite or a selection of the wrong size."""


class ObservationError(EmpruneError, ValueError):
    """Observed losses or indices are malformed; nothing was recorded."""


class EpochError(EmpruneError, RuntimeError):
    """A call came in the wrong epoch, or before the first one."""


class RankError(EmpruneError, RuntimeError):
    """A rank did not take part in what all must do together, or did something else; nothing was folded."""


class StateError(EmpruneError, ValueError):
    """A saved state does not belong to this pruner or loader; nothing was loaded."""


class EmpruneWarning(UserWarning):
    """The run goes on, and does probably not do what its author wants."""


class MethodWarning(EmpruneWarning):
    """A method cannot do here what it is chosen for: it ranks as another one does, or prefers nothing."""
