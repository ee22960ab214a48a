"""Methods of other packages, which these offer as entry points of the group `emprune.methods`."""

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from emprune.errors import ConfigError, EmpruneError
from emprune.methods.base import Method, check_declared
from emprune.methods.options import options_of

__all__ = ["GROUP", "distributions_of", "load", "offered"]

GROUP = "emprune.methods"


@functools.cache
def offered() -> dict[str, tuple[EntryPoint, ...]]:
    """Return what the installed distributions offer, by the method's name. Nothing is imported."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def load(name: str) -> type[Method]:
    """Import the method that a distribution offers by this name.

    Raises:
        ConfigError: If several distributions offer it, it does not load, or it is no method of that name. The message
            names the distribution.
    """
    point, *others = offered()[name]
    if others:
        raise ConfigError(f"The method {name!r} is offered by several distributions; got {distributions_of(name)}.")
    try:
        return _checked(point.load(), name)
    except Exception as error:  # what a stranger's module raises when it is imported may be anything
        cause = str(error) if isinstance(error, EmpruneError) else f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"The method {name!r} of the distribution {distributions_of(name)} does not load. {cause}"
        ) from error


def distributions_of(name: str) -> str:
    """Return the distributions that offer a method of this name, for a message."""
    return " and ".join(repr(point.dist.name if point.dist else point.value) for point in offered()[name])


def _checked(cls: Any, name: str) -> type[Method]:
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise ConfigError(f"Its entry point must name a subclass of emprune.Method; got {cls!r}.")
    check_declared(cls)
    options_of(cls)
    if cls.name != name:
        raise ConfigError(f"`{cls.__name__}.name` must be the name of its entry point, {name!r}; got {cls.name!r}.")
    return cls
