"""One run, from its settings to its result, stoppable after any batch and resumable from there."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from emprune_lab.errors import StoppedError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.results.samples import finish_run
from emprune_lab.training.saved_state import load_state, save_state
from emprune_lab.training.session import Session, planned_visits
from emprune_lab.training.stopping import agreed
from emprune_lab.training.tally import Tally, named

__all__ = ["Reporter", "train"]


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
    planned = planned_visits(session.config, len(session.splits.train), world_size=session.ranks.size)
    report.begin(num_epochs=num_epochs, planned_visits=planned, visits_done=tally.visits)
    while tally.epoch < num_epochs:
        if _train_epoch(session, tally, report, stop):
            record = tally.close_epoch(lambda: _score(session, tally.epoch) if leads else {})
            if leads:
                tally.log_bytes, tally.log_sha256 = folder.log.append(record)
            report.epoch(record)
        _save(session, tally, folder)
        if stop() and tally.epoch < num_epochs:
            raise StoppedError(f"Stopped in epoch {tally.epoch + 1} of {num_epochs}; nothing is lost.")
    session.pruner.sync()  # what the last epoch observed belongs to what is recorded of the samples
    result = _finish(session, tally, folder) if leads else {}
    return session.ranks.broadcast(result, doing="the end of the run")


def _train_epoch(session: Session, tally: Tally, report: Reporter, stop: Callable[[], bool]) -> bool:
    """Train on the rest of the epoch, or until a stop is asked for; return whether the epoch is complete."""
    started = time.perf_counter()
    session.loader.set_epoch(tally.epoch)
    if tally.batch == 0:
        tally.planned(session.pruner.summary())
    num_batches, num_visits = len(session.loader), 0
    loss_sum = torch.zeros((), dtype=torch.float64, device=session.compute.device)
    for index, batch in session.loader:
        tally.learning_rate = session.set_learning_rate(steps=tally.steps)
        loss_sum += session.train_on(index, batch).sum()
        tally.batch += 1
        tally.steps += 1
        num_visits += len(index)
        report.step(len(index) * session.ranks.size)
        if stop():
            break
    sums = torch.stack([loss_sum.cpu(), torch.tensor(num_visits, dtype=torch.float64)])
    total_loss, total_visits = session.ranks.total(sums, doing="the sum of the losses").tolist()
    tally.loss_sum += total_loss
    tally.visits += round(total_visits)
    tally.epoch_seconds += time.perf_counter() - started
    return tally.batch == num_batches


def _score(session: Session, epoch: int) -> dict[str, Any]:
    """Score on validation, on test and on a probe of the training data, after the epochs that the objective says."""
    scores = dict[str, Any]()
    objective, splits = session.objective, session.splits
    if splits.validation is not None and epoch in objective.validation_epochs():
        scores |= named("validation", session.score(splits.validation))
    if epoch in objective.test_epochs():
        scores |= named("test", session.score(splits.test))
    if epoch in objective.probe_epochs():
        scores["probe_loss"] = session.score(objective.probe(splits.train))["loss"]
    return scores


def _save(session: Session, tally: Tally, folder: RunFolder) -> None:
    """Write a checkpoint, which may be gone on from with any number of ranks."""
    if session.ranks.size > 1:
        session.pruner.sync()
    if session.ranks.rank > 0:
        return
    state = {"tally": dataclasses.asdict(tally), "session": session.state_dict()}
    folder.checkpoints.write(tally.steps, lambda checkpoint: save_state(checkpoint, state), lasting=True)


def _restore(session: Session, folder: RunFolder, report: Reporter) -> Tally:
    """Put the session back to the checkpoint, and the log with it: what was logged later will be logged again."""
    leads, tally = session.ranks.rank == 0, Tally()

    def load(state: Mapping[str, Any]) -> None:
        nonlocal tally
        tally = Tally.restored(state["tally"], num_epochs=session.config.epochs)
        session.load_state_dict(state["session"])

    state = None
    if leads:
        state = folder.checkpoints.newest(lambda checkpoint: load_state(checkpoint, load), say=report.remark)
    state = session.ranks.broadcast(state, doing="loading the checkpoint")
    if leads:
        folder.log.cut(tally.log_bytes, tally.log_sha256)
    elif state is not None:
        load(state)
    return tally


def _finish(session: Session, tally: Tally, folder: RunFolder) -> dict[str, Any]:
    """Write the result, and return it."""
    result = tally.result(session.config, session.splits, compute=session.compute, ranks=session.ranks)
    if session.config.recalibrate_bn:
        result["accuracy_recalibrated"] = session.score(session.splits.test, session.recalibrated())["accuracy"]
    return finish_run(folder, result, session.pruner, session.splits)
