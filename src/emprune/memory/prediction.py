"""The memory term of supervised tasks: the entropy of the prediction."""

from typing import Literal

from torch import Tensor

from emprune.errors import ConfigError, ObservationError
from emprune.memory.entropy import softmax_entropy
from emprune.memory.known import KnownEntropy
from emprune.memory.masked_logits import MaskedLogits

__all__ = ["prediction_entropy"]


def prediction_entropy(
    logits: Tensor | MaskedLogits | KnownEntropy, mask: Tensor | None = None, *, class_dim: Literal[1, -1] | None = None
) -> Tensor:
    r"""Entropy of the predicted distribution, in nats: :math:`H(p) = -\sum_c p_c \log p_c`, p = softmax(logits).

    A sample with many predictions, such as tokens or pixels, has the mean of their entropies. The computation is in
    float32 for every dtype of the logits, under autocast too. Classes masked out with -inf contribute nothing. Many
    logits are taken in chunks.

    Args:
        logits: (B, C) float; (B, T, C) of tokens; (B, C, H, W) or (B, C, D, H, W), as for torch's ``cross_entropy``. A
            `MaskedLogits` holds logits and their mask, a `KnownEntropy` what they gave elsewhere.
        mask: (B, T), (B, H, W) or (B, D, H, W), bool or 0/1, the predictions that count. A sample without any gets 0.
        class_dim: The dimension of the classes, 1 or -1. None means the last of two or three dimensions, and 1 of more.
            (B, C, T) cannot be distinguished from (B, T, C), and needs ``class_dim=1``.

    Returns:
        (B,) float32, each in [0, log C].

    Raises:
        ObservationError: If the logits or the mask are not as above.
        ConfigError: If `class_dim` is not as above.

    Example:
        >>> import torch
        >>> prediction_entropy(torch.zeros(1, 4)).exp()
        tensor([4.])
        >>> prediction_entropy(torch.zeros(2, 4, 16, 16)).exp()
        tensor([4., 4.])

    References:
        EMP (arXiv 2408.16031): the memory term of a supervised task, in the probable reading. The entropy, and its plus
        in the score, are a reconstruction.
    """
    if isinstance(logits, KnownEntropy):
        return logits.entropy.detach().float()
    normalized = False
    if isinstance(logits, MaskedLogits):
        class_dim = class_dim if logits.class_dim is None else logits.class_dim
        mask, normalized, logits = logits.mask, logits.normalized, logits.logits
    _check_logits(logits)
    logits = logits.detach()  # no_grad alone leaves every kernel the cost of asking
    dim = _class_dim(logits, class_dim)
    if mask is None:
        entropy = softmax_entropy(logits, dim, normalized=normalized)
        return entropy if entropy.ndim == 1 else entropy.flatten(1).mean(1)
    _check_mask(mask, logits, dim)
    counted = mask.flatten(1).bool()  # padding may hold NaN, which a product with 0 would keep
    entropy = softmax_entropy(logits, dim, normalized=normalized)
    return entropy.flatten(1).where(counted, 0).sum(1) / counted.sum(1).clamp(min=1)


def _check_logits(logits: object) -> None:
    if not isinstance(logits, Tensor):
        raise ObservationError(
            f"`logits` must be a float tensor; got {type(logits).__name__}. Pass the model's logits, not its whole "
            "output object."
        )
    if not logits.is_floating_point():
        raise ObservationError(
            f"`logits` must be float; got {tuple(logits.shape)} {logits.dtype}. Pass the model's logits, not its "
            "predictions or its labels."
        )
    if logits.ndim < 2:
        raise ObservationError(
            f"`logits` must be (B, C), one value per class; got shape {tuple(logits.shape)}. Pass the model's logits, "
            "not its predictions."
        )


def _class_dim(logits: Tensor, class_dim: int | None) -> int:
    if class_dim not in (None, 1, -1):
        raise ConfigError(f"`class_dim` must be 1, -1 or None; got {class_dim=}.")
    dim = (1 if logits.ndim > 3 else -1) if class_dim is None else class_dim
    if logits.shape[dim] < 2:
        raise ObservationError(
            f"`logits` must have at least two classes, else the entropy is always 0; got {logits.shape[dim]} in "
            f"dimension {dim} of {tuple(logits.shape)}. For a single logit z of a binary task pass "
            f"torch.cat([torch.zeros_like(z), z], {dim})."
        )
    return dim


def _check_mask(mask: object, logits: Tensor, dim: int) -> None:
    expected = tuple(size for number, size in enumerate(logits.shape) if number != dim % logits.ndim)
    found = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
    if logits.ndim > 2 and found == expected:
        return
    if logits.ndim == 2:
        raise ObservationError(
            f"`mask` must be None for logits (B, C), which have one prediction per sample; got {found}. Leave it out."
        )
    if not isinstance(mask, Tensor):
        advice = "Pass a tensor."
    elif logits.ndim == 3 and dim == -1:
        advice = "If the logits are (B, C, T), pass class_dim=1."
    else:
        advice = "Resize the logits or the labels, so that both have one size."
    raise ObservationError(
        f"`mask` must have one value per prediction, {expected} for logits {tuple(logits.shape)}; got {found}. {advice}"
    )
