"""The state of a run on images, in the file `state.pt` of a checkpoint."""

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from emprune.errors import EmpruneError
from emprune_lab.results.checkpoints import UnusableError

__all__ = ["MISFITS", "load_state", "misfit", "save_state"]

STATE = "state.pt"

MISFITS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EmpruneError)
"""What loading a state raises that is of another model, or made by hand."""


def save_state(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values into a checkpoint's folder."""
    content = io.BytesIO()  # in memory first: torch.save turns a full disk into an error of its own
    torch.save(dict(state), content)
    with (checkpoint / STATE).open("wb") as file:
        file.write(content.getbuffer())


def load_state(checkpoint: Path, load: Callable[[dict[str, Any]], object] = lambda state: None) -> dict[str, Any]:
    """Return the state that `save_state` wrote, once it is put to use.

    Args:
        checkpoint: Its folder.
        load: Puts the state to use.

    Raises:
        UnusableError: If it cannot be read, or does not load.
    """
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    except (*MISFITS, OSError, EOFError, pickle.UnpicklingError) as error:  # whole, but not for this software
        raise UnusableError(f"was written by other versions ({type(error).__name__})") from error
    try:
        load(state)
    except torch.OutOfMemoryError:
        raise
    except MISFITS as error:
        raise misfit(error) from error
    return state


def misfit(error: Exception) -> UnusableError:
    """Return what is wrong with a checkpoint that cannot be loaded into the run."""
    return UnusableError(f"does not fit this run ({type(error).__name__}: {error})")
