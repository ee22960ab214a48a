"""Where a run stands: counted batch by batch, logged epoch by epoch, summed up at the end."""

import dataclasses
import math
import reprlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from emprune.errors import StateError
from emprune.summary import PrunerSummary
from emprune_lab.environment import machine, versions
from emprune_lab.errors import RunError
from emprune_lab.results.record import RunRecord
from emprune_lab.run import Run

__all__ = ["Tally"]

WORDS = {int: "0 or a positive integer", float: "a number", str: "text", dict: "a table"}


@dataclass
class Tally:
    """Where a run stands and what it has cost. `batch` batches of `epoch` are done, with a loss of `loss_sum`.

    `summary` describes the epoch's plan by what was known when it was made; `log_bytes` are in the log by now.
    """

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    visits: int = 0
    loss_sum: float = 0.0
    learning_rate: float = 0.0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    summary: dict[str, Any] = field(default_factory=dict)
    log_bytes: int = 0
    log_sha256: str = ""
    test_accuracy: dict[int, float] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def restored(cls, state: object, *, num_epochs: int) -> Self:
        """Return the tally that a checkpoint has, as torch keeps it or as JSON does.

        Raises:
            StateError: If it is none of a run of so many epochs.
        """
        kinds = {name: type(value) for name, value in dataclasses.asdict(cls()).items()}
        if not isinstance(state, Mapping) or state.keys() != kinds.keys():
            raise StateError(f"A tally must have {', '.join(kinds)}; got {reprlib.repr(state)}.")
        for name, kind in kinds.items():
            value = state[name]
            right = (int, float) if kind is float else kind
            if not isinstance(value, right) or isinstance(value, bool) or (kind is int and value < 0):
                raise StateError(f"`{name}` of a tally must be {WORDS[kind]}; got {reprlib.repr(value)}.")
        planned = state["steps"] == 0 or state["summary"].keys() >= {"num_kept", "planning_seconds"}
        if state["epoch"] > num_epochs or not planned:
            raise StateError(f"The tally is of no run of {num_epochs} epochs; got {reprlib.repr(state)}.")
        by_epoch = {int(epoch): accuracy for epoch, accuracy in state["test_accuracy"].items()}
        return cls(**{**state, "test_accuracy": by_epoch})

    def planned(self, summary: PrunerSummary) -> None:
        """Note what is known of the plan of an epoch that begins."""
        self.summary = _plain(dataclasses.asdict(summary))

    def counts(self) -> dict[str, int]:
        """Return what else has been counted, for the log and the result."""
        return {}

    def close_epoch(self, score: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Have the model scored, move on to the next epoch and return the log's record of this one.

        Args:
            score: Returns `test_accuracy` and the like, as far as it is time for them.

        Raises:
            RunError: If the loss or a score is not finite: the run diverged.
        """
        num_kept = self.summary["num_kept"]
        mean_loss = self.loss_sum / num_kept
        self._refuse_diverged("loss", mean_loss)
        started = time.perf_counter()
        self.scores = score()
        for name, value in self.scores.items():
            self._refuse_diverged(name.replace("_", " "), value)
        self.evaluation_seconds += time.perf_counter() - started
        if "test_accuracy" in self.scores:
            self.test_accuracy[self.epoch] = self.scores["test_accuracy"]
        record = {
            "epoch": self.epoch,
            "num_kept": num_kept,
            "visits": self.visits,
            "steps": self.steps,
            **self.counts(),
            "loss": mean_loss,
            "learning_rate": self.learning_rate,
            "seconds": self.epoch_seconds,
            "planning_seconds": self.summary["planning_seconds"],
            **self.scores,
            "summary": self.summary,
        }
        self.train_seconds += self.epoch_seconds
        self.epoch += 1
        self.batch, self.loss_sum, self.epoch_seconds = 0, 0.0, 0.0
        return record

    def _refuse_diverged(self, name: str, value: object) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise RunError(f"The {name} became {value} in epoch {self.epoch + 1}: the run diverged. Lower `max_lr`.")

    def result(self, run: Run) -> RunRecord:
        """Return the result of a run that is at its end; the last epoch's scores on the test set lose their `test_`."""
        ours = {name: score for name, score in self.scores.items() if not name.startswith("test_")}
        tested = {name.removeprefix("test_"): score for name, score in self.scores.items() if name not in ours}
        found = {
            **tested,
            **ours,
            "test_accuracy_by_epoch": {str(epoch + 1): accuracy for epoch, accuracy in self.test_accuracy.items()},
            "visits": self.visits,
            "visits_fraction": self.visits / (run.sizes.train * run.settings.cost.epochs),
            **self.counts(),
            "optimizer_steps": self.steps,
            "final_learning_rate": self.learning_rate,
            "train_seconds": self.train_seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "planning_seconds": self.summary["planning_seconds"],
            "num_train": run.sizes.train,
            "num_validation": run.sizes.validation,
            "num_test": run.sizes.test,
            "versions": versions(*(["transformers"] if run.task.kind != "images" else [])),
            "machine": machine(run.compute, run.world_size),
        }
        return RunRecord(run.settings, found)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: lists, dictionaries, finite numbers or null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
