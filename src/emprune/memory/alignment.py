"""A memory term for contrastive learning: how alike a sample's two views look."""

import torch
from torch import Tensor

from emprune.memory.views import ViewFeatures, mean_over_layers, unit

__all__ = ["view_alignment"]


def view_alignment(features: ViewFeatures) -> Tensor:
    r"""How alike a sample's two views look to the encoder: :math:`\cos(u_i', u_i'')`; a reconstruction as well.

    Where it comes from: an encoder that has memorised a sample maps its views closer together than one that has not.
    SSLMem measures memorisation by that difference, with a second encoder that never saw the sample as the reference.
    Nobody trains two, so the reference is left out: what is easy to align counts as remembered. It looks at one sample
    alone, so the batch's company does not matter.

    Args:
        features: (B, D) float of each of the two views, before the projection head; or such pairs by layer name, over
            which the term is averaged.

    Returns:
        (B,) float32, each in [-1, 1]; a feature that is all zeros is at right angles to every other.

    Raises:
        ObservationError: If the features are not as above.

    Example:
        >>> view_alignment((torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])))
        tensor([1., 0.])

    References:
        EMP (arXiv 2408.16031), whose self-supervised formula is not known. Wang et al., "Memorization in
        Self-Supervised Learning Improves Downstream Generalization" (ICLR 2024): the alignment in SSLMem. Ours: that
        there is no reference model, the cosine for their distance, and that it enters EMP's score with a plus.
    """

    def cosine(first: Tensor, second: Tensor) -> Tensor:
        alignment: Tensor = torch.linalg.vecdot(unit(first), unit(second)).clamp_(-1, 1)
        return alignment

    return mean_over_layers(features, cosine)
