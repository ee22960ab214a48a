"""What a run on texts trains with, built from its settings: model, data, and our PrunedTrainer, which counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from emprune.errors import EmpruneError
from emprune.integrations.transformers import PrunedTrainer
from emprune_lab.compute import Compute
from emprune_lab.errors import RunError
from emprune_lab.models.pretrained import load_pretrained, load_tokenizer
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import Splits, Texts, TextTask, get_task
from emprune_lab.training.class_accuracy import class_accuracy
from emprune_lab.training.session import make_pruner
from emprune_lab.training.texts.encoding import Encoded, EncodedSplits, encode
from emprune_lab.training.texts.metrics import score

__all__ = ["CountingTrainer", "TextSession"]

EVALUATION_BATCH = 128
WARM_UP_FRACTION = 0.1
"""Share of the planned steps over which the learning rate rises; from then on it falls to 0, both in a line."""


class CountingTrainer(PrunedTrainer):
    """A PrunedTrainer that adds up what it trains on; the sums stay on the device until they are asked for."""

    always_observe = True  # so that every method's losses are reported

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


@dataclass(frozen=True)
class TextSession:
    """The parts of a run on texts in memory."""

    config: RunConfig
    task: TextTask
    compute: Compute
    splits: EncodedSplits
    trainer: CountingTrainer

    @classmethod
    def build(
        cls, config: RunConfig, splits: Splits[Texts], *, folder: Path, data_dir: Path | None = None
    ) -> "TextSession":
        """Return a fresh session. Runs of one seed start from the same weights, whatever the method.

        Args:
            config: Its settings.
            splits: The texts.
            folder: Where the Trainer writes its checkpoints; it removes none of them.
            data_dir: Where MiniLM is cached; None is the user's cache.
        """
        task = get_task(config.task)
        assert isinstance(task, TextTask)
        compute = Compute.choose(config.device, config.precision)
        encoded = encode(splits, config.model, max_length=task.max_length, data_dir=data_dir)
        pruner = make_pruner(config, len(splits.train))
        total_steps = sum(pruner.schedule.steps_per_epoch(batch_size=config.batch_size))
        torch.manual_seed(config.seed)
        model = load_pretrained(config.model, num_classes=task.num_classes, data_dir=data_dir)
        tokenizer = load_tokenizer(config.model, data_dir=data_dir)
        model.config.pad_token_id = tokenizer.pad_token_id
        trainer = CountingTrainer(
            model,
            _arguments(config, compute, folder, warmup_steps=round(WARM_UP_FRACTION * total_steps)),
            train_dataset=encoded.train,
            processing_class=tokenizer,
            pruner=pruner,
        )
        trainer.remove_callback(PrinterCallback)
        return cls(config, task, compute, encoded, trainer)

    def evaluate(self, part: Encoded) -> dict[str, Any]:
        """Return accuracy in per cent, in all and by class, mean cross-entropy and, of another metric, the score."""
        prediction = self.trainer.predict(part)
        logits, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
        predicted = logits.argmax(1).numpy()
        by_class = class_accuracy(logits.argmax(1), labels, num_classes=self.task.num_classes)
        loss = float(torch.nn.functional.cross_entropy(logits.float(), labels))
        own = {} if self.task.metric == "accuracy" else {"score": score(self.task.metric, labels.numpy(), predicted)}
        accuracy = score("accuracy", labels.numpy(), predicted)
        return {"accuracy": accuracy, "loss": loss, "class_accuracy": by_class, **own}


def _arguments(config: RunConfig, compute: Compute, folder: Path, *, warmup_steps: int) -> TrainingArguments:
    """Return what the Trainer is told: all that our settings say, and to print, report and save nothing by itself."""
    return TrainingArguments(
        str(folder),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=EVALUATION_BATCH,
        learning_rate=config.max_lr,
        warmup_steps=warmup_steps,
        weight_decay=config.weight_decay,
        adam_beta1=config.momentum,
        label_smoothing_factor=config.label_smoothing,
        seed=config.seed % 2**32,  # NumPy's seeds end there
        use_cpu=compute.device.type == "cpu",
        bf16=compute.precision == "bf16",
        dataloader_pin_memory=compute.device.type == "cuda",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it hides a run that diverges
        disable_tqdm=True,
        report_to=[],
    )
