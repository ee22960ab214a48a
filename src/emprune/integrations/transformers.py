"""Hugging Face Trainer: `PrunedTrainer` prunes with one more argument, `PrunedTrainerMixin` makes any Trainer do so."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from torch.utils.data import DataLoader

try:
    import accelerate  # noqa: F401 - which the Trainer needs, and misses only when it is made
    from transformers import Trainer, TrainingArguments
except ModuleNotFoundError as error:
    if error.name not in ("accelerate", "transformers"):
        raise
    raise ImportError(f"This needs the package {error.name!r}: pip install 'emprune[transformers]'") from error

from emprune.data import PrunedLoader, PrunedStream, ShardedStream
from emprune.data.ending import fold_pending
from emprune.data.indexed import BatchAlone
from emprune.errors import ConfigError, EpochError
from emprune.integrations.trainer_observing import ObservingTrainer
from emprune.integrations.trainer_progress import Progress, read_checkpoint, write_checkpoint
from emprune.integrations.trainer_pruner import PrunerChoice
from emprune.integrations.trainer_setup import (
    INDEX_KEY,
    IndexInBatch,
    check_arguments,
    check_evaluated,
    check_packing,
    measured,
    unprepared,
    warn_of_epochs,
)
from emprune.integrations.trainer_tracking import track_in
from emprune.methods.base import Method
from emprune.pruner import DataPruner

if not hasattr(Trainer, "_run_epoch"):
    raise ImportError("This needs transformers 5.4 or later: pip install --upgrade 'emprune[transformers]'")

__all__ = ["INDEX_KEY", "STATE_FILE", "PrunedTrainer", "PrunedTrainerMixin"]

STATE_FILE = "emprune.pt"
"""The pruner's state in a checkpoint folder."""


class PrunedTrainerMixin(ObservingTrainer):
    """Makes a Trainer train on the pruner's plan: ``class PrunedSFTTrainer(PrunedTrainerMixin, SFTTrainer)``.

    The Trainer's loss stays what it is: `compute_loss_func`, label smoothing, normalisation by tokens, PEFT. Only where
    a plan has weights is each sample's part of it multiplied by its weight. The pruner observes each sample's plain
    loss and its logits; for other tasks override `observation`. A method that needs no losses costs nothing: its loss
    column stays empty, or 0. The number of epochs and of steps is the pruner's. Evaluation is never observed.

    Args:
        *args: What the Trainer takes.
        pruner: The pruner, for ``len(trainer.train_dataset)`` samples; on several ranks make it after the
            TrainingArguments. It may be replaced before each `train()`.
        method: Instead of a pruner: how samples are chosen, `EMP()` or its name. The Trainer makes the pruner, of so
            many epochs, or steps, as its arguments say.
        **kwargs: What the Trainer takes; beside a method what `PrunedLoader` takes, such as `keep`.

    Raises:
        ConfigError: If an argument of the training contradicts the plan, or the method's cost cannot be met.
    """

    _takes_padding_free: ClassVar[bool] = False
    """Whether `observation` finds the samples of a batch that TRL has joined into one row."""
    validation_loss: ClassVar[str | None] = "eval_loss"
    """The metric that a method which follows the gap takes; None if the pruner is told by a callback of your own."""
    shuffle_buffer: ClassVar[int] = 1000
    """Of a stream, how far a sample may move, as `PrunedStream` takes it."""

    def __init__(
        self, *args: Any, pruner: DataPruner | None = None, method: Method | str | None = None, **kwargs: Any
    ) -> None:
        self._choice = PrunerChoice(pruner, method, kwargs)
        self._kept = dict[str, float]()
        self._progress = Progress()
        super().__init__(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the Trainer's own DataLoader, made to deliver this rank's shard of the plan, in the pruner's epoch."""
        dataset, args = self.train_dataset, self.args
        stream = dataset if isinstance(dataset, ShardedStream) else None
        dataloader, lengths = unprepared(
            super().get_train_dataloader(),
            stream,
            batch_size=args.train_batch_size,
            drop_last=args.dataloader_drop_last,
        )
        self._check_length(len(dataloader.dataset))  # type: ignore[arg-type]
        if lengths is not None and self.pruner.lengths is None:
            self.pruner.lengths = lengths
        kind: Any = PrunedLoader if stream is None else partial(PrunedStream, shuffle_buffer=self.shuffle_buffer)
        loader = kind(dataloader, self.pruner, accumulation=args.gradient_accumulation_steps)
        loader.loader.collate_fn = IndexInBatch(loader.loader.collate_fn)
        if self.pruner.epoch >= 0 or self.pruner.world_size == 1:  # planning is collective, and looking at it is not
            loader.set_epoch(max(0, self.pruner.epoch))
        self._newest_loader = loader
        inside: DataLoader[Any] = loader.loader
        return inside

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Return the Trainer's own DataLoader, whose batches are no `KeptSamples`."""
        return _of_batches(super().get_eval_dataloader(*args, **kwargs))

    def get_test_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """Return the Trainer's own DataLoader, whose batches are no `KeptSamples`."""
        return _of_batches(super().get_test_dataloader(*args, **kwargs))

    def set_initial_training_values(
        self, args: TrainingArguments, dataloader: DataLoader[Any]
    ) -> tuple[int, int, int, int, int, int | None, int]:
        """Return the planned epochs, epoch 0's updates, samples, visits, batch size, epoch 0's batches, and steps."""
        self._check_arguments()  # they may have been changed since
        warn_of_epochs(args, self.pruner)
        self._loader = self._newest_loader  # the one that is trained on, whichever are made later
        schedule, world_size = self.pruner.schedule, self.pruner.world_size
        batch_size, accumulation = self._loader.batch_size, args.gradient_accumulation_steps
        ranks: dict[str, Any] = {"world_size": world_size, "drop_last": self._loader.drop_last}
        quantum = world_size * batch_size * accumulation
        self._sizes = schedule.num_kept_per_epoch(multiple_of=quantum, **ranks)
        self._steps = schedule.steps_per_epoch(batch_size=batch_size, accumulation=accumulation, **ranks)
        self._planned_for = {"samples_per_step": quantum, "drop_last": self._loader.drop_last}
        planned = (self.pruner.num_epochs, self._steps[0], self.pruner.num_samples, sum(self._sizes))
        return *planned, self.get_total_train_batch_size(args), len(self._loader), sum(self._steps)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log; with a training loss, what the epoch kept."""
        super().log({**logs, **self._kept} if "loss" in logs else logs, *args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return the Trainer's sampler. The column of lengths is not dropped as unused before it is read."""
        whole: Any = self.train_dataset
        named = self.args.length_column_name in (getattr(whole, "column_names", None) or ())
        return super()._get_train_sampler(whole if named else train_dataset)

    def _validate_args(self) -> None:
        self.pruner = self._choice.pruner_for(self.train_dataset, self.args)
        self._check_arguments()
        super()._validate_args()

    def _check_arguments(self) -> None:
        if self.pruner.method.needs_gap and self.validation_loss is not None:
            check_evaluated(self.args)
        check_arguments(self.args, self.accelerator, self.pruner, self.train_dataset)
        if self._observes:
            check_packing(self.args, padding_free=self._takes_padding_free)

    def _check_length(self, num_samples: int) -> None:
        if num_samples != self.pruner.num_samples:
            raise ConfigError(
                f"The pruner's `num_samples` must be len(trainer.train_dataset), {num_samples}; got "
                f"{self.pruner.num_samples}. Some trainers, such as TRL's, drop or join samples when they are made. "
                "Let the trainer make its pruner: give it method=... and keep=... instead."
            )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        epoch = kwargs["epoch"]
        self._loader.set_epoch(epoch)
        if len(self.pruner.plan) != self._sizes[epoch]:
            raise EpochError(
                f"Epoch {epoch} of this training must have {self._sizes[epoch]} samples; got a plan of "
                f"{len(self.pruner.plan)}, made for another batch size or accumulation. A new run takes a new pruner."
            )
        self._progress = self._progress.begun(epoch, self.state.global_step)
        self._kept = {"kept_fraction": self.pruner.plan.kept_fraction, "planning_seconds": self.pruner.planning_seconds}
        if self.pruner.churn is not None:
            self._kept["churn"] = self.pruner.churn
        kwargs |= {"steps_in_epoch": len(self._loader), "num_update_steps_per_epoch": self._steps[epoch]}
        super()._run_epoch(*args, **kwargs)
        self._progress = self._progress.stopped(self.control.should_epoch_stop)
        ends = self.control.should_training_stop or epoch + 1 == self.pruner.num_epochs
        track_in(self.callback_handler.callbacks, self.pruner, ends=ends)
        if ends:
            fold_pending(self.pruner, ends=True)  # so that the pruner's columns hold the whole run on every rank

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate in training, and hand the loss over to a method that follows the gap."""
        name = self.validation_loss
        if name is None or not self.pruner.method.needs_gap:
            return super()._evaluate(*args, **kwargs)
        train_loss = self._probe_loss()
        metrics: dict[str, float] = super()._evaluate(*args, **kwargs)
        self.pruner.observe_validation(measured(metrics, name), train_loss=train_loss)
        return metrics

    def _probe_loss(self) -> float:
        """Return, and log, the loss on a fixed part of the training data, as evaluations measure it."""
        probe = self._loader.evaluation(index=self.pruner.probe()).dataset
        output = self.evaluation_loop(
            self.get_test_dataloader(probe), "Probe", prediction_loss_only=True, metric_key_prefix="probe"
        )
        loss = measured(output.metrics or {}, "probe_loss")
        self.log({"probe_loss": loss})
        return loss

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        fold_pending(self.pruner)
        if self.args.should_save:  # first of all, so that a checkpoint with a Trainer's state has it
            folder = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
            write_checkpoint(
                folder / STATE_FILE,
                self.pruner.state_dict(),
                self._progress.stopped(self.control.should_epoch_stop),
                global_step=self.state.global_step,
                planned_for=self._planned_for,
            )
        super()._save_checkpoint(model, trial)

    def _init_training_state(
        self, max_steps: int, num_updates: int, num_epochs: int, resume_from_checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        """Return the epoch, and how many of its batches are done and left to the Trainer to skip."""
        start = super()._init_training_state(max_steps, num_updates, num_epochs, resume_from_checkpoint, trial)
        self._progress = Progress()
        if resume_from_checkpoint is None:
            return start
        step = self.state.global_step
        file = Path(resume_from_checkpoint, STATE_FILE)
        saved = read_checkpoint(file, global_step=step, planned_for=self._planned_for)
        self.pruner.load_state_dict(saved["pruner"])
        self._progress = Progress(self.pruner.epoch, saved["first_step"], saved["ended"])
        epoch, done = self._progress.resumed(step, self._steps)
        return epoch, done * self.args.gradient_accumulation_steps


class PrunedTrainer(PrunedTrainerMixin):
    """The Trainer, training on the pruner's plan: ``PrunedTrainer(model, args, train_dataset=..., pruner=pruner)``."""


def _of_batches(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a DataLoader, made to hand out a batch where its collator says which samples it kept."""
    inside = getattr(loader, "base_dataloader", loader)  # accelerate's iterates the one it was made from
    if not isinstance(inside.collate_fn, BatchAlone):  # the Trainer keeps one whose workers persist
        inside.collate_fn = BatchAlone(inside.collate_fn)
    return loader
