"""Comparing saved states bit by bit, and those of the global generators."""

import io
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["assert_same_state", "global_randomness", "through_disk"]


def assert_same_state(ours: Any, theirs: Any, where: str = "state") -> None:
    """Fail unless two states are equal bit by bit, NaN included; seconds spent do not count.

    Args:
        ours: A state, or a part of one.
        theirs: What it should equal.
        where: The part's name in a message.

    Example:
        >>> assert_same_state({"loss": torch.tensor([torch.nan])}, {"loss": torch.tensor([torch.nan])})
    """
    assert type(ours) is type(theirs), f"{where}: {type(ours).__name__} and {type(theirs).__name__}"
    if isinstance(ours, Tensor):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        assert ours.numpy().tobytes() == theirs.numpy().tobytes(), f"{where}: {ours} and {theirs}"
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs), f"{where}: {list(ours)} and {list(theirs)}"
        for key in ours:
            if key != "planning_seconds":
                assert_same_state(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same_state(one, other, f"{where}[{number}]")
    else:
        assert ours == theirs, f"{where}: {ours!r} and {theirs!r}"


def through_disk(state: Any) -> Any:
    """Return a state as `torch.load(weights_only=True)` reads it after `torch.save`.

    Example:
        >>> through_disk({"epoch": 3})
        {'epoch': 3}
    """
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def global_randomness() -> tuple[bytes, str, object]:
    """Return the states of the global generators of torch, NumPy and Python."""
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
