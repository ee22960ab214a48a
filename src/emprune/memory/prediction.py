"""The memory term of supervised tasks: the entropy of the prediction."""

from torch import Tensor

from emprune.errors import ObservationError
from emprune.memory.entropy import softmax_entropy
from emprune.memory.masked_logits import MaskedLogits

__all__ = ["prediction_entropy"]


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
        >>> import torch
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
    return softmax_entropy(logits)


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
