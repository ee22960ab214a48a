"""Entropies that somebody else has measured."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["KnownEntropy"]


@dataclass(frozen=True, eq=False)
class KnownEntropy:
    """The entropy of each sample's prediction, measured where the logits were: a fused loss keeps none.

    Observe it instead of the logits, ``loader.reduce(index, losses, KnownEntropy(entropy))``. It is for the term
    `prediction_entropy` alone.

    Args:
        entropy: (B,) float, in nats; for a sample with many predictions the mean of those that count.
    """

    entropy: Tensor
