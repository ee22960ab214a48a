"""A run's checkpoints: the newest and the one before it, sealed so that one that is not as it was written is known."""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from emprune.errors import ConfigError
from emprune.lab.config import RunConfig
from emprune.lab.errors import RunError
from emprune.lab.files import write_whole

__all__ = ["CHECKPOINTS", "load_checkpoint", "save_checkpoint"]

NEWEST, PREVIOUS, REFUSED = CHECKPOINTS = ("checkpoint.pt", "checkpoint-previous.pt", "checkpoint-refused.pt")

MARK = b"\nemprune checkpoint "
FORMAT = b"2"
SEAL_BYTES = len(MARK + FORMAT) + 1 + 64 + 1
"""A checkpoint is a file of torch.save with a seal behind it, which torch.load does not mind: mark, format, SHA-256."""


class _UnusableError(Exception):
    """What is wrong with a checkpoint."""


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
    folder: Path, config: RunConfig, *, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any] | None:
    """Return a run's newest usable checkpoint, or None if it has not come so far.

    A checkpoint that is not as it was written, or not this run's, is set aside and the one before it used.

    Args:
        folder: The run's.
        config: Its settings.
        say: Told, in a sentence, that the newest was not usable, and why.

    Raises:
        RunError: If there are checkpoints and none is usable.
    """
    newest, previous = folder / NEWEST, folder / PREVIOUS
    if not newest.exists() and not previous.exists():
        return None
    problems = []
    for path in (newest, previous):
        try:
            state = _read(path, config)
        except _UnusableError as error:
            problems.append(f"{path} {error}")
            continue
        if problems:
            say(f"{problems[0]}. Going on from {previous.name} instead.{_set_aside(newest)}")
        return state
    raise RunError(
        f"There is no checkpoint to go on from: {', and '.join(problems)}. Put a good copy in place, "
        "or delete both to start anew."
    )


def _read(path: Path, config: RunConfig) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(_unsealed(path), map_location="cpu", weights_only=True)
        differing = RunConfig.from_json(state["config"]).differences(config)
    except FileNotFoundError as error:
        raise _UnusableError("is missing") from error
    except OSError as error:
        raise _UnusableError(f"cannot be read ({error.strerror})") from error
    except (RuntimeError, pickle.UnpicklingError, ConfigError) as error:  # whole, but not for this software
        raise _UnusableError(f"was written by other versions ({error})") from error
    if differing:
        raise _UnusableError(f"is of a run with other settings (there and here: {'; '.join(differing)})")
    return state


def _set_aside(refused: Path) -> str:
    """Move a file to where the next checkpoint does not push the last good one out; return a sentence about it."""
    if not refused.exists():
        return ""
    refused.replace(refused.with_name(REFUSED))
    return f" The file is kept as {REFUSED}."


def _seal(content: memoryview) -> bytes:
    return MARK + FORMAT + b" " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _unsealed(path: Path) -> io.BytesIO:
    """Return what `save_checkpoint` sealed, unchanged since."""
    data = path.read_bytes()
    content, seal = memoryview(data)[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if not data.startswith(b"PK"):  # as every file of torch.save does
        raise _UnusableError("is not a checkpoint")
    if not seal.startswith(MARK):
        raise _UnusableError("is cut short, or written by another version of emprune")
    if not seal.startswith(MARK + FORMAT + b" "):
        raise _UnusableError("has another format than this version of emprune reads")
    if seal != _seal(content):
        raise _UnusableError("is damaged: its content does not match its checksum")
    return io.BytesIO(content)
