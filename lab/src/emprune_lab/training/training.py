"""One run in training: what our own loop and the Trainer share, and the interface that each implements.

Only `make_training` chooses between the two.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

from emprune import DataPruner
from emprune.distributed import Ranks
from emprune_lab.errors import StoppedError
from emprune_lab.results.record import RunRecord
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run, method_warnings_said_elsewhere
from emprune_lab.training.samples import finish_run
from emprune_lab.training.speed import Speed
from emprune_lab.training.stopping import Agreement
from emprune_lab.training.tally import Tally
from emprune_lab.training.tracking import tracking

__all__ = ["PROBE_SIZE", "Reporter", "Training", "num_scored", "scored_epochs"]

Found = TypeVar("Found")

PROBE_SIZE = 1000
"""Of so many training samples the loss is measured during the run."""


class Reporter(Protocol):
    """Is told how a run goes."""

    def begin(self, *, num_epochs: int, planned_visits: int, visits_done: int) -> None:
        """Training starts, or goes on after `visits_done`."""

    def step(self, num_visits: int) -> None:
        """A batch of `num_visits` samples was trained on."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch ended; `record` is its line in the log."""

    def remark(self, line: str) -> None:
        """Something happened that whoever started the run should know."""


class Training(ABC):
    """A run in memory: its model, its data and its pruner.

    Args:
        run: The run.
        ranks: The processes that share it.
    """

    def __init__(self, run: Run, ranks: Ranks | None = None) -> None:
        self.run = run
        self.ranks = ranks or Ranks()
        self.stop = Agreement(self.ranks)

    def train(self, folder: RunFolder, *, report: Reporter, stop: Callable[[], bool] = lambda: False) -> RunRecord:
        """Train to the end, from the folder's newest checkpoint if it has one, and return the result.

        Args:
            folder: Opened for this run.
            report: Told about every batch and epoch.
            stop: Asked after every batch, and by the first rank after every batch of scoring. Once it says yes, on any
                rank, the run writes a checkpoint and stops. A run that was stopped while scoring goes on with that.

        Raises:
            StoppedError: If `stop` said yes.
            RunError: If the losses diverge, a checkpoint cannot be written, or none can be used.
        """
        self.stop.own = stop
        with method_warnings_said_elsewhere(), ExitStack() as self._until_end:
            return self._train(folder, report)

    @abstractmethod
    def _train(self, folder: RunFolder, report: Reporter) -> RunRecord:
        """Do what `train` promises."""

    def time_steps(self, step: Callable[[], object] = lambda: None) -> Speed:
        """Time a few steps and a little scoring. The training is of no use afterwards.

        Args:
            step: Called after each of the `NUM_TIMED_STEPS`.
        """
        self.pruner.observe_validation(0.0, train_loss=0.0)  # nothing is scored between the steps
        with method_warnings_said_elsewhere():
            return self._time_steps(step)

    @abstractmethod
    def _time_steps(self, step: Callable[[], object]) -> Speed:
        """Do what `time_steps` promises."""

    @property
    @abstractmethod
    def pruner(self) -> DataPruner:
        """The run's pruner."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, Sized]:
        """What is scored: `test`, and `validation` and `probe` where there are any."""

    @abstractmethod
    def evaluate(self, part: str) -> dict[str, Any]:
        """Return the scores on one of the parts: `accuracy` in per cent, `loss`, and others such as `score`."""

    def scores(self, epoch: int) -> dict[str, Any]:
        """Return the scores that are due after an epoch, by the names that the log and the result have for them."""
        scores: dict[str, Any] = {}
        for part, epochs in scored_epochs(self.run).items():
            if part in self.parts and epoch in epochs:
                found = self.evaluate(part)
                scores |= {
                    f"{part}_{name}": value for name, value in found.items() if part != "probe" or name == "loss"
                }
        return scores

    def begin(self, folder: RunFolder, report: Reporter, tally: Tally) -> None:
        """Tell the reporter how much there is to do, and what of it a checkpoint had done; have the tracker open."""
        tracker = tracking(self.run, folder.path, epoch=tally.epoch, leads=self.ranks.rank == 0)
        self._follow = self._until_end.enter_context(tracker)
        epochs = self.run.settings.cost.epochs
        report.begin(num_epochs=epochs, planned_visits=self.run.sizes.visits, visits_done=tally.visits)

    def measure_first_gap(self) -> None:
        """Measure the gap before the first epoch if that is chosen by it: where a run starts from earlier columns.

        The first rank alone measures.

        Raises:
            StoppedError: If a stop is asked for meanwhile.
        """
        if self.run.settings.training.initial is None or self.pruner.epoch >= 0 or not self.run.follows_gap:
            return
        parts = ("validation", "probe")
        loss, train_loss = self.led(lambda: [self.evaluate(part)["loss"] for part in parts], doing="the first gap")
        if self.ranks.rank == 0:
            self.pruner.observe_validation(loss, train_loss=train_loss)

    def led(self, work: Callable[[], Found], *, doing: str) -> Found:
        """Have the first rank alone do work that a stop may end, and return on all ranks what it found. Collective.

        Args:
            work: What it does; others wait.
            doing: Its name, for the message of ranks that wait in vain.

        Raises:
            StoppedError: On all ranks, if the work was stopped.
        """
        found: Found | StoppedError | None = None
        if self.ranks.rank == 0:
            try:
                found = work()
            except StoppedError as error:
                found = error
        found = self.ranks.broadcast(found, doing=doing)
        if isinstance(found, StoppedError):
            raise found
        assert found is not None, "the first rank has it"
        return found

    def close_epoch(self, tally: Tally, folder: RunFolder, report: Reporter) -> None:
        """Score what is due, log the epoch and report it. The first rank alone scores, and uses the folder.

        Raises:
            StoppedError: If a stop is asked for meanwhile: the epoch is not closed then, and nothing has changed.
        """
        leads = self.ranks.rank == 0
        record = tally.close_epoch(lambda: self.led(lambda: self.scores(tally.epoch), doing="an epoch's scores"))
        if leads and self.run.follows_gap and "validation_loss" in tally.scores:
            self.pruner.observe_validation(tally.scores["validation_loss"], train_loss=tally.scores["probe_loss"])
        if leads:
            tally.log_bytes, tally.log_sha256 = folder.log.append(record)
        if self._follow is not None:
            self._follow(self.pruner, record)
        report.epoch(record)

    def finish(self, folder: RunFolder, tally: Tally, **more: Any) -> RunRecord:
        """Write the result and what is known of each sample, and return the result. The first rank alone calls it.

        The pruner was synced before, on all ranks: what the last epoch observed belongs to what is recorded.
        """
        result = tally.result(self.run)
        metric = {} if self.run.task.metric == "accuracy" else {"metric": self.run.task.metric}
        result = RunRecord(result.settings, {**result.found, **metric, **more})
        return finish_run(folder, result, self.pruner, self.run.splits)


def scored_epochs(run: Run) -> dict[str, set[int]]:
    """Return after which epochs each part is scored.

    The test set is scored at the end of each quarter. Where there is a validation part, it is scored at the end alone.
    Validation part and probe are scored up to 20 times: after every epoch that could cost more than the training. In
    contrastive learning only the end is scored, because a linear probe costs more than some epochs.
    A method that follows the gap must know one from the first epoch on.
    """
    epochs, validates = run.settings.cost.epochs, run.sizes.validation > 0
    if run.task.objective == "contrastive":
        return {"validation": {epochs - 1}, "test": {epochs - 1}}
    curve = evenly(epochs, times=20) | ({0} if run.follows_gap else set())
    test = evenly(epochs, times=1 if validates else 4)
    probes = run.task.kind != "texts" or run.follows_gap
    return {"validation": curve, "test": test, **({"probe": curve} if probes else {})}


def num_scored(run: Run) -> int:
    """Return how many samples a run's scoring takes through the model.

    In contrastive learning those are the training samples, because a linear probe is fitted on their features. Three
    times the scored ones are added: each as it is, and as two views.
    """
    sizes = {"validation": run.sizes.validation, "test": run.sizes.test, "probe": min(PROBE_SIZE, run.sizes.train)}
    if run.task.objective == "contrastive":
        return sum(run.sizes.train + 3 * sizes[part] for part in scored_epochs(run) if sizes[part])
    return sum(sizes[part] * len(epochs) for part, epochs in scored_epochs(run).items())


def evenly(num_epochs: int, *, times: int) -> set[int]:
    """Return so many epochs spread evenly over a run, the last among them; all where there are not more.

    Example:
        >>> sorted(evenly(10, times=4))
        [2, 4, 7, 9]
    """
    return {math.ceil(num_epochs * part / times) - 1 for part in range(1, times + 1)}
