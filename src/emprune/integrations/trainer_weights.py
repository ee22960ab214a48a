"""A plan's weights in a Trainer's loss, which is one number for the batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.methods.base import Method

__all__ = ["check_weightable", "reweighted"]


def check_weightable(method: Method, outputs: Any, *, compute_loss_func: Any) -> None:
    """Raise ConfigError if the loss has terms of which no sample has its own part.

    Args:
        method: The method whose plans have weights.
        outputs: What the model returned.
        compute_loss_func: The Trainer's.
    """
    if compute_loss_func is not None:
        raise ConfigError(
            f"`compute_loss_func` must be None, because {method.name}'s weights of single samples "
            "cannot enter its one loss for the batch; got one. Leave it out, or choose a method without weights."
        )
    if isinstance(outputs, Mapping) and outputs.get("aux_loss") is not None:
        raise ConfigError(
            f"The model must not add a loss of its own, because {method.name}'s weights are for the "
            "samples' losses alone; got `aux_loss`. Set output_router_logits=False, or choose a method without "
            "weights."
        )


def reweighted(loss: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
    """Turn a loss, which is a normalised sum of the samples' losses, into that of weight · each.

    Args:
        loss: The Trainer's, a scalar.
        losses: (B,) with their graph.
        weights: (B,) float.
    """
    # However the Trainer and the model normalise (by samples, tokens, accumulation, ranks), it shows in this ratio.
    scale = loss.detach() / losses.detach().sum().clamp(min=torch.finfo(losses.dtype).tiny)
    weights = weights.to(losses.device, non_blocking=True)
    return loss + scale * ((weights - 1) * losses).sum()
