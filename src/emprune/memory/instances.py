"""A memory term for contrastive learning: which other sample of the batch a sample is similar to."""

import torch
from torch import Tensor

from emprune.checks import real_number
from emprune.memory.entropy import rows_at_once, softmax_entropy
from emprune.memory.views import ViewFeatures, mean_over_layers, unit

__all__ = ["instance_entropy"]


def instance_entropy(features: ViewFeatures, *, temperature: float = 0.5) -> Tensor:
    r"""Entropy of the prediction which other sample of the batch this is, in nats: a reconstruction.

    .. math:: H(q_i) = -\sum_{j \ne i} q_{ij} \log q_{ij}, \qquad
        q_{ij} = \mathrm{softmax}_{j \ne i} \, \cos(u_i, u_j^+) / \tau

    with u a sample's feature in one view and u⁺ in the other. Both directions are averaged, as in the loss.

    The supervised term is the entropy of the model's prediction of the label. Here the label is which sample this is,
    a function of the input. So I(w; identity | x) = 0, and the decomposition behind the supervised term gives zero.
    This term keeps the form, the entropy of a prediction. The other samples of the batch replace the classes. The base
    encoder's features replace the logits, because the loss already measures the projections. The sample itself is
    left out, because the loss already measures the model's certainty about it.

    The score depends on the other samples of the batch, and on their number by up to log(B - 1). With the loader's
    `drop_last=True` no batch is short.

    Args:
        features: (B, D) float of each of the two views, before the projection head. Or such pairs by layer name; then
            the term is averaged over the layers. On several ranks: of this rank's batch.
        temperature: τ > 0. At a low temperature the nearest samples decide. Cosines differ by 2 at most, so at 0.5 no
            q_ij is more than 55 times another. In a large batch the entropy then stays near log(B - 1).

    Returns:
        (B,) float32, each in [0, log(B - 1)]; 0 where B is 1 or 2.

    Raises:
        ConfigError: If the temperature is not positive.
        ObservationError: If the features are not as above.

    Example:
        >>> views = torch.eye(5), torch.eye(5)
        >>> instance_entropy(views).exp()  # four others at equal distance
        tensor([4., 4., 4., 4., 4.])

    References:
        EMP (arXiv 2408.16031); its self-supervised formula is not known. All of this term is ours.
    """
    temperature = real_number("temperature", temperature, above=0)

    def entropy(first: Tensor, second: Tensor) -> Tensor:
        first, second = unit(first), unit(second)
        there = _entropy_among_others(first, second, temperature)
        return (there + _entropy_among_others(second, first, temperature)) / 2

    return mean_over_layers(features, entropy)


def _entropy_among_others(anchors: Tensor, others: Tensor, temperature: float) -> Tensor:
    size = len(anchors)
    if size == 1:
        return anchors.new_zeros(1)  # a softmax over no sample
    entropies = []
    rows = rows_at_once(size)
    for number, chunk in enumerate(anchors.split(rows)):
        logits = chunk @ others.T / temperature
        logits.diagonal(number * rows).fill_(-torch.inf)
        entropies.append(softmax_entropy(logits))
    return torch.cat(entropies)
