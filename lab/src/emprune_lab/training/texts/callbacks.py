"""What follows the Trainer through a run: one callback keeps the tally, another reads the clock."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from emprune_lab.errors import StoppedError
from emprune_lab.training.speed import NUM_TIMED_STEPS, TimedStep
from emprune_lab.training.tally import Tally
from emprune_lab.training.texts.trainer import CountingTrainer

__all__ = ["Clock", "TallyCallback", "TextTally"]

SAVE_SECONDS = 30.0
"""How long a run goes on, at least, between checkpoints: it may take longer to write one than to train an epoch."""


@dataclass
class TextTally(Tally):
    """Where a run stands, and what it has cost: of this epoch `kept` visits are done.

    Equal visits are not equal cost where texts differ in length, so tokens are counted too, without and with padding.
    """

    kept: int = 0
    tokens: int = 0
    padded_tokens: int = 0

    def counts(self) -> dict[str, int]:
        """Return the tokens that were trained on."""
        return {"tokens": self.tokens, "padded_tokens": self.padded_tokens}


class TallyCallback(TrainerCallback, ExportableState):
    """Counts, reports, has epochs closed and checkpoints saved, and stops the run when asked to.

    Its tally travels in the Trainer's own state, so that a checkpoint has it, or is none.

    Args:
        trainer: Whom it follows.
        num_epochs: The run's.
        begin: Called with the tally once it is known where the run goes on.
        step: Called with the visits of each batch.
        close_epoch: Called with the tally at the end of each epoch: scores, logs, reports. If it raises StoppedError, a
            checkpoint is written as before it, and the run that goes on begins with it.
        saved: Called with the folder of each checkpoint that the Trainer wrote, and its steps.
        stop: Asked after every batch.
        check_stop: Called after every batch of scoring, which it ends by a StoppedError.
    """

    def __init__(
        self,
        trainer: CountingTrainer,
        num_epochs: int,
        *,
        begin: Callable[[TextTally], object],
        step: Callable[[int], object],
        close_epoch: Callable[[TextTally], object],
        saved: Callable[[Path, int], object],
        stop: Callable[[], bool],
        check_stop: Callable[[], object],
    ) -> None:
        self.trainer, self.num_epochs = trainer, num_epochs
        self.begin, self.step, self.saved, self.stop, self.check_stop = begin, step, saved, stop, check_stop
        self._close_epoch = close_epoch
        self.tally, self.begun = TextTally(), False
        self._mark = self._saved_at = 0.0
        self._reported = 0

    def state(self) -> dict[str, Any]:
        """Return what the Trainer saves of this."""
        return {"args": {}, "attributes": dataclasses.asdict(self.tally)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on from the checkpoint's tally, with its epoch's scoring if that was stopped."""
        saved = state.stateful_callbacks[type(self).__name__]["attributes"]
        self.tally = TextTally.restored(saved, num_epochs=self.num_epochs)
        self.begun = True
        self.begin(self.tally)
        self._close_if_trained()
        self.trainer.sums[0] = self.tally.loss_sum  # one sum over the epoch, to the last bit
        self._saved_at = time.perf_counter()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, before the epoch is planned."""
        self._mark, self._reported = time.perf_counter(), 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate of the step, and before an epoch's first what was planned."""
        self.tally.learning_rate = kwargs["optimizer"].param_groups[0]["lr"]
        if self.tally.summary.get("epoch") != self.tally.epoch:  # later a checkpoint may have folded observations
            self.tally.planned(self.trainer.pruner.summary())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the batch, and stop if that is asked for."""
        self.tally.steps += 1
        self.step(self.trainer.visits - self._reported)
        self._reported = self.trainer.visits
        if self.stop():
            control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop scoring if that is asked for."""
        self.check_stop()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hand the checkpoint on that was just written."""
        self.saved(Path(args.output_dir, f"checkpoint-{state.global_step}"), state.global_step)
        self._saved_at = time.perf_counter()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the epoch if it is complete, and have a checkpoint written if it is time to, or the run ends here."""
        tally = self.tally
        visits, padded_tokens, loss_sum, tokens = self.trainer.take()
        tally.visits += visits
        tally.kept += visits
        tally.padded_tokens += padded_tokens
        tally.tokens += tokens
        tally.loss_sum = loss_sum
        tally.epoch_seconds += time.perf_counter() - self._mark
        try:
            self._close_if_trained()
            stopped = self.stop()
        except StoppedError:
            stopped = True
        if stopped:
            control.should_training_stop = True
        ends = control.should_training_stop or tally.epoch == self.num_epochs
        control.should_save = ends or time.perf_counter() - self._saved_at >= SAVE_SECONDS

    def _close_if_trained(self) -> None:
        if self.tally.kept == self.tally.summary.get("num_kept"):
            self._close_epoch(self.tally)
            self.tally.kept = 0


class Clock(TrainerCallback):
    """Reads the clock around each step, and ends the training after a few.

    Args:
        trainer: Whom it times.
        now: Reads the clock once the device is done.
        step: Called after each step.
    """

    def __init__(self, trainer: CountingTrainer, now: Callable[[], float], step: Callable[[], object]) -> None:
        self.trainer, self.now, self.step = trainer, now, step
        self.steps: list[TimedStep] = []
        self._begun = self._ended = 0.0
        self._visits = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock."""
        self._ended = self.now()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock: the batch is there."""
        self._begun = self.now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock: it was trained on."""
        now, visits = self.now(), self.trainer.visits
        self.steps.append(TimedStep(self._begun - self._ended, now - self._begun, visits - self._visits))
        self.step()
        self._ended, self._visits = self.now(), visits
        control.should_training_stop = len(self.steps) == NUM_TIMED_STEPS
