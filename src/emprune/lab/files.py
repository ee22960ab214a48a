"""Files: paths as users write them, and writing that leaves a file whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emprune.errors import ConfigError

__all__ = ["home_expanded", "named", "read_text", "write_whole"]


def home_expanded(text: str) -> Path:
    """Return the path that a user wrote, with ~ as the home folder.

    Raises:
        ConfigError: If it is empty, or ~ names nobody's home folder.

    Example:
        >>> home_expanded("runs/emp").as_posix()
        'runs/emp'
    """
    if not text:
        raise ConfigError("A path must not be empty: got ''. Use . for the current folder.")
    if "\0" in text:
        raise ConfigError(f"A path must not contain a null byte: got {text!r}.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"A path must begin with a folder that exists: got {text!r} ({error}).") from error


def read_text(path: Path) -> str:
    """Return a file's text, which is UTF-8 whatever the locale is, with a byte order mark or without."""
    return path.read_text(encoding="utf-8-sig")


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, keep: Path | None = None) -> None:
    """Write a file so that it is, at any moment and after any crash, the old one or the new one, whole.

    Args:
        path: The file.
        write: Given the open file, writes the content.
        keep: Where the old file goes, if it is to be kept. Between the two moves it is there, and nothing at `path`.

    Raises:
        OSError: If it cannot be written; it names the file, and the old one is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with named(path), temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let a failure to write name the file, which the system does for opening alone."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
