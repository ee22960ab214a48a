"""One run, from its settings to its result, stoppable after any batch and resumable from there."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from emprune.lab.environment import machine, versions
from emprune.lab.errors import RunError, StoppedError
from emprune.lab.session import Session, planned_visits
from emprune.lab.stopping import agreed
from emprune.lab.store import RunFolder

__all__ = ["Reporter", "Tally", "train"]

FORMAT = 1


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


@dataclass
class Tally:
    """Where a run stands and what it has cost. `batch` batches of `epoch` are done, with a loss of `loss_sum`.

    `summary` describes the epoch's plan by what was known when it was made.
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
    test_accuracy: dict[int, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


def train(
    session: Session, folder: RunFolder, *, report: Reporter, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Run to the end, from the folder's checkpoint if it has one, and return the result.

    On several ranks every one of them calls this; the first alone scores, and uses the folder.

    Args:
        session: Freshly built.
        folder: Opened for these settings.
        report: Told about every batch and epoch.
        stop: Asked after every batch; once it says yes, on any rank, the run writes a checkpoint and stops.

    Raises:
        StoppedError: If `stop` said yes.
        RunError: If the losses diverge, or no checkpoint can be used.
    """
    leads, num_epochs = session.ranks.rank == 0, session.config.epochs
    stop = agreed(stop, session.ranks)
    tally = _restore(session, folder, report)
    planned = planned_visits(session.config, len(session.splits.train))
    report.begin(num_epochs=num_epochs, planned_visits=planned, visits_done=tally.visits)
    while tally.epoch < num_epochs:
        if _train_epoch(session, tally, report, stop):
            record = _close_epoch(session, tally)
            if leads:
                tally.log_bytes = folder.append_log(record)
            report.epoch(record)
        _save(session, tally, folder)
        if stop() and tally.epoch < num_epochs:
            raise StoppedError(f"Stopped in epoch {tally.epoch + 1} of {num_epochs}; nothing is lost.")
    result = _finish(session, tally, folder) if leads else {}
    return session.ranks.broadcast(result, doing="the end of the run")


def _train_epoch(session: Session, tally: Tally, report: Reporter, stop: Callable[[], bool]) -> bool:
    """Train on the rest of the epoch, or until a stop is asked for; return whether the epoch is complete."""
    started = time.perf_counter()
    session.loader.set_epoch(tally.epoch)
    if tally.batch == 0:
        tally.summary = _plain(dataclasses.asdict(session.pruner.summary()))
    num_batches = len(session.loader)
    loss_sum = torch.zeros((), dtype=torch.float64, device=session.compute.device)
    for index, batch in session.loader:
        done = (tally.epoch + tally.batch / num_batches) / session.config.epochs
        tally.learning_rate = session.set_learning_rate(steps=tally.steps, epoch_fraction=done)
        loss_sum += session.train_on(index, batch).sum()
        tally.batch += 1
        tally.steps += 1
        num_visits = len(index) * session.ranks.size
        tally.visits += num_visits
        report.step(num_visits)
        if stop():
            break
    tally.loss_sum += session.ranks.total(loss_sum, doing="the sum of the losses").item()
    tally.epoch_seconds += time.perf_counter() - started
    return tally.batch == num_batches


def _close_epoch(session: Session, tally: Tally) -> dict[str, Any]:
    """Score the model if it is time, move the tally to the next epoch and return the log's record of this one."""
    num_kept = tally.summary["num_kept"]
    mean_loss = tally.loss_sum / num_kept
    if not math.isfinite(mean_loss):
        raise RunError(f"The loss became {mean_loss} in epoch {tally.epoch + 1}: the run diverged. Lower `max_lr`.")
    started = time.perf_counter()
    tally.scores = _score(session, tally) if session.ranks.rank == 0 else {}
    tally.evaluation_seconds += time.perf_counter() - started
    record = {
        "epoch": tally.epoch,
        "num_kept": num_kept,
        "visits": tally.visits,
        "steps": tally.steps,
        "loss": mean_loss,
        "learning_rate": tally.learning_rate,
        "seconds": tally.epoch_seconds,
        "planning_seconds": tally.summary["planning_seconds"],
        **tally.scores,
        "summary": tally.summary,
    }
    tally.train_seconds += tally.epoch_seconds
    tally.epoch += 1
    tally.batch, tally.loss_sum, tally.epoch_seconds = 0, 0.0, 0.0
    return record


def _score(session: Session, tally: Tally) -> dict[str, float]:
    """Score on validation and on test, each after the epochs that the objective says."""
    scores = {}
    objective, splits = session.objective, session.splits
    if splits.validation is not None and tally.epoch in objective.validation_epochs():
        scores.update(_named("validation", session.score(splits.validation)))
    if tally.epoch in objective.test_epochs():
        scores.update(_named("test", session.score(splits.test)))
        tally.test_accuracy[tally.epoch] = scores["test_accuracy"]
    return scores


def _named(part: str, scores: Mapping[str, float]) -> dict[str, float]:
    return {f"{part}_{name}": value for name, value in scores.items()}


def _save(session: Session, tally: Tally, folder: RunFolder) -> None:
    """Write a checkpoint, which may be gone on from with any number of ranks."""
    if session.ranks.size > 1:
        session.pruner.sync()
    if session.ranks.rank > 0:
        return
    config = session.config.to_json()
    folder.save_checkpoint({"config": config, "tally": dataclasses.asdict(tally), "session": session.state_dict()})


def _restore(session: Session, folder: RunFolder, report: Reporter) -> Tally:
    """Put the session back to the checkpoint, and the log with it: what was logged later will be logged again."""
    leads = session.ranks.rank == 0
    state = folder.load_checkpoint(say=report.remark) if leads else None
    state = session.ranks.broadcast(state, doing="loading the checkpoint")
    tally = Tally()
    if state is not None:
        session.load_state_dict(state["session"])
        tally = Tally(**state["tally"])
    if leads:
        folder.cut_log(tally.log_bytes)
    return tally


def _finish(session: Session, tally: Tally, folder: RunFolder) -> dict[str, Any]:
    """Write the result, and return it."""
    result = _result(session, tally)
    if session.config.recalibrate_bn:
        result["accuracy_recalibrated"] = session.score(session.splits.test, session.recalibrated())["accuracy"]
    folder.finish(result, session.pruner.visits)
    return result


def _result(session: Session, tally: Tally) -> dict[str, Any]:
    num_train = len(session.splits.train)
    ours = {name: score for name, score in tally.scores.items() if not name.startswith("test_")}
    tested = {name.removeprefix("test_"): score for name, score in tally.scores.items() if name not in ours}
    return {
        "format": FORMAT,
        **tested,
        **ours,
        "test_accuracy_by_epoch": {str(epoch + 1): accuracy for epoch, accuracy in tally.test_accuracy.items()},
        "visits": tally.visits,
        "visits_fraction": tally.visits / (num_train * session.config.epochs),
        "optimizer_steps": tally.steps,
        "final_learning_rate": tally.learning_rate,
        "train_seconds": tally.train_seconds,
        "evaluation_seconds": tally.evaluation_seconds,
        "planning_seconds": session.pruner.summary().planning_seconds,
        "num_train": num_train,
        "num_validation": 0 if session.splits.validation is None else len(session.splits.validation),
        "num_test": len(session.splits.test),
        "versions": versions(),
        "machine": machine(session.compute, session.ranks),
        "config": session.config.to_json(),
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: lists, dictionaries, finite numbers or null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
