"""Memory terms by name, and the name of each in a saved state."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.memory.alignment import view_alignment
from emprune.memory.instances import instance_entropy
from emprune.memory.prediction import prediction_entropy

__all__ = ["MemoryName", "MemoryTerm", "memory_name", "memory_term", "takes_features"]

MemoryTerm: TypeAlias = Callable[[Any], Tensor]
"""From a model's outputs to (B,)."""
MemoryName: TypeAlias = Literal["prediction_entropy", "instance_entropy", "view_alignment"]

_TERMS: dict[str, MemoryTerm] = {
    "prediction_entropy": prediction_entropy,
    "instance_entropy": instance_entropy,
    "view_alignment": view_alignment,
}
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)
"""An option of one of these types has a text that says all of it, in every process."""


def memory_term(memory: MemoryName | MemoryTerm) -> MemoryTerm:
    """Return the memory term with this name, or the function itself.

    Raises:
        ConfigError: If there is no term of that name.
    """
    if callable(memory):
        return memory
    if memory not in get_args(MemoryName):
        raise ConfigError(f"`memory` must be {', '.join(_TERMS)} or a function of the model's outputs; got {memory!r}.")
    return _TERMS[memory]


def takes_features(memory: MemoryName | MemoryTerm) -> bool:
    """Return whether a memory term is measured of hidden features, and not of a prediction.

    Example:
        >>> takes_features("view_alignment"), takes_features("prediction_entropy")
        (True, False)
    """
    term = memory_term(memory)
    return (term.func if isinstance(term, partial) else term) in (instance_entropy, view_alignment)


def memory_name(memory: MemoryName | MemoryTerm) -> str:
    """Return the name of a memory term in a saved state, the same in every process.

    Two terms that differ have different names. A term without such a name is refused: a lambda, a function inside
    another, a method of an object, an object with state.

    Raises:
        ConfigError: If the term has no such name.

    Example:
        >>> memory_name(partial(instance_entropy, temperature=0.1))
        'instance_entropy(temperature=0.1)'
    """
    for name, term in _TERMS.items():
        if memory is term or memory == name:
            return name
    if isinstance(memory, partial):
        options = [_value_name("an argument", value) for value in memory.args]
        options += [f"{name}={_value_name(f'`{name}`', value)}" for name, value in sorted(memory.keywords.items())]
        return f"{memory_name(memory.func)}({', '.join(options)})"
    return _path(memory)


def _path(function: object) -> str:
    """Return the module of a function and its name there; every process finds it by these."""
    name, owner = getattr(function, "__qualname__", None), getattr(function, "__self__", None)
    if isinstance(owner, type) and isinstance(name, str):  # a class method, which may come from a base
        function, name, owner = owner, f"{owner.__qualname__}.{name.rpartition('.')[2]}", None
    elif isinstance(function, type):
        owner = function
    found = None
    if not isinstance(name, str):
        found = f"an object of {type(function).__qualname__}, and two objects may differ"
    elif "<lambda>" in name:
        found = "a lambda"
    elif "<locals>" in name:
        found = f"{name}, which is inside another function"
    elif isinstance(owner, type):
        found = f"the class {name}"
    elif owner is not None and not isinstance(owner, ModuleType):
        found = f"{name} of an object, and two objects may differ"
    if found is not None:
        raise ConfigError(
            f"`memory` must be a function with a name that a saved state can keep; got {found}. Define it with `def` "
            "at the top level of a module, and bind its options with functools.partial."
        )
    return f"{getattr(function, '__module__', None)}.{name}"


def _value_name(option: str, value: object) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_value_name(option, one) for one in value)})"
    if callable(value):
        return memory_name(value)
    raise ConfigError(
        "The options of a partial as `memory` must be numbers, texts or named functions, because a saved state keeps "
        f"them; got {option} of type {type(value).__name__}."
    )
