"""Methods by name, for the command and for third parties."""

import dataclasses
import difflib
from typing import Any, TypeVar

from emprune.errors import ConfigError
from emprune.methods.base import Method, check_declared
from emprune.methods.emp import EMP
from emprune.methods.epsilon_greedy import EpsilonGreedy
from emprune.methods.full import Full
from emprune.methods.greedy import Greedy
from emprune.methods.infobatch import InfoBatch
from emprune.methods.random import Random
from emprune.methods.random_permutation import RandomPermutation
from emprune.methods.static_random import StaticRandom
from emprune.methods.static_subset import StaticSubset
from emprune.methods.ucb import UCB

__all__ = ["make_method", "method_class", "method_names", "register_method"]

_METHODS: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (
        Full, Random, RandomPermutation, StaticRandom, StaticSubset, Greedy, EpsilonGreedy, UCB, InfoBatch, EMP,
    )
}  # fmt: skip

_MethodClass = TypeVar("_MethodClass", bound=type[Method])


def register_method(cls: _MethodClass) -> _MethodClass:
    """Make a method known by its `name`; usable as a class decorator.

    Raises:
        ConfigError: If it is no dataclass or has no name, or the name is taken.
    """
    check_declared(cls)
    name = cls.name
    if name in _METHODS:
        raise ConfigError(f"The method name {name!r} is taken by {_METHODS[name].__name__}; there are {_listed()}.")
    _METHODS[name] = cls
    return cls


def method_names() -> tuple[str, ...]:
    """Return the names of all registered methods."""
    return tuple(_METHODS)


def method_class(name: str) -> type[Method]:
    """Return a method's class by name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if name not in _METHODS:
        close = difflib.get_close_matches(name, _METHODS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"Unknown method {name!r}; there are {_listed()}.{hint}")
    return _METHODS[name]


def make_method(name: str, **options: Any) -> Method:
    """Build a method by name with its options.

    Raises:
        ConfigError: If the method or an option does not exist, or a value is out of range.

    Example:
        >>> make_method("emp", beta=1.0, pool=2)
        EMP(beta=1.0, memory='prediction_entropy', pool=2)
    """
    cls = method_class(name)
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = [option for option in options if option not in known]
    if unknown:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"Method {name!r} has no option {unknown[0]!r}; its options are: {listed}.")
    return cls(**options)


def _listed() -> str:
    return ", ".join(_METHODS)
