"""Methods by name: emprune's own, those a program registers, and those that installed packages offer."""

import warnings
from typing import Any, TypeVar

from emprune.errors import ConfigError, EmpruneWarning
from emprune.methods import plugins
from emprune.methods.base import Method, check_declared
from emprune.methods.emp import EMP
from emprune.methods.epsilon_greedy import EpsilonGreedy
from emprune.methods.full import Full
from emprune.methods.greedy import Greedy
from emprune.methods.infobatch import InfoBatch
from emprune.methods.kakurenbo import Kakurenbo
from emprune.methods.options import options_of, parse_options, split_spec
from emprune.methods.order_dp import OrderDP
from emprune.methods.random import Random
from emprune.methods.random_permutation import RandomPermutation
from emprune.methods.reducible_loss import ReducibleLoss
from emprune.methods.seta import SeTa
from emprune.methods.soft_selection import SoftSelection
from emprune.methods.static_random import StaticRandom
from emprune.methods.static_subset import StaticSubset
from emprune.methods.ucb import UCB
from emprune.names import unknown_name

__all__ = ["as_method", "make_method", "method_class", "method_names", "register_method"]

_METHODS: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (
        Full, Random, RandomPermutation, StaticRandom, StaticSubset, Greedy, EpsilonGreedy, UCB, InfoBatch, OrderDP,
        SoftSelection, ReducibleLoss, Kakurenbo, SeTa, EMP,
    )
}  # fmt: skip

_OWN = frozenset(_METHODS)

_MethodClass = TypeVar("_MethodClass", bound=type[Method])


def register_method(cls: _MethodClass) -> _MethodClass:
    """Make a method known by its `name` in this program; usable as a class decorator.

    A package makes its method known to every program, and to the `emprune` command, by an entry point of the group
    ``emprune.methods``. See docs/methods/new-method.md.

    Raises:
        ConfigError: If it is no dataclass or has no name, or the name is taken.
    """
    check_declared(cls)
    known = _METHODS.get(cls.name, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):  # the same where a cell runs again
        raise ConfigError(
            f"The method name {cls.name!r} is taken by {known.__name__} of {known.__module__}. Give {cls.__name__} "
            "another `name`."
        )
    _METHODS[cls.name] = cls
    return cls


def method_names() -> tuple[str, ...]:
    """Return the names of all methods that work, those of installed packages included.

    Warns of a package's method that does not load or has a name that is taken.
    """
    for name in plugins.offered():
        problem = None
        if name in _OWN:
            problem = (
                f"The method {name!r} of the distribution {plugins.distributions_of(name)} has a name that is taken."
            )
        else:
            try:
                method_class(name)
            except ConfigError as error:
                problem = str(error)
        if problem is not None:
            warnings.warn(f"{problem} It is left out.", EmpruneWarning, stacklevel=2)
    return tuple(_METHODS)


def method_class(name: str) -> type[Method]:
    """Return a method's class by name.

    Raises:
        ConfigError: If there is none of that name, or a package's method of that name does not load.
    """
    if name not in _OWN:  # what is installed takes a while to look through
        if name in plugins.offered():
            register_method(plugins.load(name))
        elif name not in _METHODS:
            raise unknown_name("method", name, {*_METHODS, *plugins.offered()})
    return _METHODS[name]


def as_method(method: Method | str) -> Method:
    """Return a method that is given by its name, such as "emp:beta=5"; check one that is not.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(method, str):
        return make_method(method)
    if not isinstance(method, Method):
        raise ConfigError(
            f"`method` must be a Method such as emprune.EMP(), or its name; got {method!r}. Did you forget the ()?"
        )
    check_declared(type(method))
    return method


def make_method(spec: str, /, **options: Any) -> Method:
    """Build a method from its name and its options, which may stand in the text as on the command line.

    Args:
        spec: Its name, as in "emp", or with options, as in "emp:beta=5:pool=none".
        **options: Options by name.

    Raises:
        ConfigError: If the method or an option does not exist, is missing or given twice, or a value is out of range.

    Example:
        >>> make_method("emp:beta=5:pool=none")
        EMP(beta=5.0, memory='prediction_entropy', pool=None)
        >>> make_method("emp", beta=1.0, pool=2)
        EMP(beta=1.0, memory='prediction_entropy', pool=2.0)
    """
    name, texts = split_spec(spec)
    if "@" in name:
        raise ConfigError(
            f"`method` must be a name and its options; got {spec!r}. What stands after @ is for the command: here pass "
            "groups=emprune.Groups(...) or guard=3."
        )
    cls = method_class(name)
    known = options_of(cls)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of `{name}`", option, known)
        if option in texts:
            raise ConfigError(f"`{option}` is given twice; got {spec!r} and {option}={options[option]!r}.")
    values = {**parse_options(cls, texts), **options}
    missing = [option for option, declared in known.items() if declared.required and option not in values]
    if missing:
        raise ConfigError(f"`{missing[0]}` must be given to `{name}`; got {spec!r}. Pass {missing[0]}=...")
    return cls(**values)
