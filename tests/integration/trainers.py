"""Tiny models and data for the real Trainer, whose runs take a fraction of a second."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SequentialSampler

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import emprune
from emprune.integrations.transformers import INDEX_KEY, PrunedTrainer, PrunedTrainerMixin

NUM_SAMPLES, NUM_CLASSES, LENGTH = 45, 3, 6
BERT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 60,
    "max_position_embeddings": 8,
    "num_labels": NUM_CLASSES,
}


class Sentences(Dataset[dict[str, Any]]):
    """Sentences that begin with their position in the dataset, so that their losses tell them apart.

    Args:
        task: "sequence", "token" or "causal", which says what the labels are.
        size: N.
    """

    def __init__(self, task: str = "sequence", size: int = NUM_SAMPLES) -> None:
        self.task, self.size = task, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> dict[str, Any]:
        words = torch.arange(LENGTH) * (position + 3) % 57 + 1
        words[0] = position
        length = LENGTH - position % 3
        mask = torch.arange(LENGTH) < length
        labels: Any = position % NUM_CLASSES
        if self.task != "sequence":
            labels = (words % NUM_CLASSES if self.task == "token" else words).where(mask, -100)
        return {"input_ids": words.where(mask, 0), "attention_mask": mask.long(), "labels": labels, "note": "unused"}


def make_model(task: str = "sequence", *, dropout: float = 0.0, seed: int = 0, **config: Any) -> PreTrainedModel:
    torch.manual_seed(seed)
    if task == "causal":
        pdrop: Any = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
        model: Any = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=8, vocab_size=60, **pdrop))
    else:
        cls = BertForSequenceClassification if task == "sequence" else BertForTokenClassification
        config = {**BERT, **config}
        model = cls(BertConfig(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **config))
    with torch.no_grad():  # initialised so small, all losses would be nearly the same
        for parameter in model.parameters():
            parameter.mul_(4)
    return cast(PreTrainedModel, model)


def make_arguments(folder: Path, **options: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 16,
        "learning_rate": 1e-2,
        "num_train_epochs": 5,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": [],
        **options,
    }
    return TrainingArguments(output_dir=str(folder), **settings)


def make_pruner(method: emprune.Method | None = None, **options: Any) -> emprune.DataPruner:
    settings: dict[str, Any] = {
        "num_samples": NUM_SAMPLES,
        "num_epochs": 5,
        "keep": 0.5,
        "tail_epochs": 1,
        **options,
    }
    return emprune.DataPruner(method or emprune.EMP(beta=4.0), **settings)


class Recorder(TrainerCallback):
    """Counts optimizer steps and evaluations."""

    def __init__(self) -> None:
        self.num_steps = self.num_evaluations = 0

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.num_steps += 1

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.num_evaluations += 1


class RecordingTrainer(PrunedTrainer):
    """Keeps the index of every training batch, by epoch, and sees that the model never gets one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.delivered: dict[int, list[int]] = {}
        self.planned: dict[int, list[int]] = {}

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        index = inputs.get(INDEX_KEY)
        if model.training:
            assert index is not None
            plan = self.pruner.plan
            self.planned[plan.epoch] = plan.shard(self.pruner.rank, self.pruner.world_size).index.tolist()
            self.delivered.setdefault(plan.epoch, []).extend(index.tolist())
        return super().compute_loss(model, inputs, *args, **kwargs)


class InOrder(Trainer):
    """The vanilla Trainer, on batches in given orders; its DataLoader draws from no global generator.

    Args:
        orders: (K,) int64 dataset positions for each epoch.
    """

    def __init__(self, *args: Any, orders: list[Tensor], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.orders = orders

    def get_train_dataloader(self) -> DataLoader[Any]:
        prepared, sampler = super().get_train_dataloader(), _Orders(self.orders)
        return DataLoader(
            prepared.dataset, batch_size=4, sampler=sampler, collate_fn=prepared.collate_fn, generator=torch.Generator()
        )


class _Orders(SequentialSampler):
    def __init__(self, orders: list[Tensor]) -> None:
        self.orders, self.epoch = orders, 0

    def __len__(self) -> int:
        return len(self.orders[0])

    def __iter__(self) -> Any:
        yield from self.orders[self.epoch].tolist()
        self.epoch += 1


def make_trainer(
    folder: Path,
    pruner: emprune.DataPruner,
    *,
    task: str = "sequence",
    cls: type[Any] = RecordingTrainer,
    **options: Any,
) -> Any:
    extra = {name: options.pop(name) for name in ("callbacks", "compute_loss_func", "extra") if name in options}
    model = make_model(task, dropout=options.pop("dropout", 0.0))
    options.setdefault("num_train_epochs", pruner.num_epochs)
    data = {"train_dataset": Sentences(task), "eval_dataset": Sentences(task)}
    return cls(model, make_arguments(folder, **options), pruner=pruner, **data, **extra)


class OwnLoss(Trainer):
    """A subclass of the Trainer, such as a third party's, that adds to the loss and to its arguments."""

    def __init__(self, *args: Any, extra: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extra = extra

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        assert INDEX_KEY not in inputs
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        return (loss + self.extra, outputs) if return_outputs else loss + self.extra


class PrunedOwnLoss(PrunedTrainerMixin, OwnLoss):
    """The same, pruned."""


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.model is not None
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def assert_same_weights(ours: Trainer, theirs: Trainer) -> None:
    first, second = weights_of(ours), weights_of(theirs)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.equal(second[name]), name


def without_seconds(trainer: Any) -> dict[str, Any]:
    """Return the state of its pruner, but for what a clock measured."""
    state: dict[str, Any] = trainer.pruner.state_dict()
    return {**state, "history": {**state["history"], "planning_seconds": None}}


def history(trainer: Trainer, *names: str) -> list[tuple[Any, ...]]:
    """What was logged with each training loss."""
    return [tuple(entry.get(name) for name in names) for entry in trainer.state.log_history if "loss" in entry]
