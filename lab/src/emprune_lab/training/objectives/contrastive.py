"""Contrastive pre-training: two views of an image, told apart from all others; labels are for scoring only."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import emprune
from emprune_lab.data.splits import Split
from emprune_lab.models import make_encoder
from emprune_lab.training.objectives.objective import ImageObjective, Losses, Network
from emprune_lab.training.probes import knn_accuracy, linear_probe_accuracy

__all__ = ["TEMPERATURE", "Contrastive"]

TEMPERATURE = 0.5
VIEWS_SEED = 0


class Contrastive(ImageObjective):
    """SimCLR. Scored once, at the end, by what the frozen encoder's features are worth for naming the class.

    References:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020).
    """

    def make_model(self) -> nn.Module:  # noqa: D102 - inherited
        return make_encoder(self.training.model, in_channels=self.task.input_shape[0])

    def arrays(self, train: Split) -> tuple[Tensor, ...]:
        """Return the images alone."""
        return (train.x,)

    def transform(self, generator: torch.Generator, *arrays: Tensor) -> Sequence[Tensor]:
        """Return two views of each image, augmented apart from each other, and normalised."""
        (x,) = arrays
        return tuple(self.task.normalise(self.task.augment(generator, x)) for _ in range(2))

    def losses(self, network: Network, batch: Sequence[Tensor]) -> Losses:
        """Return the contrastive loss of each image, and the encoder's features of its views for the memory term.

        On several ranks an image is told from those of all, which is collective.
        """
        features, projections = self.run(network, torch.cat(list(batch)))
        losses = emprune.losses.nt_xent(*projections.chunk(2), temperature=TEMPERATURE, gather=True)
        return Losses(optimised=losses, scored=losses.detach(), outputs=features.detach().chunk(2))

    def predict(self, network: Network, x: Tensor) -> Tensor:
        """Return the encoder's features (B, D)."""
        features, _ = self.run(network, x)
        return features.float()  # type: ignore[no-any-return]

    def score(self, model: nn.Module, split: Split, *, train: Split) -> dict[str, Any]:
        """Return the accuracies of a linear probe and of the nearest neighbours, fitted on the training data.

        `accuracy` is the probe's, `knn_accuracy` the neighbours'; `loss` is the contrastive loss of views that are the
        same for every model.
        """
        features, held_out = (self.predict_all(model, x) for x in (train.x, split.x))
        labelled: dict[str, Any] = {"test_features": held_out, "test_y": split.y, "check_stop": self.check_stop}
        return {
            "accuracy": linear_probe_accuracy(features, train.y, **labelled),
            "knn_accuracy": knn_accuracy(features, train.y, **labelled),
            "loss": self.mean_loss(model, split),
        }

    @torch.no_grad()
    def mean_loss(self, model: nn.Module, split: Split) -> float:
        """Return the mean contrastive loss in batches of the run's size; of a last, short one where it is the first.

        Not by way of `losses`: one rank scores, and the others do not take part.
        """
        generator = torch.Generator(self.compute.device).manual_seed(VIEWS_SEED)
        size = self.training.batch_size
        whole = max(1, len(split) // size)
        losses = []
        model.eval()
        for x in split.x[: whole * size].split(size):
            self.check_stop()
            _, projections = self.run(model, torch.cat(list(self.transform(generator, x))))
            losses.append(emprune.losses.nt_xent(*projections.chunk(2), temperature=TEMPERATURE))
        model.train()
        return torch.cat(losses).double().mean().item()
