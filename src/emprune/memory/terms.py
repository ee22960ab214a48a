"""Memory terms by name, and the name of each in a saved state."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from emprune.errors import ConfigError
from emprune.memory.alignment import view_alignment
from emprune.memory.instances import instance_entropy
from emprune.memory.prediction import prediction_entropy

__all__ = ["MemoryTerm", "memory_name", "memory_term"]

MemoryTerm = Callable[[Any], Tensor]

_TERMS: dict[str, MemoryTerm] = {
    "prediction_entropy": prediction_entropy,
    "instance_entropy": instance_entropy,
    "view_alignment": view_alignment,
}


def memory_term(memory: str | MemoryTerm) -> MemoryTerm:
    """Resolve a memory term given by name, or return the function itself.

    Raises:
        ConfigError: If there is no term of that name.
    """
    if callable(memory):
        return memory
    if memory not in _TERMS:
        raise ConfigError(f"Unknown `memory` {memory!r}; there are {', '.join(_TERMS)}, or pass a function.")
    return _TERMS[memory]


def memory_name(memory: str | MemoryTerm) -> str:
    """Name a memory term for a saved state: its registered name, or the function's qualified one.

    Example:
        >>> memory_name(partial(instance_entropy, temperature=0.1))
        'instance_entropy(temperature=0.1)'
    """
    if isinstance(memory, str):
        return memory
    for name, term in _TERMS.items():
        if term is memory:
            return name
    if isinstance(memory, partial):
        bound = [_value_name(value) for value in memory.args]
        bound += [f"{name}={_value_name(value)}" for name, value in sorted(memory.keywords.items())]
        return f"{memory_name(memory.func)}({', '.join(bound)})"
    return f"{memory.__module__}.{getattr(memory, '__qualname__', type(memory).__qualname__)}"


def _value_name(value: object) -> str:
    return memory_name(value) if callable(value) else repr(value)  # a function's repr is its address
