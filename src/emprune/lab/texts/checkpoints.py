"""The Trainer's checkpoints, sealed: one that is not as it was written does not count."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from emprune.lab.files import write_whole

__all__ = ["newest_checkpoint", "seal"]

SEAL = "seal.json"
"""The SHA-256 of every file of a checkpoint, written when all of them are on the disk."""


def seal(checkpoint: Path) -> None:
    """Note what a checkpoint's files hold, once they are safe from a power cut."""
    for path in _files(checkpoint):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    text = json.dumps(_digests(checkpoint), indent=1) + "\n"
    write_whole(checkpoint / SEAL, lambda file: file.write(text.encode()))


def newest_checkpoint(folder: Path, *, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """Return the newest checkpoint that is as it was sealed; those that are not are removed.

    Args:
        folder: Of the Trainer's checkpoints.
        say: Told, in a sentence, of each that was sealed and is damaged.
    """
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]), reverse=True)
    for path in by_step:
        if _is_whole(path):
            return path
        if (path / SEAL).exists():  # without one the process was killed while it wrote
            say(f"{path} is damaged: its files do not match their checksums. Going on from the one before it, if any.")
        shutil.rmtree(path)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        known = json.loads((checkpoint / SEAL).read_text())
    except (OSError, ValueError):
        return False
    return bool(known == _digests(checkpoint))


def _digests(checkpoint: Path) -> dict[str, str]:
    digests = {}
    for path in _files(checkpoint):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != SEAL)
