"""The optimizers, made from a run's settings."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from emprune_lab.settings import TrainingSettings

__all__ = ["make_optimizer"]


def make_optimizer(training: TrainingSettings, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that `training.optimizer` names, for a model's parameters."""
    return BUILDERS[training.optimizer](training, model.parameters())


def _sgd(training: TrainingSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=training.max_lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=True,
        fused=True,
    )


def _lars(training: TrainingSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    from pytorch_optimizer import LARS

    return LARS(parameters, lr=training.max_lr, momentum=training.momentum, weight_decay=training.weight_decay)


BUILDERS: dict[str, Callable[[TrainingSettings, Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "lars": _lars,
}
