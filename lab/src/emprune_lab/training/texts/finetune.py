"""One run on texts, from its settings to its result: the Trainer's own loop and checkpoints, our log and progress."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from emprune.distributed import Ranks
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.models.pretrained import quiet
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.results.samples import finish_run
from emprune_lab.training.loop import Reporter
from emprune_lab.training.objectives.objective import curve_epochs, tested_epochs
from emprune_lab.training.saved_state import MISFITS, misfit
from emprune_lab.training.session import planned_visits
from emprune_lab.training.tally import Tally, named
from emprune_lab.training.texts.text_session import TextSession

__all__ = ["finetune"]

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


class Course(TrainerCallback, ExportableState):
    """Follows a run: counts, logs and reports, has it scored after its epochs and saved, and stops it when asked to.

    Its tally travels in the Trainer's own state, so that a checkpoint has it, or is none.

    Args:
        session: What is trained.
        folder: The run's.
        report: Told about every batch and epoch.
        stop: Asked after every batch.
    """

    def __init__(self, session: TextSession, folder: RunFolder, report: Reporter, stop: Callable[[], bool]) -> None:
        self.session, self.folder, self.report, self.stop = session, folder, report, stop
        self.tally, self.begun = TextTally(), False
        self._mark = self._saved = 0.0
        self._reported = 0

    def state(self) -> dict[str, Any]:
        """Return what the Trainer saves of this."""
        return {"args": {}, "attributes": dataclasses.asdict(self.tally)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on from the checkpoint's tally, and drop from the log what came after it."""
        saved = state.stateful_callbacks[type(self).__name__]["attributes"]
        self.tally = TextTally.restored(saved, num_epochs=self.session.config.epochs)
        self.session.trainer.sums[0] = self.tally.loss_sum  # one sum over the epoch, to the last bit
        self.begun = True
        self.folder.log.cut(self.tally.log_bytes, self.tally.log_sha256)
        self._saved = time.perf_counter()
        planned = planned_visits(self.session.config, len(self.session.splits.train))
        self.report.begin(num_epochs=self.session.config.epochs, planned_visits=planned, visits_done=self.tally.visits)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, before the epoch is planned."""
        self._mark, self._reported = time.perf_counter(), 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate of the step, and before an epoch's first what was planned."""
        self.tally.learning_rate = kwargs["optimizer"].param_groups[0]["lr"]
        if self.tally.summary.get("epoch") != self.tally.epoch:  # later a checkpoint may have folded observations
            self.tally.planned(self.session.trainer.pruner.summary())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the batch, and stop if that is asked for."""
        self.tally.steps += 1
        self.report.step(self.session.trainer.visits - self._reported)
        self._reported = self.session.trainer.visits
        if self.stop():
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal the checkpoint that was just written, and put it in place."""
        written = Path(args.output_dir, f"checkpoint-{state.global_step}")
        self.folder.checkpoints.add(written, state.global_step, lasting=False)
        self._saved = time.perf_counter()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the epoch if it is complete, and have a checkpoint written if it is time to, or the run ends here."""
        tally, trainer = self.tally, self.session.trainer
        visits, padded_tokens, loss_sum, tokens = trainer.take()
        tally.visits += visits
        tally.kept += visits
        tally.padded_tokens += padded_tokens
        tally.tokens += tokens
        tally.loss_sum = loss_sum
        tally.epoch_seconds += time.perf_counter() - self._mark
        if tally.kept == tally.summary["num_kept"]:
            record = tally.close_epoch(self._score)
            tally.kept = 0
            tally.log_bytes, tally.log_sha256 = self.folder.log.append(record)
            self.report.epoch(record)
        if self.stop():
            control.should_training_stop = True
        ends = control.should_training_stop or tally.epoch == self.session.config.epochs
        control.should_save = ends or time.perf_counter() - self._saved >= SAVE_SECONDS

    def _score(self) -> dict[str, Any]:
        """Score on validation after up to 20 epochs, on test after four or one."""
        scores, config, splits = dict[str, Any](), self.session.config, self.session.splits
        if splits.validation is not None and self.tally.epoch in curve_epochs(config.epochs):
            scores |= named("validation", self.session.evaluate(splits.validation))
        if self.tally.epoch in tested_epochs(config):
            scores |= named("test", self.session.evaluate(splits.test))
        return scores


def finetune(
    session: TextSession, folder: RunFolder, *, report: Reporter, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Run to the end, from the newest of the Trainer's checkpoints if there is one, and return the result.

    Args:
        session: Freshly built, to write its checkpoints somewhere in the run's folder.
        folder: Opened for these settings.
        report: Told about every batch and epoch.
        stop: Asked after every batch; once it says yes the run writes a checkpoint and stops.

    Raises:
        StoppedError: If `stop` said yes.
        RunError: If the losses diverge, a checkpoint cannot be written, or none can be used.
    """
    course = Course(session, folder, report, stop)
    session.trainer.add_callback(course)
    checkpoint = folder.checkpoints.newest(lambda found: found, say=report.remark)
    try:
        with quiet():
            session.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except (*MISFITS, SafetensorError) as error:
        if checkpoint is None or course.begun or isinstance(error, torch.OutOfMemoryError):
            raise
        raise RunError(
            f"{checkpoint} {misfit(error)}. Move it away, and go on from the one before it with --resume."
        ) from error
    tally, num_epochs = course.tally, session.config.epochs
    if tally.epoch < num_epochs:
        raise StoppedError(f"Stopped in epoch {tally.epoch + 1} of {num_epochs}; nothing is lost.")
    result = _result(session, tally)
    session.trainer.pruner.sync()  # what the last epoch observed belongs to what is recorded of the samples
    return finish_run(folder, result, session.trainer.pruner, session.splits.source)


def _result(session: TextSession, tally: TextTally) -> dict[str, Any]:
    result = tally.result(session.config, session.splits, compute=session.compute, ranks=Ranks())
    result["versions"]["transformers"] = transformers.__version__
    return result if "score" not in result else {**result, "metric": session.task.metric}
