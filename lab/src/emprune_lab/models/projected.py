"""An encoder with SimCLR's projection head, which is thrown away after training."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Projected"]

NUM_DIMENSIONS = 128


class Projected(nn.Module):
    """An encoder and a head of two layers, z = W₂ relu(W₁ h), on its features h.

    Args:
        encoder: Maps images to features (B, D).
        num_features: D.

    References:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020), section 2.1.
    """

    def __init__(self, encoder: nn.Module, *, num_features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.hidden = nn.Linear(num_features, num_features)
        self.projection = nn.Linear(num_features, NUM_DIMENSIONS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) to features (B, D) and projections (B, 128)."""
        features: Tensor = self.encoder(x)
        projections: Tensor = self.projection(F.relu(self.hidden(features)))
        return features, projections
