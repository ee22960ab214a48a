"""Files: paths as users write them, and writing that leaves a file whole or not at all.

Until it is whole a file is a draft, `.NAME.NUMBER` beside it, and locked. What a killed process left is not locked any
more, and goes when the file is next written.
"""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from emprune.errors import ConfigError

__all__ = [
    "draft_folder",
    "files_below",
    "free_name",
    "home_expanded",
    "named",
    "read_text",
    "refuse_file",
    "refuse_foreign",
    "sweep",
    "write_whole",
]

MARKS = {
    ".html": b"<title>emprune: ",
    ".md": b"| method |",
    ".json": b'"format": ',
    ".csv": b",p_given,",
    ".parquet": b"p_given",
}
"""What pages, tables and numbers of emprune have near their beginning; Parquet names its columns at the end."""
MARKED_BYTES = 1 << 14


def home_expanded(text: str) -> Path:
    """Return the path that a user wrote, with ~ as the home folder.

    Raises:
        ConfigError: If it is empty, or ~ names nobody's home folder.

    Example:
        >>> home_expanded("runs/emp").as_posix()
        'runs/emp'
    """
    if not text:
        raise ConfigError("A path must not be empty; got ''. Use . for the current folder.")
    if "\0" in text:
        raise ConfigError(f"A path must not contain a null byte; got {text!r}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"A path must be UTF-8; got {os.fsencode(text)!r}. Rename it.") from None
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"A path must begin with a folder that exists; got {text!r} ({error}).") from error


def refuse_file(folder: Path) -> None:
    """Raise ConfigError if there is a file where a command is to put its folder, or one of those that it is in."""
    file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if file is not None:
        raise ConfigError(f"`out` must be a folder; got {str(folder)!r}, and {file} is a file. Choose another --out.")


def files_below(folder: Path, name: str) -> list[Path]:
    """Return the files of a name in a folder and below it, sorted, while other processes may write and remove there."""
    there = sorted(Path(parent) for parent, _, names in os.walk(folder) if name in names)  # passes over what has gone
    return [parent / name for parent in there]


def read_text(path: Path) -> str:
    """Return a file's text, which is UTF-8 whatever the locale is, with a byte order mark or without."""
    return path.read_text(encoding="utf-8-sig")


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is, at any moment and after any crash, the old one or the new one, whole.

    A link is replaced by a file; what it leads to stays as it is.

    Args:
        path: The file.
        write: Given the open file, writes the content.

    Raises:
        OSError: If it cannot be written; it names the file, and the old one is as it was.
    """
    sweep(path.parent, re.escape(path.name))
    draft = _draft(path)
    try:
        with named(path), draft.open("wb") as file:
            _lock(file.fileno())
            write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside a file or folder, in which it may be made; what is in it at the end goes."""
    sweep(path.parent, re.escape(path.name))
    draft = _draft(path)
    with named(draft):
        draft.mkdir(parents=True)
    held = None
    with suppress(OSError):  # not every system opens folders
        held = os.open(draft, os.O_RDONLY)
        _lock(held)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if held is not None:
            os.close(held)


def sweep(folder: Path, names: str) -> None:
    """Remove from a folder the drafts of files and folders that killed processes left behind.

    Args:
        folder: Where to look.
        names: A regular expression of what the files and folders are called.
    """
    draft_name = re.compile(rf"\.(?:{names})\.[0-9]+")
    there = folder.iterdir() if folder.is_dir() else ()
    for draft in [left for left in there if draft_name.fullmatch(left.name) and not left.is_symlink()]:
        if _is_held(draft):
            continue
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def refuse_foreign(*paths: Path) -> None:
    """Raise ConfigError if a file that is about to be replaced is none of emprune's, by a mark that ours have."""
    for path in paths:
        if path.exists() and not (path.is_file() and _is_ours(path)):
            raise ConfigError(f"{path} would be replaced, and is none of emprune's. Write elsewhere, or move it away.")


def free_name(path: Path) -> Path:
    """Return the path or, if something is there, the first of `NAME-2`, `NAME-3` and so on at which nothing is.

    Example:
        >>> free_name(Path("nothing-is-here.pt")).name
        'nothing-is-here.pt'
    """
    free, number = path, 2
    while free.exists() or free.is_symlink():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let a failure to write name the file, which the system does for opening alone."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        if path.suffix == ".parquet":
            file.seek(max(0, path.stat().st_size - MARKED_BYTES))
        return MARKS[path.suffix] in file.read(MARKED_BYTES)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{threading.get_native_id()}")


def _lock(file: int) -> bool:
    """Lock an open file for as long as it is open, if nobody else has; where a file system has no locks, do nothing."""
    from filelock import lock_descriptor  # takes longer to import than the help of a command to print

    try:
        return lock_descriptor(file, blocking=False)
    except OSError:
        return False


def _is_held(draft: Path) -> bool:
    """Whether a process may still be at work on a draft; where that cannot be known, it may."""
    try:
        file = os.open(draft, os.O_RDONLY if draft.is_dir() else os.O_RDWR)
    except OSError:
        return draft.exists()
    try:
        return not _lock(file)
    finally:
        os.close(file)
