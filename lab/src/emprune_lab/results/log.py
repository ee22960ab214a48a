"""A run's log: a line of JSON for each epoch, on the disk before the next epoch begins."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emprune_lab.errors import RunError
from emprune_lab.files import named, write_whole

__all__ = ["RunLog"]

FIRST_KEY = b'{"epoch": '


@dataclass(frozen=True)
class RunLog:
    """The file, which need not exist yet."""

    path: Path

    @property
    def visits(self) -> int:
        """Visits until the last whole epoch."""
        lines = self.path.read_bytes().splitlines() if self.path.is_file() else []
        for line in reversed(lines):
            with suppress(ValueError, KeyError, TypeError):  # a line may be half-written
                return int(json.loads(line)["visits"])
        return 0

    def append(self, record: Mapping[str, Any]) -> tuple[int, str]:
        """Add a line, and return the log's length in bytes and its SHA-256, by which a checkpoint knows it again."""
        with named(self.path), self.path.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        content = self.path.read_bytes()
        return len(content), hashlib.sha256(content).hexdigest()

    def cut(self, num_bytes: int, sha256: str) -> None:
        """Drop the lines of the epochs after the checkpoint that is being gone on from.

        A new file replaces the log afterwards, so that no file that shares its content changes.

        Args:
            num_bytes: Its length when the checkpoint was written; 0 without a checkpoint.
            sha256: What it had in it then.

        Raises:
            RunError: If it is not the log that the checkpoint goes with, or has something else than epochs' lines.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        kept, rest = content[:num_bytes], content[num_bytes:]
        if len(kept) < num_bytes:
            raise RunError(
                f"{self.path} is shorter than its checkpoint says. Delete its folder, and the run is made again."
            )
        if num_bytes and hashlib.sha256(kept).hexdigest() != sha256:
            raise RunError(
                f"{self.path} is not the log that its checkpoint goes with. Put that one back, or delete the folder, "
                "and the run is made again."
            )
        if not all(map(_is_record, rest.split(b"\n"))):
            raise RunError(
                f"{self.path} has lines in it that are no epochs of the run, behind the {num_bytes} bytes that its "
                "checkpoint knows. Remove them, and go on with --resume."
            )
        if content:
            write_whole(self.path, lambda file: file.write(kept))


def _is_record(line: bytes) -> bool:
    """Whether a line is an epoch's, or what a power cut left of one."""
    line = line.strip(b"\0")
    return line.startswith(FIRST_KEY) or FIRST_KEY.startswith(line)
