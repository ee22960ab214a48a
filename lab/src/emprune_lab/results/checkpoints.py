"""A run's checkpoints: whole, sealed, and the newest two at any time.

    RUN/.checkpoints.4711/                   a draft: its files are written, made safe from a power cut, then sealed
    RUN/checkpoints/checkpoint-12/           renamed into place: whole, or damaged later, or none of ours
        state.pt ...                         what the training writes
        seal.json                            the run's settings, the SHA-256 of each file, and of the seal itself
    RUN/checkpoints/checkpoint-8/            the one before, which is used where the newest is refused
    RUN/checkpoints/checkpoint-12-refused/   one that was refused

The number counts the run's steps. Ours is a checkpoint that has a seal and the settings of the run. Nothing else is
ever removed, and what has another name is not looked at.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from emprune.errors import ConfigError
from emprune_lab.errors import RunError
from emprune_lab.files import draft_folder, free_name, named

__all__ = ["EARLIER", "Checkpoints", "UnusableError"]

State = TypeVar("State")

NAME = re.compile(r"checkpoint-[1-9][0-9]*")
FILE = re.compile(r"\w[\w.-]*")
NUM_KEPT = 2

SEAL, FORMAT = "seal.json", 4
SEALED = {"settings": dict, "sha256": dict, "lasting": bool}

EARLIER = ("checkpoint.pt", "checkpoint-previous.pt")
"""What versions 0.1 and 0.2.0.dev0 wrote for runs on images, in the run's folder."""


class UnusableError(Exception):
    """What is wrong with a checkpoint, as the end of a sentence that begins with its path."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they are.
        settings: The run's, as JSON has them.
        differences: Returns, in words, how the settings of a checkpoint differ from the run's.
    """

    folder: Path
    settings: Mapping[str, Any]
    differences: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]

    def write(self, num_steps: int, write: Callable[[Path], object], *, lasting: bool) -> None:
        """Write a checkpoint into a draft, then `add` it.

        Args:
            num_steps: The run's until now, the checkpoint's number.
            write: Writes its files into the folder that it is given.
            lasting: Whether it stays if it is the run's last one.
        """
        with draft_folder(self.folder) as draft, named(self.folder / f"checkpoint-{num_steps}"):
            write(draft)
            self.add(draft, num_steps, lasting=lasting)

    def add(self, written: Path, num_steps: int, *, lasting: bool) -> None:
        """Seal a checkpoint that was just written, put it in place, and remove the run's older ones: two stay.

        Args:
            written: Its folder, elsewhere on the same file system.
            num_steps: As in `write`.
            lasting: As in `write`.

        Raises:
            OSError: If that cannot be done; it names the checkpoint. Those before are as they were.
            RunError: If something else has its name.
        """
        target = self.folder / f"checkpoint-{num_steps}"
        with named(target):
            _seal(written, self.settings, lasting=lasting)
        self._remove([target] if self._is_own(target) else [])
        if target.is_symlink() or target.exists():
            raise RunError(
                f"{target} is not this run's, and has the name of its next checkpoint. Move it away, and go on with "
                "--resume."
            )
        self.folder.mkdir(exist_ok=True)
        written.replace(target)
        own = self._own()
        self._remove(own[own.index(target) :][NUM_KEPT:])  # those with higher numbers were refused

    def newest(self, use: Callable[[Path], State], *, say: Callable[[str], None]) -> State | None:
        """Return what is made of the newest checkpoint that can be used, or None if the run has not come so far.

        One that is damaged, another run's or another version's is set aside, and the one before it used.

        Args:
            use: Puts a checkpoint to use, or raises UnusableError. If it fails half-way, it is called with the one
                before.
            say: Told, in a sentence, of each newer one that cannot be used, and why.

        Raises:
            RunError: If there are checkpoints and none can be used. Then all of them stay where they are.
        """
        earlier = [self.folder.with_name(name) for name in EARLIER]
        problems: dict[Path, str] = {}
        for path in (*self._by_number(), *filter(Path.exists, earlier)):
            try:
                self._check(path)
                state = use(path)
            except UnusableError as error:
                problems[path] = f"{path} {error}"
                continue
            for refused, problem in problems.items():
                kept = _set_aside(refused)
                where = "" if kept is None else f" It is kept as {kept.name}."
                say(f"{problem}. Going on from {path.name} instead.{where}")
            return state
        if not problems:
            return None
        these = "them" if len(problems) > 1 else "it"
        raise RunError(
            f"There is no checkpoint to go on from: {', and '.join(problems.values())}. Put a good copy in place, "
            f"or move {these} away to start again."
        )

    def clear(self, *, finished: bool = False) -> None:
        """Remove the run's checkpoints, and the folder too if that empties it.

        Args:
            finished: Whether the run is at its end, so that its last one stays if it was to.
        """
        own = self._own()
        lasts = finished and bool(own) and _read_seal(own[0])["lasting"]
        self._remove(own[1:] if lasts else own)
        with suppress(OSError):  # something is in it
            self.folder.rmdir()

    def _check(self, checkpoint: Path) -> None:
        """Raise UnusableError if a checkpoint is not as it was sealed, or of another run."""
        if checkpoint.name in EARLIER:
            raise UnusableError("was written by an earlier version of emprune, which can finish the run")
        try:
            seal = _read_seal(checkpoint)
            digests = {name: _digest(checkpoint / name) for name in seal["sha256"]}
        except FileNotFoundError as error:
            raise UnusableError(f"has no {Path(error.filename).name}") from error
        except OSError as error:
            raise UnusableError(f"cannot be read ({error.strerror})") from error
        if digests != seal["sha256"]:
            raise UnusableError("is damaged: its files do not match their checksums")
        try:
            differing = self.differences(seal["settings"], self.settings)
        except (ConfigError, TypeError) as error:
            raise UnusableError(f"is of a run that cannot be made here. {error}".rstrip(".")) from error
        if differing:
            raise UnusableError(f"is of a run with other settings (there and here: {'; '.join(differing)})")

    def _by_number(self) -> list[Path]:
        """Return the folders with a checkpoint's name, the highest number first."""
        found = [path for path in self.folder.glob("checkpoint-*") if NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)

    def _own(self) -> list[Path]:
        return [path for path in self._by_number() if self._is_own(path)]

    def _is_own(self, checkpoint: Path) -> bool:
        """Whether a folder is a checkpoint of this run, damaged or not."""
        if checkpoint.is_symlink():
            return False
        try:
            theirs = _read_seal(checkpoint)["settings"]
            return theirs == self.settings or not self.differences(theirs, self.settings)
        except (OSError, UnusableError, ConfigError, TypeError):
            return False

    def _remove(self, own: Iterable[Path]) -> None:
        """Remove what was sealed of checkpoints of the run, and their folders unless somebody put more into them."""
        for checkpoint in own:
            for name in (*_read_seal(checkpoint)["sha256"], SEAL):  # which is the last: until then it is known as ours
                (checkpoint / name).unlink(missing_ok=True)
        for folder in self._by_number():  # a process that was killed may have left others that are empty
            if not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()


def _seal(checkpoint: Path, settings: Mapping[str, Any], *, lasting: bool) -> None:
    """Write a checkpoint's seal, once all else in it is safe from a power cut."""
    digests = {}
    for path in sorted(path for path in checkpoint.iterdir() if path.is_file()):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        digests[path.name] = _digest(path)
    content = {"format": FORMAT, "settings": dict(settings), "lasting": lasting, "sha256": digests}
    with (checkpoint / SEAL).open("wb") as file:
        file.write(json.dumps({**content, "seal": _digest_of(content)}, indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read_seal(checkpoint: Path) -> dict[str, Any]:
    """Return what `_seal` wrote.

    Raises:
        OSError: If there is no seal, or it cannot be read.
        UnusableError: If it is not as it was written.
    """
    try:
        content = json.loads((checkpoint / SEAL).read_text())
    except (ValueError, RecursionError) as error:
        raise UnusableError("is damaged: its seal cannot be read") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UnusableError("has the format of another version of emprune, which can finish the run")
    digest = content.pop("seal", None)
    complete = all(isinstance(content.get(name), kind) for name, kind in SEALED.items())
    if digest != _digest_of(content) or not complete or not all(map(FILE.fullmatch, content["sha256"])):
        raise UnusableError("is damaged: its seal does not match its own checksum")
    return content


def _set_aside(checkpoint: Path) -> Path | None:
    """Move a checkpoint to where it is in nobody's way, and return where that is; None if it is somebody else's."""
    if not (checkpoint / SEAL).exists():
        return None
    return checkpoint.replace(free_name(checkpoint.with_name(f"{checkpoint.name}-refused")))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
