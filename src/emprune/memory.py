"""EMP's memory terms: pure functions from a model's outputs to one number per sample.

A memory term is added to the loss, ``score = loss + beta * memory``. Which terms the paper uses is not known for
certain: `prediction_entropy` is the probable reading for supervised tasks; `instance_entropy` and `view_alignment` are
reconstructions for contrastive ones (see docs/paper.md and docs/theory.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from emprune.errors import ConfigError, ObservationError

__all__ = [
    "MaskedLogits",
    "MemoryTerm",
    "ViewFeatures",
    "instance_entropy",
    "memory_name",
    "memory_term",
    "prediction_entropy",
    "view_alignment",
]

MemoryTerm = Callable[[Any], Tensor]
ViewFeatures: TypeAlias = tuple[Tensor, Tensor] | Mapping[str, tuple[Tensor, Tensor]]
"""Hidden features of a batch's two views, (B, D) each, or such pairs by layer name, as `capture_features` gives."""

_LEAST_LOG = -200.0
"""Below the logarithm of the smallest float32."""
_CHUNK_ELEMENTS = 1 << 24
"""Logits turned into float32 probabilities at a time: 64 MiB, whatever B · T · C is."""


@dataclass(frozen=True, eq=False)
class MaskedLogits:
    """A model's outputs where a sample is a sequence of predictions, not all of which count.

    Observed in place of the logits, ``pruner.reduce(index, losses, MaskedLogits(logits, labels != -100))``, it brings
    the mask to the memory term.

    Args:
        logits: (B, T, C) float.
        mask: (B, T) bool or 0/1, the positions that count.
    """

    logits: Tensor
    mask: Tensor

    @property
    def shape(self) -> torch.Size:
        """The logits' shape."""
        return self.logits.shape


def prediction_entropy(logits: Tensor | MaskedLogits, mask: Tensor | None = None) -> Tensor:
    r"""Entropy of the predicted distribution, in nats: :math:`H(p) = -\sum_c p_c \log p_c`, p = softmax(logits).

    Computed in float32 whatever the logits' dtype, under autocast too; classes masked out with -inf, or too improbable
    for a float, contribute nothing. Many logits are taken in chunks.

    Args:
        logits: (B, C) float, or (B, T, C) for a sequence of predictions, whose entropies are averaged over T; or these
            and their mask in one.
        mask: (B, T) bool or 0/1, the positions that count; for (B, T, C) only. A sample without any gets 0.

    Returns:
        (B,) float32, each in [0, log C].

    Raises:
        ObservationError: If the shapes are not as above.

    Example:
        >>> prediction_entropy(torch.zeros(1, 4)).exp()
        tensor([4.])

    References:
        EMP (arXiv 2408.16031): the memory term of a supervised task, in the probable reading; that it is the entropy
        and enters with a plus is a reconstruction.
    """
    if isinstance(logits, MaskedLogits):
        mask, logits = logits.mask, logits.logits
    if not isinstance(logits, Tensor):
        raise ObservationError(
            f"`logits` must be a float tensor, (B, C) or (B, T, C): got {type(logits).__name__}. "
            "Pass the model's logits, not its predictions or its whole output object."
        )
    logits = logits.detach()  # no_grad alone leaves every kernel the cost of asking
    num_dimensions = logits.ndim
    if num_dimensions == 3:
        return _sequence_entropy(logits, mask)
    if num_dimensions != 2 or mask is not None or not logits.is_floating_point():
        raise ObservationError(
            "`logits` must be a float (B, C), or (B, T, C) with an optional (B, T) mask: got shape "
            f"{tuple(logits.shape)}, {logits.dtype}, mask {None if mask is None else tuple(mask.shape)}. "
            "Pass the model's logits, not its predictions or its whole output object."
        )
    if logits.shape[1] < 2:
        raise ObservationError(
            f"`logits` must be of at least two classes: got shape {tuple(logits.shape)}, whose entropy is always 0. "
            "For a single logit z of a binary task pass torch.cat([torch.zeros_like(z), z], 1)."
        )
    if logits.numel() <= _CHUNK_ELEMENTS:
        return _entropy(logits)
    rows = max(1, _CHUNK_ELEMENTS // logits.shape[1])
    return torch.cat([_entropy(chunk) for chunk in logits.split(rows)])


def _entropy(logits: Tensor) -> Tensor:
    # No summand of sum(p * log p) is positive, so nothing cancels. A class masked out would give 0 * -inf: its
    # logarithm is made finite, which changes nothing where p has long been 0; a NaN stays one.
    with torch.autocast(logits.device.type, enabled=False):  # which would take the products in half precision
        log_p = torch.log_softmax(logits, -1, dtype=torch.float32).clamp_(min=_LEAST_LOG)
        entropy: Tensor = torch.linalg.vecdot(log_p.exp(), log_p).neg_()
    return entropy


def _sequence_entropy(logits: Tensor, mask: Tensor | None) -> Tensor:
    entropy = prediction_entropy(logits.flatten(0, 1)).view(logits.shape[:2])
    if mask is None:
        return entropy.mean(1)
    if mask.shape != logits.shape[:2]:
        raise ObservationError(
            f"`mask` must be (B, T) = {tuple(logits.shape[:2])} for logits {tuple(logits.shape)}: "
            f"got {tuple(mask.shape)}."
        )
    counted = mask.bool()  # padding may hold NaN, which a product with 0 would keep
    return entropy.where(counted, 0).sum(1) / counted.sum(1).clamp(min=1)


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
        first, second = _unit(first), _unit(second)
        there = _entropy_among_others(first, second, temperature)
        return (there + _entropy_among_others(second, first, temperature)) / 2

    return _mean_over_layers(features, entropy)


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
        alignment: Tensor = torch.linalg.vecdot(_unit(first), _unit(second)).clamp_(-1, 1)
        return alignment

    return _mean_over_layers(features, cosine)


def _mean_over_layers(features: ViewFeatures, term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    pairs = list(features.values()) if isinstance(features, Mapping) else [features]
    if not pairs:
        raise ObservationError(
            "`features` hold no layer: got an empty mapping. capture_features fills it when its `with` block ends."
        )
    for pair in pairs:
        _check_pair(pair)
    with torch.no_grad(), torch.autocast(pairs[0][0].device.type, enabled=False):
        return torch.stack([term(first, second) for first, second in pairs]).mean(0)


def _check_pair(pair: Any) -> None:
    if isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(view, Tensor) for view in pair):
        first, second = pair
        if first.ndim == 2 and first.shape == second.shape and first.is_floating_point() and second.is_floating_point():
            return
        found = " and ".join(f"{tuple(view.shape)} {view.dtype}" for view in pair)
    else:
        found = type(pair).__name__
    raise ObservationError(
        f"`features` must be the two views' hidden features, a pair of float (B, D), or such pairs by layer: "
        f"got {found}. Take them with emprune.capture_features(model, layers)."
    )


def _unit(features: Tensor) -> Tensor:
    """Scale rows to length 1 in float32; the largest entry first, whose square may be too much or too little for it."""
    features = features.float()
    largest = features.abs().amax(1, keepdim=True)
    return F.normalize(features / largest.where(largest > 0, 1), dim=1)


def _entropy_among_others(anchors: Tensor, others: Tensor, temperature: float) -> Tensor:
    size = len(anchors)
    if size == 1:
        return anchors.new_zeros(1)  # a softmax over nobody
    entropies = []
    rows = max(1, _CHUNK_ELEMENTS // max(1, size))
    for number, chunk in enumerate(anchors.split(rows)):
        logits = chunk @ others.T / temperature
        logits.diagonal(number * rows).fill_(-torch.inf)
        entropies.append(_entropy(logits))
    return torch.cat(entropies)


_TERMS: dict[str, MemoryTerm] = {
    "prediction_entropy": prediction_entropy,
    "instance_entropy": instance_entropy,
    "view_alignment": view_alignment,
}


def memory_term(memory: str | MemoryTerm) -> MemoryTerm:
    """Resolve a memory term given by name, or return the function itself.

    Raises:
        ConfigError: If there is no term of that name.
    """
    if callable(memory):
        return memory
    if memory not in _TERMS:
        raise ConfigError(f"Unknown `memory` {memory!r}; there are {', '.join(_TERMS)}, or pass a function.")
    return _TERMS[memory]


def memory_name(memory: str | MemoryTerm) -> str:
    """Name a memory term for a saved state: its registered name, or the function's qualified one.

    Example:
        >>> memory_name(partial(instance_entropy, temperature=0.1))
        'instance_entropy(temperature=0.1)'
    """
    if isinstance(memory, str):
        return memory
    for name, term in _TERMS.items():
        if term is memory:
            return name
    if isinstance(memory, partial):
        bound = [_value_name(value) for value in memory.args]
        bound += [f"{name}={_value_name(value)}" for name, value in sorted(memory.keywords.items())]
        return f"{memory_name(memory.func)}({', '.join(bound)})"
    return f"{memory.__module__}.{getattr(memory, '__qualname__', type(memory).__qualname__)}"


def _value_name(value: object) -> str:
    return memory_name(value) if callable(value) else repr(value)  # a function's repr is its address
