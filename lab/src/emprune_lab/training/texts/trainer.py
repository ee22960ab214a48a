"""Our PrunedTrainer, which adds up what it trains on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import TrainingArguments

from emprune.errors import EmpruneError
from emprune.integrations.transformers import PrunedTrainer
from emprune_lab.errors import RunError
from emprune_lab.run import Run

__all__ = ["EVALUATION_BATCH", "CountingTrainer", "arguments_of"]

EVALUATION_BATCH = 128
WARM_UP_FRACTION = 0.1
"""Share of the planned steps over which the learning rate rises; from then on it falls to 0, both in a line."""


class CountingTrainer(PrunedTrainer):
    """A PrunedTrainer that adds up what it trains on; the sums stay on the device until they are asked for."""

    always_observe = True  # so that every method's losses are reported
    validation_loss = None  # the lab scores its parts itself

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.visits = self.padded_tokens = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)

    def observation(self, outputs: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Any]:
        """Return what the pruner sees of a batch, and count it."""
        losses, seen = super().observation(outputs, inputs)
        self.visits += len(losses)
        self.padded_tokens += inputs["input_ids"].numel()
        self.sums += torch.stack([losses.sum().double(), inputs["attention_mask"].sum().double()])
        return losses, seen

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (SafetensorError, RuntimeError, OSError) as error:  # what a full disk is to safetensors, and to torch
            if isinstance(error, EmpruneError) or getattr(error, "filename", None) is not None:
                raise
            folder = Path(str(self.args.output_dir)).parent
            raise RunError(
                f"A checkpoint could not be written in {folder} ({error}). Is the disk full? What was saved before "
                "is kept: make room, and go on with --resume."
            ) from error

    def take(self) -> tuple[int, int, float, int]:
        """Return visits, padded tokens, the sum of the losses and tokens since the last time."""
        loss_sum, tokens = self.sums.tolist()
        taken = (self.visits, self.padded_tokens, loss_sum, round(tokens))
        self.visits = self.padded_tokens = 0
        self.sums.zero_()
        return taken


def arguments_of(run: Run, folder: Path) -> TrainingArguments:
    """Return what the Trainer is told: all that our settings say, and to print, report and save nothing by itself.

    Args:
        run: The run.
        folder: Where it writes what it has to write.
    """
    training = run.settings.training
    return TrainingArguments(
        str(folder),
        num_train_epochs=run.settings.cost.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=EVALUATION_BATCH,
        train_sampling_strategy="group_by_length" if training.group_by_length else "random",
        learning_rate=training.max_lr,
        warmup_steps=round(WARM_UP_FRACTION * run.sizes.steps),
        weight_decay=training.weight_decay,
        adam_beta1=training.momentum,
        label_smoothing_factor=training.label_smoothing,
        seed=run.settings.seed % 2**32,  # NumPy's seeds end there
        use_cpu=run.compute.device.type == "cpu",
        bf16=run.compute.precision == "bf16",
        dataloader_pin_memory=run.compute.device.type == "cuda",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it hides a run that diverges
        disable_tqdm=True,
        report_to=[],
    )
