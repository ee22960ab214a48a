"""The loss that is optimised and the loss that is scored, from one pass over the logits."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["smoothed_and_plain"]


def smoothed_and_plain(logits: Tensor, y: Tensor, *, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the label-smoothed cross-entropy, for the optimizer, and the plain one, for the score.

    Args:
        logits: (B, C) float32.
        y: (B,) int64.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Returns:
        Two (B,) tensors.
    """
    log_probability = F.log_softmax(logits, dim=1)
    plain = F.nll_loss(log_probability, y, reduction="none")
    smoothed = (1 - label_smoothing) * plain - label_smoothing * log_probability.mean(dim=1)
    return smoothed, plain.detach()
