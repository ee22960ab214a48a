"""A memory term for contrastive learning: whom else in the batch a sample is taken for."""

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.memory.entropy import rows_at_once, softmax_entropy
from emprune.memory.views import ViewFeatures, mean_over_layers, unit

__all__ = ["instance_entropy"]


def instance_entropy(features: ViewFeatures, *, temperature: float = 0.5) -> Tensor:
    r"""Entropy of whom else in the batch a sample is taken for, in nats: a reconstruction, not the paper's formula.

    .. math:: H(q_i) = -\sum_{j \ne i} q_{ij} \log q_{ij}, \qquad
        q_{ij} = \mathrm{softmax}_{j \ne i} \, \cos(u_i, u_j^+) / \tau

    with u a sample's feature in one view and u⁺ in the other; both directions are averaged, as in the loss.

    Where it comes from: the supervised term is the entropy of the model's guess at the label. Here the label is which
    sample this is. Since that is a function of the input, I(w; identity | x) = 0 and the decomposition that gives the
    supervised term gives nothing. What can be kept is its form, the entropy of a guess, with the other samples of the
    batch in the place of the classes, and the base encoder's features in the place of the logits, since the loss has
    seen to those of the projection. The sample itself is left out: how sure the model is of it is what the loss says.

    The score depends on the batch's company: on who else is in it, and on how many, by up to log(B - 1). With the
    loader's `drop_last=True` no batch is short.

    Args:
        features: (B, D) float of each of the two views, before the projection head; or such pairs by layer name, over
            which the term is averaged. On several ranks, of this rank's batch.
        temperature: τ > 0. The lower, the more the nearest decide. Cosines differ by 2 at most, so at 0.5 no q_ij is
            more than 55 times another, and in a large batch the entropy stays near log(B - 1).

    Returns:
        (B,) float32, each in [0, log(B - 1)]; 0 where B is 1 or 2.

    Raises:
        ConfigError: If the temperature is not positive.
        ObservationError: If the features are not as above.

    Example:
        >>> views = torch.eye(5), torch.eye(5)
        >>> instance_entropy(views).exp()  # four others, all equally far
        tensor([4., 4., 4., 4., 4.])

    References:
        EMP (arXiv 2408.16031), whose self-supervised formula is not known. Ours: all of it.
    """
    if not temperature > 0:
        raise ConfigError(f"`temperature` must be positive: got {temperature=}.")

    def entropy(first: Tensor, second: Tensor) -> Tensor:
        first, second = unit(first), unit(second)
        there = _entropy_among_others(first, second, temperature)
        return (there + _entropy_among_others(second, first, temperature)) / 2

    return mean_over_layers(features, entropy)


def _entropy_among_others(anchors: Tensor, others: Tensor, temperature: float) -> Tensor:
    size = len(anchors)
    if size == 1:
        return anchors.new_zeros(1)  # a softmax over nobody
    entropies = []
    rows = rows_at_once(size)
    for number, chunk in enumerate(anchors.split(rows)):
        logits = chunk @ others.T / temperature
        logits.diagonal(number * rows).fill_(-torch.inf)
        entropies.append(softmax_entropy(logits))
    return torch.cat(entropies)
