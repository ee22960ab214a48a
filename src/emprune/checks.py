"""Numbers as people have them, Python's or NumPy's, checked and returned as Python's own."""

import numbers
import operator
from typing import Any

from emprune.errors import ConfigError

__all__ = ["as_real", "as_whole", "whole_number"]


def whole_number(name: str, value: Any, *, least: int | None = None, meaning: str = "") -> int:
    """Return a whole number as Python's own `int`.

    Args:
        name: The parameter.
        value: What was given, such as an `int` or a NumPy integer.
        least: The smallest value allowed; None for any.
        meaning: What the number is, for the error.

    Raises:
        ConfigError: If it is none, or smaller.

    Example:
        >>> import numpy as np
        >>> whole_number("seed", np.int64(3))
        3
    """
    number = as_whole(value)
    if number is None or (least is not None and number < least):
        rule = "an integer" if least is None else f"an integer of at least {least}"
        raise ConfigError(f"`{name}` must be {rule}{meaning and f', {meaning}'}: got {name}={value!r}.")
    return number


def as_real(value: Any) -> float | None:
    """Return a number as Python's own `float`; None if it is no number.

    Example:
        >>> as_real(1), as_real("0.3"), as_real(True)
        (1.0, None, None)
    """
    return None if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)


def as_whole(value: Any) -> int | None:
    """Return a whole number as Python's own `int`; None if it is none.

    Example:
        >>> as_whole(3), as_whole(3.0), as_whole(True)
        (3, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
