"""The optimizers, and the learning rate as a function of how far the run has come: no state, so nothing to save."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from emprune_lab.declaration import TrainingSettings

__all__ = ["SCHEDULES", "cosine", "make_optimizer", "one_cycle"]

UP_FRACTION = 0.3
START_DIVISOR = 25
END_DIVISOR = 25 * 1e4
WARM_UP_FRACTION = 0.1
SECOND_BETA = 0.95
"""AdamW's, as language models are pre-trained: 0.999 averages over more steps than the warm-up has."""


def one_cycle(progress: float) -> float:
    """Return the learning rate as a fraction of its maximum (Smith & Topin 2018; torch's OneCycleLR, cosine).

    Rises from 1/25 to 1 over the first 30 % of the run and falls to 1/250,000 at its end.

    Args:
        progress: Optimizer steps done over the run's planned steps less one, in [0, 1].

    Example:
        >>> one_cycle(0.0), one_cycle(0.3)
        (0.04, 1.0)
    """
    if progress < UP_FRACTION:
        return _cosine(1 / START_DIVISOR, 1.0, progress / UP_FRACTION)
    return _cosine(1.0, 1 / END_DIVISOR, min(1.0, (progress - UP_FRACTION) / (1 - UP_FRACTION)))


def cosine(progress: float) -> float:
    """Return the learning rate as a fraction of its maximum: linear warm-up, then half a cosine (SimCLR's schedule).

    It rises from 0 to 1 over the first tenth of the run, as SimCLR's over 10 of 100 epochs. It falls to 0 at its end.

    Args:
        progress: As `one_cycle` has it.

    Example:
        >>> cosine(0.05), cosine(0.1), cosine(1.0)
        (0.5, 1.0, 0.0)
    """
    if progress < WARM_UP_FRACTION:
        return progress / WARM_UP_FRACTION
    return _cosine(1.0, 0.0, min(1.0, (progress - WARM_UP_FRACTION) / (1 - WARM_UP_FRACTION)))


SCHEDULES: dict[str, Callable[[float], float]] = {"one-cycle": one_cycle, "cosine": cosine}
"""By what a run's `schedule` calls them."""


def _cosine(start: float, end: float, fraction: float) -> float:
    return start + (end - start) / 2 * (1 - math.cos(math.pi * fraction))


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


def _adamw(training: TrainingSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    betas = (training.momentum, SECOND_BETA)
    return torch.optim.AdamW(
        parameters, lr=training.max_lr, betas=betas, weight_decay=training.weight_decay, fused=True
    )


def _lars(training: TrainingSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    from pytorch_optimizer import LARS

    return LARS(parameters, lr=training.max_lr, momentum=training.momentum, weight_decay=training.weight_decay)


BUILDERS: dict[str, Callable[[TrainingSettings, Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "lars": _lars,
}
