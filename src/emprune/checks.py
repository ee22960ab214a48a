"""Numbers as people have them, Python's or NumPy's, checked and returned as Python's own."""

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from emprune.errors import ConfigError

__all__ = ["LARGEST_FLOAT32", "as_real", "as_whole", "flag", "one_of", "real_number", "whole_number"]

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
"""What multiplies a float32 column must not be infinite in float32."""


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
        raise ConfigError(
            f"`{name}` must be {rule}{meaning and f', {meaning}'}; got {name}={value!r}.", parameter=name, value=value
        )
    return number


def real_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float = math.inf,
    meaning: str = "",
) -> float:
    """Return a finite number as Python's own `float`.

    Args:
        name: The parameter.
        value: What was given, such as a `float`, an `int` or a NumPy number.
        least: The smallest value allowed, or
        above: what the value must exceed; None for any.
        most: The largest value allowed.
        meaning: What the number is, for the error.

    Raises:
        ConfigError: If it is none, is not finite, or is out of range.

    Example:
        >>> import numpy as np
        >>> real_number("keep", np.float32(0.5), above=0, most=1)
        0.5
    """
    number = as_real(value)
    inside = number is not None and math.isfinite(number) and number <= most
    if number is not None and inside and (least is None or number >= least) and (above is None or number > above):
        return number
    low = f"[{least:g}" if least is not None else "(-inf" if above is None else f"({above:g}"
    rule = f"a number in {low}, {'inf)' if math.isinf(most) else f'{most:.3g}]'}"
    raise ConfigError(
        f"`{name}` must be {rule}{meaning and f', {meaning}'}; got {name}={value!r}.", parameter=name, value=value
    )


def flag(name: str, value: Any, *, meaning: str = "") -> bool:
    """Return True or False as Python's own `bool`.

    Raises:
        ConfigError: If it is another value.

    Example:
        >>> flag("normalize", True)
        True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(
            f"`{name}` must be True or False{meaning and f', {meaning}'}; got {name}={value!r}.",
            parameter=name,
            value=value,
        )
    return bool(value)


def one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ConfigError unless a value is one of the words that it may be.

    Example:
        >>> one_of("by", "power", ("power", "softmax"))
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(
            f"`{name}` must be one of {', '.join(choices)}; got {name}={value!r}. Choose one.",
            parameter=name,
            value=value,
        )


def as_real(value: Any) -> float | None:
    """Return a number as Python's own `float`; None if it is no number.

    Example:
        >>> as_real(1), as_real("0.3"), as_real(True)
        (1.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond what a float holds
        return -math.inf if value < 0 else math.inf


def as_whole(value: Any) -> int | None:
    """Return a whole number as Python's own `int`; None if it is none.

    Example:
        >>> as_whole(3), as_whole(3.0), as_whole(True)
        (3, None, None)
    """
    if isinstance(value, (bool, np.bool_)):  # NumPy 1.26 takes its truth values for indices
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
