"""One run on texts, from its settings to its result: the Trainer's own loop and checkpoints, our log and progress."""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback, TrainerState
from transformers.trainer_callback import ExportableState

from emprune.distributed import Ranks
from emprune.lab.environment import machine, versions
from emprune.lab.errors import RunError, StoppedError
from emprune.lab.models.pretrained import quiet
from emprune.lab.objectives.base import quarters
from emprune.lab.session import planned_visits
from emprune.lab.store import RunFolder
from emprune.lab.texts.session import TextSession
from emprune.lab.train import FORMAT, Reporter, Tally

__all__ = ["finetune"]

TRAINER_STATE = "trainer_state.json"
"""The last that the Trainer writes of a checkpoint: one that has it whole is whole."""


@dataclass
class TextTally(Tally):
    """Where a run stands, and what it has cost: of this epoch `kept` visits are done, `summary` is from its start.

    Equal visits are not equal cost where texts differ in length, so tokens are counted too, without and with padding.
    """

    kept: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    test_score: dict[int, float] = dataclasses.field(default_factory=dict)
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)


class Course(TrainerCallback, ExportableState):
    """Follows a run: counts, logs and reports, has it scored and saved after every epoch, and stops it when asked to.

    Its tally travels in the Trainer's own state, so that a checkpoint has it, or is none.

    Args:
        session: What is trained.
        folder: The run's.
        report: Told about every batch and epoch.
        stop: Asked after every batch.
    """

    def __init__(self, session: TextSession, folder: RunFolder, report: Reporter, stop: Callable[[], bool]) -> None:
        self.session, self.folder, self.report, self.stop = session, folder, report, stop
        self.tally = TextTally()
        self._mark = 0.0
        self._reported = 0

    def state(self) -> dict[str, Any]:
        """Return what the Trainer saves of this."""
        return {"args": {}, "attributes": dataclasses.asdict(self.tally)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on from the checkpoint's tally, and drop from the log what came after it."""
        saved = state.stateful_callbacks[type(self).__name__]["attributes"]
        by_epoch = {name: {int(k): v for k, v in saved[name].items()} for name in ("test_accuracy", "test_score")}
        self.tally = TextTally(**{**saved, **by_epoch})
        self.session.trainer.sums[0] = self.tally.loss_sum  # one sum over the epoch, to the last bit
        self.folder.cut_log(self.tally.log_bytes)
        planned = planned_visits(self.session.config, len(self.session.splits.train))
        self.report.begin(num_epochs=self.session.config.epochs, planned_visits=planned, visits_done=self.tally.visits)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, before the epoch is planned."""
        self._mark, self._reported = time.perf_counter(), 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate of the step, and before an epoch's first what was planned."""
        self.tally.learning_rate = kwargs["optimizer"].param_groups[0]["lr"]
        if not self.tally.summary:  # a checkpoint in mid-epoch folds what was observed, and would show in it
            self.tally.summary = _plain(dataclasses.asdict(self.session.trainer.pruner.summary()))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the batch, and stop if that is asked for."""
        self.tally.steps += 1
        self.report.step(self.session.trainer.visits - self._reported)
        self._reported = self.session.trainer.visits
        if self.stop():
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the epoch if it is complete, and have a checkpoint written either way."""
        tally, trainer = self.tally, self.session.trainer
        visits, padded_tokens, loss_sum, tokens = trainer.take()
        tally.visits += visits
        tally.kept += visits
        tally.padded_tokens += padded_tokens
        tally.tokens += tokens
        tally.loss_sum = loss_sum
        tally.epoch_seconds += time.perf_counter() - self._mark
        if tally.kept == tally.summary["num_kept"]:
            record = self._close_epoch()
            tally.log_bytes = self.folder.append_log(record)
            self.report.epoch(record)
        if self.stop():
            control.should_training_stop = True
        control.should_save = True

    def _close_epoch(self) -> dict[str, Any]:
        tally, summary = self.tally, self.tally.summary
        mean_loss = tally.loss_sum / tally.kept
        if not math.isfinite(mean_loss):
            raise RunError(f"The loss became {mean_loss} in epoch {tally.epoch + 1}: the run diverged. Lower `max_lr`.")
        started = time.perf_counter()
        tally.scores = self._score()
        tally.evaluation_seconds += time.perf_counter() - started
        record = {
            "epoch": tally.epoch,
            "num_kept": summary["num_kept"],
            "visits": tally.visits,
            "steps": tally.steps,
            "tokens": tally.tokens,
            "padded_tokens": tally.padded_tokens,
            "loss": mean_loss,
            "learning_rate": tally.learning_rate,
            "seconds": tally.epoch_seconds,
            "planning_seconds": summary["planning_seconds"],
            **tally.scores,
            "summary": summary,
        }
        tally.train_seconds += tally.epoch_seconds
        tally.epoch += 1
        tally.kept, tally.loss_sum, tally.epoch_seconds, tally.summary = 0, 0.0, 0.0, {}
        return record

    def _score(self) -> dict[str, float]:
        """Score on validation after every epoch, on test after a few."""
        tally, scores = self.tally, dict[str, float]()
        if self.session.splits.validation is not None:
            scores |= {
                f"validation_{name}": v for name, v in self.session.evaluate(self.session.splits.validation).items()
            }
        if tally.epoch in quarters(self.session.config.epochs):
            tested = self.session.evaluate(self.session.splits.test)
            scores |= {f"test_{name}": value for name, value in tested.items()}
            tally.test_accuracy[tally.epoch] = tested["accuracy"]
            if "score" in tested:
                tally.test_score[tally.epoch] = tested["score"]
        return scores


def finetune(
    session: TextSession, folder: RunFolder, *, report: Reporter, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Run to the end, from the newest of the Trainer's checkpoints if there is one, and return the result.

    Args:
        session: Freshly built, to keep its checkpoints in `folder.trainer_checkpoints`.
        folder: Opened for these settings.
        report: Told about every batch and epoch.
        stop: Asked after every batch; once it says yes the run writes a checkpoint and stops.

    Raises:
        StoppedError: If `stop` said yes.
        RunError: If the losses diverge.
    """
    course = Course(session, folder, report, stop)
    session.trainer.add_callback(course)
    checkpoint = newest_checkpoint(folder.trainer_checkpoints)
    with quiet():
        session.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    tally, num_epochs = course.tally, session.config.epochs
    if tally.epoch < num_epochs:
        raise StoppedError(f"Stopped in epoch {tally.epoch + 1} of {num_epochs}; nothing is lost.")
    result = _result(session, tally)
    folder.finish(result, session.trainer.pruner.visits)
    return result


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint; those that a killed process left unfinished are removed."""
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]), reverse=True)
    for path in by_step:
        try:
            TrainerState.load_from_json(str(path / TRAINER_STATE))
        except (OSError, ValueError):
            shutil.rmtree(path)
        else:
            return path
    return None


def _result(session: TextSession, tally: TextTally) -> dict[str, Any]:
    splits, num_train = session.splits, len(session.splits.train)
    scores = dict(tally.scores)
    own: dict[str, Any] = {}
    if session.task.metric != "accuracy":
        by_epoch = {str(epoch + 1): value for epoch, value in tally.test_score.items()}
        own = {"metric": session.task.metric, "score": scores.pop("test_score"), "test_score_by_epoch": by_epoch}
    return {
        "format": FORMAT,
        "accuracy": scores.pop("test_accuracy"),
        "loss": scores.pop("test_loss"),
        **own,
        **scores,
        "test_accuracy_by_epoch": {str(epoch + 1): accuracy for epoch, accuracy in tally.test_accuracy.items()},
        "visits": tally.visits,
        "visits_fraction": tally.visits / (num_train * session.config.epochs),
        "tokens": tally.tokens,
        "padded_tokens": tally.padded_tokens,
        "optimizer_steps": tally.steps,
        "final_learning_rate": tally.learning_rate,
        "train_seconds": tally.train_seconds,
        "evaluation_seconds": tally.evaluation_seconds,
        "planning_seconds": session.trainer.pruner.summary().planning_seconds,
        "num_train": num_train,
        "num_validation": 0 if splits.validation is None else len(splits.validation),
        "num_test": len(splits.test),
        "versions": {**versions(), "transformers": transformers.__version__},
        "machine": machine(session.compute, Ranks()),
        "config": session.config.to_json(),
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, with null for numbers that are not finite."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)
