"""EMP's memory terms: pure functions from a model's outputs to one number per sample.

A memory term is added to the loss, ``score = loss + beta * memory``. Which term the paper uses is not known for
certain; `prediction_entropy` is the probable reading (see docs/paper.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emprune.errors import ConfigError, ObservationError

__all__ = ["MaskedLogits", "MemoryTerm", "memory_name", "memory_term", "prediction_entropy"]

MemoryTerm = Callable[[Any], Tensor]

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

    Computed in float32 whatever the logits' dtype; classes masked out with -inf, or too improbable for a float,
    contribute nothing. Many logits are taken in chunks.

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
    if logits.numel() <= _CHUNK_ELEMENTS:
        return _entropy(logits)
    rows = max(1, _CHUNK_ELEMENTS // logits.shape[1])
    return torch.cat([_entropy(chunk) for chunk in logits.split(rows)])


def _entropy(logits: Tensor) -> Tensor:
    # No summand of sum(p * log p) is positive, so nothing cancels. A class masked out would give 0 * -inf: its
    # logarithm is made finite, which changes nothing where p has long been 0; a NaN stays one.
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


_TERMS: dict[str, MemoryTerm] = {"prediction_entropy": prediction_entropy}


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
    """Name a memory term for a saved state: its registered name, or the function's qualified one."""
    if isinstance(memory, str):
        return memory
    for name, term in _TERMS.items():
        if term is memory:
            return name
    return f"{memory.__module__}.{getattr(memory, '__qualname__', type(memory).__qualname__)}"
