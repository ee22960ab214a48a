"""A memory term for contrastive learning: how similar the features of a sample's two views are."""

import torch
from torch import Tensor

from emprune.memory.views import ViewFeatures, mean_over_layers, unit

__all__ = ["view_alignment"]


def view_alignment(features: ViewFeatures) -> Tensor:
    r"""Cosine of the encoder's features of a sample's two views: :math:`\cos(u_i', u_i'')`; a reconstruction.

    An encoder that has memorised a sample maps its views closer together than an encoder that has not. SSLMem measures
    memorisation by this difference. Its reference is a second encoder that never saw the sample. Training two encoders
    costs too much, so here the reference is left out. A sample that is easy to align also counts as memorised. The
    term does not depend on the other samples of the batch.

    Args:
        features: (B, D) float of each of the two views, before the projection head. Or such pairs by layer name; then
            the term is averaged over the layers.

    Returns:
        (B,) float32, each in [-1, 1]. A feature of zeros alone is orthogonal to every other.

    Raises:
        ObservationError: If the features are not as above.

    Example:
        >>> view_alignment((torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])))
        tensor([1., 0.])

    References:
        EMP (arXiv 2408.16031); its self-supervised formula is not known. Wang et al., "Memorization in
        Self-Supervised Learning Improves Downstream Generalization" (ICLR 2024): the alignment in SSLMem. Our changes:
        no reference model, the cosine instead of their distance, and the plus in EMP's score.
    """

    def cosine(first: Tensor, second: Tensor) -> Tensor:
        alignment: Tensor = torch.linalg.vecdot(unit(first), unit(second)).clamp_(-1, 1)
        return alignment

    return mean_over_layers(features, cosine)
