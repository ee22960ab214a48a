"""A finished run, as analyses see it: its visits, its log, and what is measured on its model, once."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emprune_lab.comparison.workers import Job, load_splits
from emprune_lab.errors import RunError
from emprune_lab.files import read_text, write_whole
from emprune_lab.tasks import Split, drawn
from emprune_lab.training.checkpoint import load_checkpoint
from emprune_lab.training.session import Session
from emprune_lab.training.tally import Tally

__all__ = ["OUTPUTS", "Bools", "Floats", "Measurement", "Run", "by_method"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """What is measured on a trained model.

    Args:
        name: Of the file that keeps it, in the run's folder.
        measure: Maps a trained session and N samples to (N, ...) float.
    """

    name: str
    measure: Callable[[Session, Split], Tensor]


def losses_and_classes(session: Session, split: Split) -> Tensor:
    """Return (N, 2) float32: the plain cross-entropy of a sample, without augmentation, and the class it is given."""
    logits = session.objective.predict_all(session.result_model, split.x)
    return torch.stack([F.cross_entropy(logits, split.y, reduction="none"), logits.argmax(1).float()], dim=1)


OUTPUTS = Measurement("train-outputs", losses_and_classes)


@dataclass(frozen=True)
class Run:
    """A finished run.

    All that is said of samples is in the order of the task's training set as the settings made it, (N,), of which the
    run may have trained on a part.

    Args:
        job: Its settings and its folder.
        say: Told what takes time.
    """

    job: Job
    say: Callable[[str], None] = lambda line: None

    @property
    def method(self) -> str:
        """The method and its options."""
        return self.job.config.method

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.job.config.seed

    @cached_property
    def training_set(self) -> Split[Any]:
        """The N samples."""
        config = self.job.config.replace(subset_fraction=1.0, leave_out=0)
        split: Split[Any] = load_splits(config, self.job.data_dir).train
        return split

    @cached_property
    def trained_on(self) -> Bools:
        """(N,) whether a sample was in what the run trained on."""
        config, num_samples = self.job.config, len(self.training_set)
        chosen = drawn(num_samples, fraction=config.subset_fraction, leave_out=config.leave_out, seed=config.seed)
        mask = np.zeros(num_samples, dtype=bool)
        mask[chosen.numpy()] = True
        return mask

    @cached_property
    def visits(self) -> NDArray[np.int64]:
        """(n,) how often each sample was visited, of the n that the run trained on."""
        return np.load(self._file("visits.npy")).astype(np.int64)  # type: ignore[no-any-return]

    @cached_property
    def visited(self) -> Bools:
        """(N,) whether a sample was ever visited."""
        mask = np.zeros(len(self.training_set), dtype=bool)
        mask[self.trained_on] = self.visits > 0
        return mask

    def log(self) -> list[dict[str, Any]]:
        """Return the record of each epoch."""
        return [json.loads(line) for line in read_text(self._file("log.jsonl")).splitlines()]

    def measured(self, measurement: Measurement) -> Floats:
        """Return (N, ...), measured on all samples, those that the run did not train on too; kept in its folder.

        Raises:
            RunError: If the run left no model.
        """
        kept = self.job.folder / f"{measurement.name}.npy"
        if not kept.exists() or kept.stat().st_mtime < (self.job.folder / "result.json").stat().st_mtime:
            self.say(f"measuring {self.method}, seed {self.seed}")
            session = self._trained()
            values = measurement.measure(session, self.training_set.to(session.compute.device)).cpu().numpy()
            write_whole(kept, lambda file: np.save(file, values))
        measured: Floats = np.load(kept).astype(np.float64)
        return measured

    def _trained(self) -> Session:
        config, folder = self.job.config, self.job.folder
        torch.set_num_threads(config.threads)
        session = Session.build(config, load_splits(config, self.job.data_dir))

        def load(state: Mapping[str, Any]) -> None:
            session.load_state_dict(state["session"])

        state = load_checkpoint(folder, config, load=load, say=self.say)
        if state is None or Tally.restored(state["tally"], num_epochs=config.epochs).epoch < config.epochs:
            raise RunError(f"{folder} holds a result without its last checkpoint. Delete the folder to run it here.")
        return session

    def _file(self, name: str) -> Path:
        path = self.job.folder / name
        if not path.is_file():
            raise RunError(f"{self.job.folder} holds a result without {name}. Delete the folder to run it here.")
        return path


def by_method(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return the runs of each method, in order."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return methods
