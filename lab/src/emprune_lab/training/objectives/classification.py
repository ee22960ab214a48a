"""Classification: an augmented image, its label, the cross-entropy."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emprune_lab.data.splits import Split
from emprune_lab.models import make_model
from emprune_lab.training.objectives.objective import (
    EVALUATION_BATCH,
    ImageObjective,
    Losses,
    Network,
)
from emprune_lab.training.scores import class_accuracy

__all__ = ["Classification", "smoothed_and_plain"]


class Classification(ImageObjective):
    """Name the class. Scored by the test set's accuracy, and by a validation part's on the way."""

    def make_model(self) -> nn.Module:  # noqa: D102 - inherited
        return make_model(self.training.model, in_channels=self.task.input_shape[0], num_classes=self.task.num_classes)

    def arrays(self, train: Split) -> tuple[Tensor, ...]:
        """Return the images and their labels."""
        return train.x, train.y

    def transform(self, generator: torch.Generator, *arrays: Tensor) -> Sequence[Tensor]:
        """Augment and normalise the images."""
        x, y = arrays
        return self.task.transform(generator, x, y)

    def losses(self, network: Network, batch: Sequence[Tensor]) -> Losses:
        """Return the cross-entropies: smoothed for the optimizer, plain for the score, which may see the logits."""
        x, y = batch
        logits = self.predict(network, x)
        smoothed, plain = smoothed_and_plain(logits, y, label_smoothing=self.training.label_smoothing)
        return Losses(optimised=smoothed, scored=plain, outputs=logits)

    def predict(self, network: Network, x: Tensor) -> Tensor:
        """Return the logits (B, C)."""
        logits: Tensor = self.run(network, x).float()
        return logits

    def score(self, model: nn.Module, split: Split, *, train: Split) -> dict[str, Any]:
        """Return the accuracy, in all and by class, and the mean cross-entropy, without augmentation or smoothing."""
        totals = torch.zeros(2, dtype=torch.float64, device=self.compute.device)
        logits = self.predict_all(model, split.x)
        for part, y in zip(logits.split(EVALUATION_BATCH), split.y.split(EVALUATION_BATCH), strict=True):
            totals[0] += (part.argmax(1) == y).sum()
            totals[1] += F.cross_entropy(part, y, reduction="sum")
        right, loss = (totals / len(split)).tolist()
        by_class = class_accuracy(logits.argmax(1), split.y, num_classes=self.task.num_classes)
        return {"accuracy": 100 * right, "loss": loss, "class_accuracy": by_class}


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
