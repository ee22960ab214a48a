"""The checkpoints of a run on texts: folders that the Trainer wrote, sealed with the run's settings, then put in place.

A folder `checkpoint-NUMBER` is therefore whole, or was damaged later, or is none of ours. Ours is one that has a seal
and the settings of the run; nothing else is ever removed, and what has another name is not looked at.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from emprune.errors import ConfigError
from emprune_lab.errors import RunError
from emprune_lab.files import free_name, write_whole
from emprune_lab.settings import RunConfig
from emprune_lab.training.checkpoint import UnusableError, newest_usable, refuse_other_settings

__all__ = ["keep_checkpoint", "newest_checkpoint", "remove_checkpoints"]

SEAL = "seal.json"
"""Of which run a checkpoint is, and the SHA-256 of its files and of the seal, written when they are on the disk."""

NAME = re.compile(r"checkpoint-([1-9][0-9]*)")
FILE = re.compile(r"\w[\w.-]*")
FORMAT = 2
NUM_CHECKPOINTS = 2


@dataclass(frozen=True)
class Seal:
    """What is known of a checkpoint.

    Args:
        settings: Of the run that it is of.
        sha256: Of each of its files, by name.
    """

    settings: dict[str, Any]
    sha256: dict[str, str]

    @classmethod
    def read(cls, checkpoint: Path) -> Self:
        """Return a checkpoint's seal.

        Raises:
            OSError: If there is none, or it cannot be read.
            UnusableError: If it is not as it was written.
        """
        try:
            values = json.loads((checkpoint / SEAL).read_text())
        except (ValueError, RecursionError) as error:
            raise UnusableError("is damaged: its seal cannot be read") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UnusableError("has another format than this version of emprune reads")
        seal = cls(values.get("settings", {}), values.get("sha256", {}))
        named = isinstance(seal.sha256, dict) and all(map(FILE.fullmatch, seal.sha256))
        if values != seal._document() or not named:
            raise UnusableError("is damaged: its seal does not match its own checksum")
        return seal

    def write(self, checkpoint: Path) -> None:
        """Write it, after all else."""
        text = json.dumps(self._document(), indent=1) + "\n"
        write_whole(checkpoint / SEAL, lambda file: file.write(text.encode()))

    def _document(self) -> dict[str, Any]:
        content = {"format": FORMAT, "settings": self.settings, "sha256": self.sha256}
        return {**content, "seal": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def keep_checkpoint(written: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Seal a checkpoint that was just written, put it in place, and remove the run's older ones but for one.

    Args:
        written: Its folder, elsewhere on the same file system.
        folder: Of the run's checkpoints.
        settings: The run's.

    Raises:
        RunError: If something else has its name.
    """
    _seal(written, settings)
    place = folder / written.name
    if _is_of(place, settings):
        _remove(place)
    if place.is_symlink() or (place.exists() and not _is_empty(place)):
        raise RunError(
            f"{place} is not this run's, and has the name of its next checkpoint. Move it away, and go on with "
            "--resume."
        )
    folder.mkdir(exist_ok=True)
    written.replace(place)
    own = [path for path in _by_number(folder) if _is_of(path, settings)]
    for old in own[own.index(place) :][NUM_CHECKPOINTS:]:  # those with higher numbers were refused
        _remove(old)


def newest_checkpoint(
    folder: Path, config: RunConfig, *, say: Callable[[str], None] = lambda line: None
) -> Path | None:
    """Return a run's newest usable checkpoint, or None if it has not come so far.

    Args:
        folder: Of the run's checkpoints.
        config: The run's settings.
        say: Told, in a sentence, of each newer one that cannot be used, and why.

    Raises:
        RunError: If there are checkpoints and none is usable.
    """
    candidates = _by_number(folder)

    def checked(path: Path) -> Path:
        _check(path, config)
        return path

    return newest_usable(candidates, checked, set_aside=_set_aside, say=say) if candidates else None


def remove_checkpoints(folder: Path, settings: Mapping[str, Any]) -> None:
    """Remove the checkpoints of a run from their folder, and the folder too if that empties it."""
    own = [path for path in _by_number(folder) if _is_of(path, settings)]
    for path in own:
        _remove(path)
    if own:
        with suppress(OSError):  # something else is in it
            folder.rmdir()


def _by_number(folder: Path) -> list[Path]:
    """Return the folders with a checkpoint's name, the highest number first."""
    numbers = {path: NAME.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ())}
    found = [(int(match[1]), path) for path, match in numbers.items() if match and path.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]


def _check(checkpoint: Path, config: RunConfig) -> None:
    """Raise UnusableError if a checkpoint is not as it was sealed, or of another run."""
    try:
        seal = Seal.read(checkpoint)
        digests = {name: _digest(checkpoint / name) for name in seal.sha256}
    except FileNotFoundError as error:
        raise UnusableError(f"has no {Path(error.filename).name}") from error
    except OSError as error:
        raise UnusableError(f"cannot be read ({error.strerror})") from error
    if digests != seal.sha256:
        raise UnusableError("is damaged: its files do not match their checksums")
    refuse_other_settings(seal.settings, config)


def _is_of(checkpoint: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder is a checkpoint of the run with these settings, damaged or not."""
    try:
        theirs = Seal.read(checkpoint).settings
    except (OSError, UnusableError):
        return False
    if checkpoint.is_symlink():
        return False
    try:
        return RunConfig.from_json(theirs) == RunConfig.from_json(settings)
    except (ConfigError, TypeError):  # of another version
        return theirs == settings


def _remove(checkpoint: Path) -> None:
    """Remove what was sealed of a checkpoint, and the folder unless somebody put more into it."""
    for name in (*Seal.read(checkpoint).sha256, SEAL):  # which is the last: until then it is known as ours
        (checkpoint / name).unlink(missing_ok=True)
    if _is_empty(checkpoint):
        checkpoint.rmdir()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _set_aside(checkpoint: Path) -> Path | None:
    if not (checkpoint / SEAL).exists():  # somebody else's, which is in nobody's way yet
        return None
    return checkpoint.replace(free_name(checkpoint.with_name(f"{checkpoint.name}-refused")))


def _seal(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Note what a checkpoint's files hold, once they are safe from a power cut."""
    digests = {}
    for path in sorted(path for path in checkpoint.iterdir() if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digests[path.name] = _digest(path)
    Seal(dict(settings), digests).write(checkpoint)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
