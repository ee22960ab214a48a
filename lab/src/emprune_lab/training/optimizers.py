"""The optimizers, made from a run's settings."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from emprune_lab.settings import RunConfig

__all__ = ["make_optimizer"]


def make_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that `config.optimizer` names, for a model's parameters."""
    return BUILDERS[config.optimizer](config, model.parameters())


def _sgd(config: RunConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=config.max_lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
        fused=True,
    )


def _lars(config: RunConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    from pytorch_optimizer import LARS

    return LARS(parameters, lr=config.max_lr, momentum=config.momentum, weight_decay=config.weight_decay)


BUILDERS: dict[str, Callable[[RunConfig, Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "lars": _lars,
}
