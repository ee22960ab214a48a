"""What a run trains with, built from its settings: model, optimizer, pruner, loader, data on the device."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import emprune
from emprune.lab.config import RunConfig
from emprune.lab.device import Compute
from emprune.lab.learning_rate import one_cycle
from emprune.lab.losses import smoothed_and_plain
from emprune.lab.models import make_model
from emprune.lab.optimizers import make_optimizer
from emprune.lab.specs import MethodSpec
from emprune.lab.tasks import ImageTask, Split, Splits, get_task

__all__ = ["Session", "make_pruner", "planned_visits"]

EVALUATION_BATCH = 1000
RECALIBRATION_SIZE, RECALIBRATION_BATCH = 2000, 200


@dataclass(frozen=True)
class Session:
    """The parts of a run in memory; `trained` is the model, compiled where that is asked for.

    The learning rate follows from the position, so there is no scheduler to keep.
    """

    config: RunConfig
    task: ImageTask
    compute: Compute
    splits: Splits
    model: nn.Module
    averaged: AveragedModel | None
    trained: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    pruner: emprune.DataPruner
    loader: emprune.ArrayLoader
    total_steps: int | None

    @classmethod
    def build(cls, config: RunConfig, splits: Splits) -> "Session":
        """Return a fresh session. Runs of one seed start from the same weights, whatever the method.

        Raises:
            ConfigError: If the data, the method and the cost do not go together.
        """
        task = get_task(config.task)
        assert isinstance(task, ImageTask), "the others are not trained here"
        compute = Compute.choose(config.device, config.precision)
        held = None if splits.validation is None else splits.validation.to(compute.device)
        splits = Splits(splits.train.to(compute.device), splits.test.to(compute.device), held)
        pruner = make_pruner(config, len(splits.train))
        arrays = (splits.train.x, splits.train.y)
        loader = emprune.ArrayLoader(
            arrays,
            pruner,
            batch_size=config.batch_size,
            transform=task.transform,
            drop_last=config.compile and config.keep is not None,
        )
        total_steps = None if config.keep is None else loader.total_steps
        model = _make_model(config, task, compute.device)
        averaged = _running_average(model, config.ema) if config.ema else None
        trained = torch.compile(model, dynamic=False) if config.compile else model
        optimizer = make_optimizer(config, model)
        return cls(config, task, compute, splits, model, averaged, trained, optimizer, pruner, loader, total_steps)

    def set_learning_rate(self, *, steps: int, epoch_fraction: float) -> float:
        """Set the one-cycle rate for the next step and return it.

        Where the cost is planned, the run's progress is `steps` of the planned steps; where it follows from the losses
        (`keep=None`) it is `epoch_fraction`, the epochs done over the run's epochs.
        """
        progress = epoch_fraction if self.total_steps is None else steps / max(1, self.total_steps - 1)
        rate = self.config.max_lr * one_cycle(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def forward(self, x: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return float32 logits (B, C) of a normalised batch (B, C, H, W), by default of the network in training."""
        with self.compute.autocast():
            return (network or self.trained)(x.contiguous(memory_format=torch.channels_last)).float()

    def train_on(self, index: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on a batch of the loader, and return the losses that the score saw, (B,)."""
        logits = self.forward(x)
        losses, plain = smoothed_and_plain(logits, y, label_smoothing=self.config.label_smoothing)
        self.pruner.reduce(index, losses, logits, score_losses=plain).backward()
        self.step()
        return plain

    def step(self) -> None:
        """Let the optimizer make a step, and forget the gradients."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    @property
    def result_model(self) -> nn.Module:
        """What is scored: the running average of the weights where there is one, else the model."""
        return self.model if self.averaged is None else self.averaged

    @torch.no_grad()
    def evaluate(self, split: Split, model: nn.Module | None = None) -> tuple[float, float]:
        """Return the accuracy in per cent and the mean cross-entropy on a split, without augmentation."""
        model = model or self.result_model
        model.eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self.compute.device)
        for x, y in zip(split.x.split(EVALUATION_BATCH), split.y.split(EVALUATION_BATCH), strict=True):
            logits = self.forward(self.task.normalise(x), model)
            totals[0] += (logits.argmax(1) == y).sum()
            totals[1] += nn.functional.cross_entropy(logits, y, reduction="sum")
        model.train()
        right, loss = (totals / len(split)).tolist()
        return 100 * right, loss

    def recalibrated(self) -> nn.Module:
        """Return a copy of what is scored, its batch-norm statistics estimated anew on random training images.

        On the images as they are scored, without augmentation; `RECALIBRATION_SIZE` of all the data, not of what a
        method kept, so that the selection is told from what it did to the statistics.
        """
        train = self.splits.train
        generator = torch.Generator().manual_seed(self.config.seed)
        chosen = torch.randperm(len(train), generator=generator)[:RECALIBRATION_SIZE].to(self.compute.device)
        batches = [self.task.normalise(train.x[part]) for part in chosen.split(RECALIBRATION_BATCH)]
        model = copy.deepcopy(self.result_model)
        with self.compute.autocast():
            update_bn([x.contiguous(memory_format=torch.channels_last) for x in batches], model)
        return model

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs, the random state of torch included (for models with dropout)."""
        cuda = self.compute.device.type == "cuda"
        return {
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pruner": self.pruner.state_dict(),
            "loader": self.loader.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.compute.device) if cuda else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put everything back to where `state_dict` found it."""
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pruner.load_state_dict(state["pruner"])
        self.loader.load_state_dict(state["loader"])
        torch.set_rng_state(state["random"])
        if self.compute.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.compute.device)


def make_pruner(config: RunConfig, num_samples: int) -> emprune.DataPruner:
    """Return the run's pruner over `num_samples` training samples.

    Raises:
        ConfigError: If the method, the cost, the warm-up and the tail do not go together.
    """
    return emprune.DataPruner(
        MethodSpec.parse(config.method).make(),
        num_samples=num_samples,
        num_epochs=config.epochs,
        keep=config.keep,
        warmup_fraction=config.warmup_fraction,
        tail_fraction=config.tail_fraction,
        seed=config.seed,
    )


def planned_visits(config: RunConfig, num_samples: int) -> int:
    """Return the visits a run will cost; an upper bound where they follow from the losses."""
    return round((1.0 if config.keep is None else config.keep) * num_samples * config.epochs)


def _make_model(config: RunConfig, task: ImageTask, device: torch.device) -> nn.Module:
    torch.manual_seed(config.seed)
    model = make_model(config.model, in_channels=task.input_shape[0], num_classes=task.num_classes)
    model.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _running_average(model: nn.Module, decay: float) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
