"""A run's checkpoints: the newest and the one before it, sealed so that one that is not as it was written is known."""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from emprune.errors import ConfigError, EmpruneError
from emprune_lab.errors import RunError
from emprune_lab.files import free_name, write_whole
from emprune_lab.settings import RunConfig

__all__ = [
    "CHECKPOINTS",
    "MISFITS",
    "UnusableError",
    "load_checkpoint",
    "newest_usable",
    "refuse_other_settings",
    "save_checkpoint",
]

State = TypeVar("State")

NEWEST, PREVIOUS = CHECKPOINTS = ("checkpoint.pt", "checkpoint-previous.pt")
REFUSED = "checkpoint-refused.pt"

MARK = b"\nemprune checkpoint "
FORMAT = b"3"
SEAL_BYTES = len(MARK + FORMAT) + 1 + 64 + 1
"""A checkpoint is a file of torch.save with a seal behind it, which torch.load does not mind: mark, format, SHA-256."""

MISFITS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EmpruneError)
"""What loading a state raises that is of another model, or made by hand."""


class UnusableError(Exception):
    """What is wrong with a checkpoint, as the end of a sentence that begins with its path."""


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace a run's checkpoint, and keep the one before it.

    Args:
        folder: The run's.
        state: Tensors and plain values; under `config`, the settings of the run it belongs to.
    """
    content = io.BytesIO()  # in memory first: torch.save turns a full disk into an error of its own
    torch.save(dict(state), content)
    seal = _seal(content.getbuffer())
    write_whole(folder / NEWEST, lambda file: file.writelines((content.getbuffer(), seal)), keep=folder / PREVIOUS)


def load_checkpoint(
    folder: Path,
    config: RunConfig,
    *,
    load: Callable[[dict[str, Any]], object] = lambda state: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any] | None:
    """Return a run's newest usable checkpoint, or None if it has not come so far.

    A checkpoint that is not as it was written, not this run's, or that does not load, is set aside and the one before
    it used.

    Args:
        folder: The run's.
        config: Its settings.
        load: Puts a state to use. If it fails, the checkpoint before is loaded over it.
        say: Told, in a sentence, that the newest was not usable, and why.

    Raises:
        RunError: If there are checkpoints and none is usable.
    """

    def read(path: Path) -> dict[str, Any]:
        state = _read(path, config)
        try:
            load(state)
        except torch.OutOfMemoryError:
            raise
        except MISFITS as error:
            raise UnusableError(f"does not fit this run ({type(error).__name__}: {error})") from error
        return state

    candidates = (folder / NEWEST, folder / PREVIOUS)
    if not any(path.exists() for path in candidates):
        return None
    return newest_usable(candidates, read, set_aside=_set_aside, say=say)


def newest_usable(
    candidates: Sequence[Path],
    read: Callable[[Path], State],
    *,
    set_aside: Callable[[Path], Path | None],
    say: Callable[[str], None],
) -> State:
    """Return what is read of the first checkpoint that can be used.

    Args:
        candidates: Checkpoints, the newest first.
        read: Returns what is in one, or raises UnusableError.
        set_aside: Moves a refused one to where it is in nobody's way; returns where that is, or None if it stays.
        say: Told, in a sentence, what is wrong with those that come before the one that is used.

    Raises:
        RunError: If none can be used. Then all of them stay where they are.
    """
    problems: dict[Path, str] = {}
    for path in candidates:
        try:
            state = read(path)
        except UnusableError as error:
            problems[path] = f"{path} {error}"
            continue
        for refused, problem in problems.items():
            kept = set_aside(refused)
            where = "" if kept is None else f" It is kept as {kept.name}."
            say(f"{problem}. Going on from {path.name} instead.{where}")
        return state
    these = "them" if len(problems) > 1 else "it"
    raise RunError(
        f"There is no checkpoint to go on from: {', and '.join(problems.values())}. Put a good copy in place, "
        f"or move {these} away to start anew."
    )


def refuse_other_settings(settings: object, config: RunConfig) -> None:
    """Raise UnusableError unless a checkpoint's settings are those of the run."""
    if not isinstance(settings, Mapping):
        raise UnusableError("does not say of which run it is")
    try:
        differing = RunConfig.from_json(settings).differences(config)
    except (ConfigError, TypeError) as error:
        raise UnusableError(f"is of a run that cannot be made here ({error})") from error
    if differing:
        raise UnusableError(f"is of a run with other settings (there and here: {'; '.join(differing)})")


def _read(path: Path, config: RunConfig) -> dict[str, Any]:
    try:
        state = torch.load(_unsealed(path), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UnusableError("is missing") from error
    except OSError as error:
        raise UnusableError(f"cannot be read ({error.strerror})") from error
    except (*MISFITS, EOFError, pickle.UnpicklingError) as error:  # whole, but not for this software
        raise UnusableError(f"was written by other versions ({error})") from error
    if not isinstance(state, dict):
        raise UnusableError("is not a run's")
    refuse_other_settings(state.get("config"), config)
    return state


def _set_aside(refused: Path) -> Path | None:
    """Move a file to where the next checkpoint does not push the last good one out."""
    return refused.replace(free_name(refused.with_name(REFUSED))) if refused.exists() else None


def _seal(content: memoryview) -> bytes:
    return MARK + FORMAT + b" " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _unsealed(path: Path) -> io.BytesIO:
    """Return what `save_checkpoint` sealed, unchanged since."""
    data = path.read_bytes()
    content, seal = memoryview(data)[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if not data.startswith(b"PK"):  # as every file of torch.save does
        raise UnusableError("is not a checkpoint")
    if not seal.startswith(MARK):
        raise UnusableError("is cut short, or written by another version of emprune")
    if not seal.startswith(MARK + FORMAT + b" "):
        raise UnusableError("has another format than this version of emprune reads")
    if seal != _seal(content):
        raise UnusableError("is damaged: its content does not match its checksum")
    return io.BytesIO(content)
