"""The `emprune` command on a slow disk, so that a kill often hits a file that is being written.

Files and the system's calls are slowed down; the lab's own code runs as it is.
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from emprune.cli import main

PIECES = 8
PAUSE_SECONDS = 0.01
RENAME_SECONDS = 0.04


class SlowFile:
    """Writes in a few pieces, each on the disk before the next."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        size = max(1, len(view) // PIECES)
        for start in range(0, len(view), size):
            self._file.write(view[start : start + size])
            self._file.flush()
            time.sleep(PAUSE_SECONDS)
        return len(view)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> "SlowFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def slow_down() -> None:
    """Make writing, renaming, removing and syncing slow in this process."""
    opened, replaced, removed, synced = Path.open, Path.replace, Path.unlink, os.fsync

    def open_slowly(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file = opened(path, mode, *rest, **more)
        return SlowFile(file) if mode in ("wb", "ab") else file

    def replace_slowly(path: Path, target: Path) -> Path:
        moved = replaced(path, target)
        time.sleep(RENAME_SECONDS)  # afterwards: a new checkpoint is in place, and the oldest not yet removed
        return moved

    def remove_slowly(path: Path, missing_ok: bool = False) -> None:
        removed(path, missing_ok=missing_ok)
        time.sleep(PAUSE_SECONDS)

    def sync_slowly(file: int) -> None:
        synced(file)
        time.sleep(PAUSE_SECONDS)

    Path.open = open_slowly  # type: ignore[assignment, method-assign]
    Path.replace = replace_slowly  # type: ignore[assignment, method-assign]
    Path.unlink = remove_slowly  # type: ignore[assignment, method-assign]
    os.fsync = sync_slowly  # type: ignore[assignment]


def run_slowly(arguments: Sequence[str], says: Path) -> None:
    """Be the command `emprune` with these arguments; all that it prints goes to a file."""
    with says.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    slow_down()
    sys.argv = ["emprune", *arguments]
    main()
