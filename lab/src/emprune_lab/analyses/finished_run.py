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

from emprune_lab.comparison.statistics import Floats
from emprune_lab.data.dividing import drawn
from emprune_lab.data.splits import Split
from emprune_lab.errors import RunError
from emprune_lab.files import read_text, write_whole
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run, splits_of
from emprune_lab.settings import Settings
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.saved_state import load_state
from emprune_lab.training.tally import Tally

__all__ = ["FinishedRun", "by_method"]


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Numbers of samples are (N,), in the order of the task's training set as the settings made it. The run may have
    trained on a part of it.

    Args:
        run: What it is.
        folder: Its folder.
        say: Told what takes time.
    """

    run: Run
    folder: Path
    say: Callable[[str], None] = lambda line: None

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self.run.settings

    @property
    def method(self) -> str:
        """The method and its options."""
        return str(self.settings.method)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.settings.seed

    @cached_property
    def result(self) -> RunRecord:
        """What it ended with."""
        return RunFolder(self.folder).result()

    @property
    def num_classes(self) -> int:
        """Classes of its task."""
        return self.run.task.num_classes

    @cached_property
    def training_set(self) -> Split[Any]:
        """The N samples."""
        return self._whole_training_set()

    def clean_labels(self) -> NDArray[np.int64]:
        """Return the labels (N,) of the training set before some were made wrong."""
        labels: NDArray[np.int64] = self._whole_training_set(label_noise=0.0).y.numpy()
        return labels

    @cached_property
    def trained_on(self) -> NDArray[np.bool_]:
        """(N,) whether a sample was in what the run trained on."""
        data, num_samples = self.settings.data, len(self.training_set)
        chosen = drawn(num_samples, fraction=data.subset_fraction, leave_out=data.leave_out, seed=self.seed)
        mask = np.zeros(num_samples, dtype=bool)
        mask[chosen.numpy()] = True
        return mask

    @cached_property
    def visits(self) -> NDArray[np.int64]:
        """(n,) how often each sample was visited, of the n that the run trained on."""
        return np.load(self._file("visits.npy")).astype(np.int64)  # type: ignore[no-any-return]

    @cached_property
    def visited(self) -> NDArray[np.bool_]:
        """(N,) whether a sample was ever visited."""
        mask = np.zeros(len(self.training_set), dtype=bool)
        mask[self.trained_on] = self.visits > 0
        return mask

    def log(self) -> list[dict[str, Any]]:
        """Return the record of each epoch."""
        return [json.loads(line) for line in read_text(self._file("log.jsonl")).splitlines()]

    @cached_property
    def losses(self) -> Floats:
        """(N,) the plain cross-entropy of each sample at the end, without augmentation."""
        return self.measured("train-outputs", _losses_and_classes)[:, 0]

    @cached_property
    def classes(self) -> Floats:
        """(N,) the class that each sample is given at the end."""
        return self.measured("train-outputs", _losses_and_classes)[:, 1]

    def measured(self, name: str, measure: Callable[[ArrayTraining, Split], Tensor]) -> Floats:
        """Return (N, ...), measured on all samples, those that the run did not train on too; kept in its folder.

        Args:
            name: Of the file that keeps it.
            measure: Maps a trained session and N samples to (N, ...) float.

        Raises:
            RunError: If the run left no model.
        """
        kept = self.folder / f"{name}.npy"
        if not kept.exists() or kept.stat().st_mtime < (self.folder / "result.json").stat().st_mtime:
            self.say(f"measuring {self.method}, seed {self.seed}")
            training = self._trained()
            values = measure(training, self.training_set.to(self.run.compute.device)).cpu().numpy()
            write_whole(kept, lambda file: np.save(file, values))
        measured: Floats = np.load(kept).astype(np.float64)
        return measured

    def _whole_training_set(self, **changes: Any) -> Split[Any]:
        settings = self.settings.replace(subset_fraction=1.0, leave_out=0, **changes)
        split: Split[Any] = splits_of(settings, self.run.task, self.run.data_dir).train
        return split

    def _trained(self) -> ArrayTraining:
        settings = self.settings
        torch.set_num_threads(settings.machine.threads)
        training = ArrayTraining(self.run)

        def load(state: Mapping[str, Any]) -> None:
            training.load_state_dict(state["session"])

        num_epochs, checkpoints = settings.cost.epochs, RunFolder(self.folder).checkpoints
        num_steps = self.result["optimizer_steps"]
        state = checkpoints.newest(lambda checkpoint: load_state(checkpoint, load), say=self.say)
        if state is None or Tally.restored(state["tally"], num_epochs=num_epochs).steps < num_steps:
            raise self._lacks("its last checkpoint")
        return training

    def _file(self, name: str) -> Path:
        if not (self.folder / name).is_file():
            raise self._lacks(name)
        return self.folder / name

    def _lacks(self, what: str) -> RunError:
        return RunError(f"{self.folder} holds a result without {what}. Delete the folder to run it here.")


def by_method(runs: Iterable[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Return the runs of each method, in order."""
    methods: dict[str, list[FinishedRun]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return methods


def _losses_and_classes(training: ArrayTraining, split: Split) -> Tensor:
    """(N, 2) float32."""
    logits = training.objective.predict_all(training.result_model, split.x)
    return torch.stack([F.cross_entropy(logits, split.y, reduction="none"), logits.argmax(1).float()], dim=1)
