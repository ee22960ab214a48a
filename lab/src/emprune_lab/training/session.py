"""What a run trains with, built from its settings: model, optimizer, pruner, loader, data on the device."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import emprune
from emprune.distributed import Ranks
from emprune.errors import ConfigError
from emprune.randomness import derive_seed
from emprune_lab.compute import Compute
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import Split, Splits, get_task
from emprune_lab.training.learning_rate import SCHEDULES
from emprune_lab.training.objectives import OBJECTIVES, Network, Objective, make_objective
from emprune_lab.training.optimizers import make_optimizer

__all__ = ["Session", "make_loader", "make_pruner", "planned_sizes", "planned_visits", "step_size"]

RECALIBRATION_SIZE, RECALIBRATION_BATCH = 2000, 200


@dataclass(frozen=True)
class Session:
    """The parts of a run in memory; `trained` is the model, shared among the ranks, and compiled if that is asked for.

    What a batch is made into, what it costs and what a model is scored by is the objective's; the rest is common. The
    learning rate follows from the position, so there is no scheduler to keep.
    """

    config: RunConfig
    ranks: Ranks
    objective: Objective
    compute: Compute
    splits: Splits
    model: nn.Module
    averaged: AveragedModel | None
    trained: Network
    optimizer: torch.optim.Optimizer
    loader: emprune.ArrayLoader
    total_steps: int

    @classmethod
    def build(cls, config: RunConfig, splits: Splits, ranks: Ranks | None = None) -> "Session":
        """Return a fresh session. Runs of one seed start from the same weights, whatever the method.

        Args:
            config: The settings. The batch size is that of all ranks together.
            splits: The data, all of it on every rank.
            ranks: Those that share the run; None for this process alone, or the default process group.

        Raises:
            ConfigError: If the data, the method and the cost do not go together.
        """
        ranks = ranks or Ranks()
        compute = Compute.choose(config.device, config.precision)
        objective = make_objective(config, compute)
        held = None if splits.validation is None else splits.validation.to(compute.device)
        splits = Splits(splits.train.to(compute.device), splits.test.to(compute.device), held, splits.classes)
        loader = make_loader(objective, splits.train, ranks)
        model = _make_model(config, objective)
        averaged = _running_average(model, config.ema) if config.ema else None
        trained: Network = model if ranks.size == 1 else DistributedDataParallel(model)
        if config.compile:
            trained = torch.compile(trained, dynamic=False)
        optimizer = make_optimizer(config, model)
        if ranks.rank > 0:  # what a model drops is not the same on all ranks
            torch.manual_seed(derive_seed(config.seed, "dropout", ranks.rank))
        total_steps = loader.total_steps
        return cls(config, ranks, objective, compute, splits, model, averaged, trained, optimizer, loader, total_steps)

    @property
    def pruner(self) -> emprune.DataPruner:
        """The loader's."""
        return self.loader.pruner

    def set_learning_rate(self, *, steps: int) -> float:
        """Set the rate for the next step, after so many, and return it."""
        rate = self.config.max_lr * SCHEDULES[self.config.schedule](steps / max(1, self.total_steps - 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def train_on(self, index: Tensor, batch: Sequence[Tensor]) -> Tensor:
        """Make one step on a batch of the loader, and return the losses that the score saw, (B,)."""
        losses = self.objective.losses(self.trained, batch)
        self.pruner.reduce(index, losses.optimised, losses.outputs, score_losses=losses.scored).backward()
        self.step()
        return losses.scored

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

    def score(self, split: Split, model: nn.Module | None = None) -> dict[str, Any]:
        """Return the objective's scores on a split, by default of the run's result: `accuracy`, `loss` and others."""
        return self.objective.score(model or self.result_model, split, train=self.splits.train)

    def recalibrated(self) -> nn.Module:
        """Return a copy of what is scored, its batch-norm statistics estimated anew on random training images.

        On the images as they are scored, without augmentation; `RECALIBRATION_SIZE` of all the data, not of what a
        method kept, so that the selection is told from what it did to the statistics.
        """
        train = self.splits.train
        generator = torch.Generator().manual_seed(self.config.seed)
        chosen = torch.randperm(len(train), generator=generator)[:RECALIBRATION_SIZE].to(self.compute.device)
        batches = [self.objective.task.normalise(train.x[part]) for part in chosen.split(RECALIBRATION_BATCH)]
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
        self.loader.load_state_dict(state["loader"])
        if self.ranks.rank > 0:  # the first rank's is saved; another's only must not begin from the start again
            place = (self.pruner.epoch, self.loader.num_delivered)
            torch.manual_seed(derive_seed(self.config.seed, "resumed", self.ranks.rank, *place))
            return
        torch.set_rng_state(state["random"])
        if self.compute.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.compute.device)


def make_loader(objective: Objective, train: Split, ranks: Ranks) -> emprune.ArrayLoader:
    """Return the run's loader, with its pruner, on the device that the training data are on.

    Raises:
        ConfigError: If the data, the method, the cost, the batch size and the ranks do not go together.
    """
    config = objective.config
    objective.check_ranks(ranks.size)
    return emprune.ArrayLoader(
        objective.arrays(train),
        make_pruner(config, len(train)),
        batch_size=_rank_batch_size(config, ranks),
        transform=objective.transform,
        drop_last=_never_short(config),
    )


def _rank_batch_size(config: RunConfig, ranks: Ranks) -> int:
    if config.batch_size % ranks.size:
        raise ConfigError(
            f"`batch_size` is that of all ranks together, and must be a multiple of their number, {ranks.size}; got "
            f"batch_size={config.batch_size}."
        )
    return config.batch_size // ranks.size


def make_pruner(config: RunConfig, num_samples: int) -> emprune.DataPruner:
    """Return the run's pruner over `num_samples` training samples.

    Raises:
        ConfigError: If the method, the cost, the warm-up and the tail do not go together.
    """
    return emprune.DataPruner(
        config.spec.make(),
        num_samples=num_samples,
        num_epochs=config.epochs,
        keep=config.keep,
        warmup_epochs=config.warmup_epochs,
        tail_epochs=config.tail_epochs,
        seed=config.seed,
    )


def planned_visits(config: RunConfig, num_samples: int, *, world_size: int = 1) -> int:
    """Return the visits a run will make, to the last batch."""
    return sum(planned_sizes(config, num_samples, world_size=world_size))


def step_size(config: RunConfig, num_samples: int) -> int:
    """Return the samples of a run's first step: a batch, or what the first epoch keeps where that is less."""
    return min(config.batch_size, planned_sizes(config, num_samples)[0])


def planned_sizes(config: RunConfig, num_samples: int, *, world_size: int = 1) -> list[int]:
    """Return how many samples each epoch of a run visits.

    Raises:
        ConfigError: If the cost cannot be met.
    """
    schedule = make_pruner(config, num_samples).schedule
    return schedule.num_kept_per_epoch(
        multiple_of=config.batch_size, world_size=world_size, drop_last=_never_short(config)
    )


def _never_short(config: RunConfig) -> bool:
    """Whether all batches of a run are whole."""
    return config.compile or OBJECTIVES[get_task(config.task).objective].whole_batches


def _make_model(config: RunConfig, objective: Objective) -> nn.Module:
    torch.manual_seed(config.seed)
    model = objective.make_model()
    model.to(device=objective.compute.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _running_average(model: nn.Module, decay: float) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
