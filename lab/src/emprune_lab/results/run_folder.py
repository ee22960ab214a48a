"""A run's folder: its settings, its log, its checkpoints, its result. Files appear whole or not at all."""

import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from emprune.errors import ConfigError
from emprune_lab.earlier import settings_of
from emprune_lab.errors import RunError, RunExistsError
from emprune_lab.files import refuse_file, sweep, write_whole
from emprune_lab.results.checkpoints import EARLIER, Checkpoints
from emprune_lab.results.log import RunLog
from emprune_lab.results.record import RunRecord, read_record
from emprune_lab.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunFolder"]

LOG, CHECKPOINTS, MODEL = "log.jsonl", "checkpoints", "model.safetensors"

RECORDS = (LOG, "visits.npy", "samples.parquet")
"""What a run leaves behind besides its result, for whoever reads about it."""

FILES = ("result.json", *EARLIER, *RECORDS, MODEL, "config.json")
"""In the order in which they are cleared away: half-way the run is not finished, and still known as one."""

LOCK, LOCK_SECONDS = ".lock", 5.0
"""Who trains in the folder holds this file, and how long is waited for what a killed process left behind to let go."""

KNOWN_SETTINGS = ({"task", "method", "cost", "training"}, {"task", "method", "epochs", "batch_size", "max_lr"})
"""What the settings of this version have, and those of 0.1; those of other programs hardly."""

REMEDY = "Delete its folder, and the run is made again."


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @classmethod
    def open(cls, path: Path, settings: Settings, *, resume: bool = False, overwrite: bool = False) -> Self:
        """Return the folder for a run about to start or to go on, without ever losing one silently.

        Raises:
            RunExistsError: If the folder holds another run, or this one unfinished and `resume` was not asked for. If
                it holds something else with the name of a run's file, or a link with such a name.
            RunError: If the folder's settings cannot be read.
        """
        folder = cls(path)
        if overwrite:
            folder._clear()
        known = not overwrite and folder.check(settings)
        if known and not resume and not folder.finished:
            raise RunExistsError(
                f"{path} holds an unfinished run. Go on with --resume, start again with --overwrite, "
                "or choose another --out."
            )
        path.mkdir(parents=True, exist_ok=True)
        if not folder.finished:
            folder._refuse_links()
        sweep(path, "|".join(map(re.escape, (*FILES, CHECKPOINTS))))  # what a killed process was writing
        if folder.finished:
            folder.checkpoints.clear(finished=True)
        if not known:
            folder._write_json("config.json", settings.model_dump())
        return folder

    def check(self, settings: Settings, *, to_replace: str = "start again with --overwrite") -> bool:
        """Return whether the folder holds a run.

        Args:
            settings: Its settings.
            to_replace: What the user can do to replace another run, in words.

        Raises:
            RunExistsError: If it holds one of other settings, or what is no run and has the name of a run's file.
            RunError: If its settings cannot be read.
        """
        self.refuse_foreign()
        known = self.settings()
        differing = [] if known is None else known.differences(settings)
        if differing:
            raise RunExistsError(
                f"{self.path} holds a run with other settings (there and here): {'; '.join(differing)}. "
                f"Use the same settings, {to_replace}, or choose another --out."
            )
        return known is not None

    def refuse_foreign(self) -> None:
        """Raise RunExistsError if the folder is no run's, and holds what a run would replace.

        Raises:
            ConfigError: If a file has its name.
        """
        refuse_file(self.path)
        held = [name for name in (*FILES, CHECKPOINTS) if (self.path / name).exists()]
        if held and self._known_settings() is None:
            raise RunExistsError(
                f"{self.path} holds {', '.join(held)}, but no run of emprune, which would replace that. "
                "Choose another --out, or move it away."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in the folder, until the end of the block or the death of this process.

        Raises:
            RunError: If another one trains in it, or its file system has no locks.
        """
        from filelock import FileLock, Timeout  # takes longer to import than the help of a command to print

        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / LOCK
        lock = FileLock(file, fallback_to_soft=False)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise RunError(
                f"{self.path} is in use: another process trains in it. Wait for that one, or choose another --out."
            ) from None
        except OSError as error:
            if error.filename is not None:  # it cannot be opened, and says so
                raise
            raise RunError(
                f"{file} cannot be locked ({error.strerror}): the file system has no locks, which keep two processes "
                "from training in one folder. Choose an --out on another disk, such as this machine's own."
            ) from error
        try:
            yield
        finally:
            if self.finished and file.exists() and file.stat().st_size == 0:  # as ours is
                file.unlink()
            lock.release()

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / "result.json").is_file()

    @property
    def log(self) -> RunLog:
        """A line for each epoch."""
        return RunLog(self.path / LOG)

    @property
    def checkpoints(self) -> Checkpoints:
        """What the run goes on from."""
        return Checkpoints(self.path / CHECKPOINTS, self._known_settings() or {}, _differences)

    def settings(self) -> Settings | None:
        """Return the settings the folder's run was started with, or None if it holds no run.

        Raises:
            RunError: If they are damaged.
            ConfigError: If they are none that this version has.
        """
        values = self._stored()
        try:
            return None if values is None else settings_of(values)
        except ConfigError as error:
            raise ConfigError(
                f"{self.path} holds a run that cannot be made here. {error} Choose another --out."
            ) from error

    def result(self) -> RunRecord:
        """Return the result of a finished run.

        Raises:
            RunError: If there is none, or it is not whole.
        """
        values = self._read_json("result.json")
        if values is None:
            raise RunError(f"{self.path} holds no finished run.")
        try:
            return read_record(values)
        except ConfigError as error:
            raise RunError(f"{self.path / 'result.json'} is damaged: {error} {REMEDY}") from error

    @property
    def model(self) -> Path:
        """The weights of a run on texts that kept them."""
        return self.path / MODEL

    def finish(self, result: RunRecord, samples: "pa.Table") -> None:
        """Write what is known of each sample and, last, the result: its presence says that the run is complete."""
        import pyarrow.parquet as pq

        visits = samples["visits"].to_numpy()
        write_whole(self.path / "visits.npy", lambda file: np.save(file, visits))
        content = io.BytesIO()  # in memory first: what a full disk does to pyarrow is not ours to name
        pq.write_table(samples, content, compression="zstd")
        write_whole(self.path / "samples.parquet", lambda file: file.write(content.getbuffer()))
        self._write_json("result.json", result.document())
        self.checkpoints.clear(finished=True)

    def adopt(self, result: RunRecord, *, source: Path | None = None) -> None:
        """Take over a run that was made elsewhere: what it recorded if its folder is there and, last, its result.

        Raises:
            RunError: If another process trains in the folder.
        """
        with self.held():
            self._refuse_links()
            self._write_json("config.json", result.settings.model_dump())
            for name in (*RECORDS, MODEL):
                (self.path / name).unlink(missing_ok=True)  # of a run that was begun here
            for name in RECORDS:
                if source is not None and (source / name).is_file():
                    with (source / name).open("rb") as recorded:
                        write_whole(self.path / name, partial(shutil.copyfileobj, recorded))
            self._write_json("result.json", result.document())
            self.checkpoints.clear()  # they hold another model than the one that was scored

    def _clear(self) -> None:
        """Remove the files of the folder's run."""
        self.refuse_foreign()
        self._refuse_links()
        checkpoints = self.checkpoints
        (self.path / "result.json").unlink(missing_ok=True)
        checkpoints.clear()
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)

    def _refuse_links(self) -> None:
        """Raise RunExistsError if a file of the run is a link: what it leads to may be another's."""
        links = [name for name in (*FILES, CHECKPOINTS) if (self.path / name).is_symlink()]
        if links:
            raise RunExistsError(
                f"{self.path} has a link in place of {', '.join(links)}: a run writes no file that may be another's. "
                "Put the file itself there, or choose another --out."
            )

    def _known_settings(self) -> dict[str, Any] | None:
        """Return the settings of the folder's run, of whatever version, or None if it holds none.

        Raises:
            RunError: If they are damaged, and its result does not tell either.
        """
        try:
            settings = self._stored()
        except RunError:
            settings = _settings_in(self._read_json("result.json"))
            if settings is None:
                raise
        known = isinstance(settings, dict) and any(settings.keys() >= names for names in KNOWN_SETTINGS)
        return settings if known else None

    def _stored(self) -> Any:
        """Return what the folder's files give as settings, checked for nothing; None if they give none."""
        values = self._read_json("config.json")
        return _settings_in(self._read_json("result.json")) if values is None else values

    def _read_json(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text())
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read ({error}). {REMEDY}") from error
        if not isinstance(values, dict):
            raise RunError(f"{path} is not a run's. {REMEDY}")
        return values

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=1) + "\n"
        write_whole(self.path / name, lambda file: file.write(text.encode()))


def _settings_in(result: Mapping[str, Any] | None) -> Any:
    """Return the settings that a result has, of this version or of 0.1."""
    return None if result is None else result.get("settings", result.get("config"))


def _differences(stored: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    return settings_of(stored).differences(settings_of(own))
