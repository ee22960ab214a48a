"""A run's folder: its settings, its log, its checkpoint, its result. Files appear whole or not at all."""

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch

from emprune.lab.config import RunConfig
from emprune.lab.errors import RunError, RunExistsError

__all__ = ["RunFolder", "write_whole"]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @classmethod
    def open(cls, path: Path, config: RunConfig, *, resume: bool = False, overwrite: bool = False) -> Self:
        """Return the folder for a run about to start or to go on, without ever losing one silently.

        Raises:
            RunExistsError: If the folder holds another run, or this one unfinished and `resume` was not asked for.
            RunError: If the folder's settings cannot be read.
        """
        folder = cls(path)
        if overwrite:
            folder._clear()
        known = folder.check(config)
        if known and not resume and not folder.finished:
            raise RunExistsError(
                f"{path} holds an unfinished run. Go on with --resume, start anew with --overwrite, "
                "or choose another --out."
            )
        path.mkdir(parents=True, exist_ok=True)
        if not known:
            folder._write_json("config.json", config.to_json())
        return folder

    def check(self, config: RunConfig) -> bool:
        """Return whether the folder holds a run.

        Raises:
            RunExistsError: If it holds one of other settings.
            RunError: If its settings cannot be read.
        """
        known = self.config()
        differing = [] if known is None else known.differences(config)
        if differing:
            raise RunExistsError(
                f"{self.path} holds a run with other settings (there and here): {'; '.join(differing)}. "
                "Use the same settings, start anew with --overwrite, or choose another --out."
            )
        return known is not None

    def adopt(self, config: RunConfig, result: Mapping[str, Any]) -> None:
        """Take over the result of a run that was made elsewhere."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_json("config.json", config.to_json())
        self._write_json("result.json", result)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / "result.json").is_file()

    def config(self) -> RunConfig | None:
        """Return the settings the folder's run was started with, or None if it holds no run."""
        values = self._read_json("config.json")
        return None if values is None else RunConfig.from_json(values)

    def result(self) -> dict[str, Any]:
        """Return the result of a finished run."""
        values = self._read_json("result.json")
        if values is None:
            raise RunError(f"{self.path} holds no finished run.")
        return values

    def finish(self, result: Mapping[str, Any], visits: torch.Tensor) -> None:
        """Write the visits (N,) and, last, the result: its presence says that the run is complete."""
        write_whole(self.path / "visits.npy", lambda file: np.save(file, visits.cpu().numpy()))
        self._write_json("result.json", result)

    def append_log(self, record: Mapping[str, Any]) -> int:
        """Add a line to the log and return the log's length in bytes."""
        with (self.path / "log.jsonl").open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def cut_log(self, num_bytes: int) -> None:
        """Drop what was logged after the checkpoint that is being gone on from.

        Raises:
            RunError: If the log is shorter than the checkpoint says.
        """
        log = self.path / "log.jsonl"
        if num_bytes and (not log.is_file() or log.stat().st_size < num_bytes):
            raise RunError(f"{log} is shorter than its checkpoint says. Start anew with --overwrite.")
        if log.is_file():
            os.truncate(log, num_bytes)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        content = io.BytesIO()  # in memory first: torch.save turns a full disk into an error of its own
        torch.save(dict(state), content)
        write_whole(self.path / "checkpoint.pt", lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the checkpoint, or None if the run has not come so far.

        Raises:
            RunError: If the file cannot be read.
        """
        path = self.path / "checkpoint.pt"
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises all kinds of errors on a damaged file
            raise RunError(f"{path} cannot be read ({error}). Start anew with --overwrite.") from error
        return state

    def _clear(self) -> None:
        for name in ("result.json", "config.json", "checkpoint.pt", "log.jsonl", "visits.npy"):
            (self.path / name).unlink(missing_ok=True)

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            values: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise RunError(f"{path} cannot be read ({error}). Start anew with --overwrite.") from error
        return values

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=1) + "\n"
        write_whole(self.path / name, lambda file: file.write(text.encode()))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is, at any moment and after any crash, the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
