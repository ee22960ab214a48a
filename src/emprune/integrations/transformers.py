"""Hugging Face Trainer: `PrunedTrainer` prunes with one more argument, `PrunedTrainerMixin` makes any Trainer do so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

try:
    import accelerate  # noqa: F401 - which the Trainer needs, and misses only when it is made
    from transformers import Trainer, TrainingArguments
except ModuleNotFoundError as error:
    if error.name not in ("accelerate", "transformers"):
        raise
    raise ImportError(f"This needs the package {error.name!r}: pip install 'emprune[transformers]'") from error

from emprune.data import PrunedLoader
from emprune.errors import ConfigError, EpochError, ObservationError, StateError
from emprune.integrations.trainer_setup import INDEX_KEY, IndexInBatch, conflicts, predicts_next, unprepared
from emprune.losses import next_labels, sequence_cross_entropy
from emprune.memory import MaskedLogits
from emprune.pruner import DataPruner

if not hasattr(Trainer, "_run_epoch"):
    raise ImportError("This needs transformers 5.4 or later: pip install --upgrade 'emprune[transformers]'")

__all__ = ["INDEX_KEY", "STATE_FILE", "PrunedTrainer", "PrunedTrainerMixin"]

STATE_FILE = "emprune.pt"
"""The pruner's state in a checkpoint folder."""


class PrunedTrainerMixin(Trainer):
    """Makes a Trainer train on the pruner's plan: ``class PrunedSFTTrainer(PrunedTrainerMixin, SFTTrainer)``.

    The Trainer's loss stays what it is (`compute_loss_func`, label smoothing, normalisation by tokens, PEFT), but where
    the plan has weights: there each sample's cross-entropy is multiplied by its weight. The pruner observes the plain
    cross-entropy of each sample and its logits; for other tasks override `observation`. The number of epochs and of
    steps is the pruner's. Evaluation is never observed.

    Args:
        *args: What the Trainer takes.
        pruner: The pruner, made for ``len(train_dataset)`` samples and, on several ranks, after the TrainingArguments.
        **kwargs: What the Trainer takes.

    Raises:
        ConfigError: If an argument of the training contradicts the plan.
    """

    def __init__(self, *args: Any, pruner: DataPruner, **kwargs: Any) -> None:
        self.pruner, self._kept = pruner, dict[str, float]()
        self._began = (-1, 0)  # the current epoch, and the step it began at
        super().__init__(*args, **kwargs)

    def observation(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return what the pruner sees of a batch: (B,) losses, and the outputs a memory term is measured from.

        Override it for a task that is no classification of samples or tokens and no language model.

        Args:
            outputs: What the model returned.
            inputs: The batch, labels included.

        Raises:
            ObservationError: If there are no logits or no labels of this form.
        """
        logits, labels = self._logits_and_labels(outputs, inputs)
        losses = sequence_cross_entropy(logits.detach(), labels)
        return losses, logits if labels.ndim == 1 else MaskedLogits(logits, labels != -100)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the Trainer's loss of a batch, weighted where the plan has weights; observe training batches."""
        index = inputs.pop(INDEX_KEY, None)
        if index is None or not model.training:  # or an evaluation on the training loader
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)
        loss, outputs = super().compute_loss(model, {**inputs}, True, num_items_in_batch=num_items_in_batch)
        self.pruner.observe(index, *self.observation(outputs, inputs))
        if self.pruner.plan.weight is not None:
            loss = self._weighted_loss(loss, index, outputs, inputs)
        return (loss, outputs) if return_outputs else loss

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the Trainer's own DataLoader, made to deliver this rank's share of the plan, in the pruner's epoch."""
        accumulation = self.args.gradient_accumulation_steps
        loader = PrunedLoader(unprepared(super().get_train_dataloader()), self.pruner, accumulation=accumulation)
        loader.loader.collate_fn = IndexInBatch(loader.loader.collate_fn)
        if self.pruner.epoch >= 0 or self.pruner.world_size == 1:  # planning is collective, and looking at it is not
            loader.set_epoch(max(0, self.pruner.epoch))
        self._newest_loader = loader
        return loader.loader

    def set_initial_training_values(
        self, args: TrainingArguments, dataloader: DataLoader[Any]
    ) -> tuple[int, int, int, int, int, int | None, int]:
        """Return the planned epochs, epoch 0's updates, samples, visits, batch size, epoch 0's batches, and steps."""
        self._check_conflicts()  # the arguments may have been changed since
        self._loader = self._newest_loader  # the one that is trained on, whichever are made later
        world_size, drop_last = self.pruner.world_size, self._loader.drop_last
        quantum = world_size * self._loader.batch_size * args.gradient_accumulation_steps
        self._sizes = self.pruner.schedule.num_kept_per_epoch(
            multiple_of=quantum, world_size=world_size, drop_last=drop_last
        )
        self._num_updates = self.pruner.schedule.steps_per_epoch(
            batch_size=self._loader.batch_size,
            accumulation=args.gradient_accumulation_steps,
            world_size=world_size,
            drop_last=drop_last,
        )
        self._planned_for = {"samples_per_step": quantum, "drop_last": drop_last}
        planned = (self.pruner.num_epochs, self._num_updates[0], self.pruner.num_samples, sum(self._sizes))
        return *planned, self.get_total_train_batch_size(args), len(self._loader), sum(self._num_updates)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log; with a training loss, what the epoch kept."""
        super().log({**logs, **self._kept} if "loss" in logs else logs, *args, **kwargs)

    def _validate_args(self) -> None:
        self._check_conflicts()
        super()._validate_args()

    def _check_conflicts(self) -> None:
        for message in conflicts(self.args, self.accelerator, self.pruner, self.train_dataset):
            raise ConfigError(message)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        epoch = kwargs["epoch"]
        self._loader.set_epoch(epoch)
        if len(self.pruner.plan) != self._sizes[epoch]:
            raise EpochError(
                f"Epoch {epoch} of this training has {self._sizes[epoch]} samples: got a plan of "
                f"{len(self.pruner.plan)}, made for another batch size or accumulation. A new run takes a new pruner."
            )
        if self._began[0] != epoch:  # and not in the middle of it, resumed
            self._began = (epoch, self.state.global_step)
        self._kept = {"kept_fraction": self.pruner.plan.kept_fraction, "planning_seconds": self.pruner.planning_seconds}
        if self.pruner.churn is not None:
            self._kept["churn"] = self.pruner.churn
        kwargs |= {"steps_in_epoch": len(self._loader), "num_update_steps_per_epoch": self._num_updates[epoch]}
        super()._run_epoch(*args, **kwargs)
        if self.control.should_training_stop or epoch + 1 == self.pruner.num_epochs:
            self.pruner.sync()  # so that the pruner's columns hold the whole run on every rank

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if INDEX_KEY in inputs:
            prepared[INDEX_KEY] = inputs[INDEX_KEY]  # stays on the CPU
        return prepared

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.pruner.sync()
        if self.args.should_save:  # first of all, so that a checkpoint with a Trainer's state has it
            folder = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
            folder.mkdir(parents=True, exist_ok=True)
            state = {"pruner": self.pruner.state_dict(), "began": list(self._began), **self._planned_for}
            torch.save(state, folder / f".{STATE_FILE}")
            (folder / f".{STATE_FILE}").replace(folder / STATE_FILE)
        super()._save_checkpoint(model, trial)

    def _init_training_state(
        self, max_steps: int, num_updates: int, num_epochs: int, resume_from_checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        """Return the epoch, and how many of its batches are done and left to the Trainer to skip."""
        start = super()._init_training_state(max_steps, num_updates, num_epochs, resume_from_checkpoint, trial)
        if resume_from_checkpoint is None:
            return start
        file = Path(resume_from_checkpoint, STATE_FILE)
        if not file.is_file():
            raise StateError(f"{file} does not exist: the checkpoint is not of a PrunedTrainer. Start a new run.")
        saved = torch.load(file, map_location="cpu", weights_only=True)
        for name, mine in self._planned_for.items():
            if saved.get(name) != mine:
                raise StateError(
                    f"The checkpoint's run has {name}={saved.get(name)}, this one {mine}: its epochs are planned for "
                    "that. Resume with the batch size, accumulation and ranks the run was started with."
                )
        self.pruner.load_state_dict(saved["pruner"])
        epoch, first_step = self._began = tuple(saved["began"])
        done = self.state.global_step - first_step
        if done == self._num_updates[epoch]:
            return epoch + 1, 0
        return epoch, done * self.args.gradient_accumulation_steps

    def _logits_and_labels(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
        labels = inputs.get("labels")
        if logits is None or labels is None:
            missing = "The model returned no logits" if logits is None else "The batch has no `labels`"
            raise ObservationError(
                f"{missing}, so what each sample cost is not known. Turn a fused loss off (use_liger_kernel=False), or "
                "override `observation(outputs, inputs)` to return (B,) losses and what a memory term needs."
            )
        labels = labels.to(logits.device)
        if labels.ndim == 2 and predicts_next(self.model, smoothed=self.args.label_smoothing_factor > 0):
            labels = next_labels(labels)
        return logits, labels

    def _weighted_loss(self, loss: Tensor, index: Tensor, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Turn the Trainer's loss, a normalised sum of the samples' cross-entropies, into that of weight · each."""
        if self.compute_loss_func is not None:
            raise ConfigError(
                f"`compute_loss_func` returns one loss for the batch, which {self.pruner.method.name}'s weights of "
                "single samples cannot enter. Leave it out, or choose a method without weights."
            )
        if isinstance(outputs, Mapping) and outputs.get("aux_loss") is not None:
            raise ConfigError(
                f"The model adds a loss of its own (`aux_loss`), and {self.pruner.method.name}'s weights are for the "
                "samples' losses alone. Set output_router_logits=False, or choose a method without weights."
            )
        logits, labels = self._logits_and_labels(outputs, inputs)
        smoothing = self.args.label_smoothing_factor
        losses = sequence_cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
        # However the Trainer and the model normalise (by samples, tokens, accumulation, ranks), it shows in this ratio.
        scale = loss.detach() / losses.detach().sum().clamp(min=torch.finfo(losses.dtype).tiny)
        weights = self.pruner.weights(index).to(losses.device, non_blocking=True)
        return loss + scale * ((weights - 1) * losses).sum()


class PrunedTrainer(PrunedTrainerMixin):
    """The Trainer, training on the pruner's plan: ``PrunedTrainer(model, args, train_dataset=..., pruner=pruner)``."""
