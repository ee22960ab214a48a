"""Per-sample losses that a user needs and torch lacks: pure functions, (B,) each."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emprune.errors import ConfigError, ObservationError

__all__ = ["next_labels", "sequence_cross_entropy"]

_CHUNK_ELEMENTS = 1 << 24
"""Logits turned into float32 at a time: 64 MiB, whatever B · T · C is."""


def sequence_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = -100,
    shift: bool = False,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of each sample, in nats: the mean of :math:`-\log p_t[y_t]` over its labels that count.

    A sample is one prediction (sequence classification) or a sequence of them (token classification, masked and causal
    language models). Computed in float32 whatever the logits' dtype, and many logits in chunks, in the backward pass
    too: besides the logits' gradient no copy of them is kept.

    Args:
        logits: (B, C) float, or (B, T, C).
        labels: (B,) or (B, T) int64, in [0, C) or `ignore_index`.
        ignore_index: The label that does not count, such as that of padding. A sample without any that counts gets 0.
        shift: Logits t predict label t + 1, as in a causal language model; for (B, T, C) only.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1]. Smoothing belongs to the loss
            that is optimised, never to the score.
        reduction: "mean" over the labels that count, or their "sum".

    Returns:
        (B,) float32, or float64 for float64 logits; each at least 0.

    Raises:
        ObservationError: If shapes or dtypes are not as above.
        ConfigError: If `label_smoothing` or `reduction` is not.

    Example:
        >>> logits = torch.zeros(2, 3, 4)
        >>> labels = torch.tensor([[0, 1, 2], [3, -100, -100]])
        >>> sequence_cross_entropy(logits, labels).exp()
        tensor([4., 4.])
    """
    _check(logits, labels, shift)
    if reduction not in ("mean", "sum"):
        raise ConfigError(f'`reduction` must be "mean" or "sum" over a sample\'s labels that count: got {reduction=}.')
    if not 0 <= label_smoothing <= 1:
        raise ConfigError(f"`label_smoothing` must be in [0, 1], a share of the target: got {label_smoothing=}.")
    if shift:
        labels = next_labels(labels, ignore_index=ignore_index)
    losses = _each_cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index, label_smoothing)
    if labels.ndim == 1:
        return losses
    total = losses.view(labels.shape).sum(1)
    return total if reduction == "sum" else total / (labels != ignore_index).sum(1).clamp(min=1)


def next_labels(labels: Tensor, *, ignore_index: int = -100) -> Tensor:
    """Return (B, T) labels of which label t is what logits t of a causal language model predict: `labels` at t + 1.

    Args:
        labels: (B, T) int64, in the order of the tokens.
        ignore_index: What the last one becomes, which has no successor.

    Example:
        >>> next_labels(torch.tensor([[5, 6, 7]]))
        tensor([[   6,    7, -100]])
    """
    return F.pad(labels[:, 1:], (0, 1), value=ignore_index)


def _each_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int, label_smoothing: float) -> Tensor:
    """(M,) of (M, C) logits, in chunks whose float32 logits are made again in the backward pass, not kept."""
    rows = max(1, _CHUNK_ELEMENTS // logits.shape[1])
    if len(logits) <= rows:
        return _cross_entropy(logits, labels, ignore_index, label_smoothing)
    chunks = [
        checkpoint(_cross_entropy, *part, ignore_index, label_smoothing, use_reentrant=False, preserve_rng_state=False)
        for part in zip(logits.split(rows), labels.split(rows), strict=True)
    ]
    return torch.cat(chunks)


def _cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int, label_smoothing: float) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none", label_smoothing=label_smoothing)


def _check(logits: Tensor, labels: Tensor, shift: bool) -> None:
    for name, value in (("logits", logits), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise ObservationError(
                f"`{name}` must be a tensor: got {type(value).__name__}. Pass the model's logits, not its whole output "
                "object, and the batch's labels."
            )
    if logits.ndim not in (2, 3) or not logits.is_floating_point() or logits.shape[-1] < 1:
        raise ObservationError(
            f"`logits` must be a float tensor, (B, C) or (B, T, C): got {tuple(logits.shape)} {logits.dtype}. "
            "Bring other tasks into this form, or compute their (B,) losses yourself."
        )
    if labels.shape != logits.shape[:-1] or labels.dtype != torch.int64:
        raise ObservationError(
            f"`labels` must be int64 classes of shape {tuple(logits.shape[:-1])}, one per prediction: got "
            f"{tuple(labels.shape)} {labels.dtype}. For regression and several labels at once compute the (B,) losses "
            "yourself."
        )
    if shift and logits.ndim != 3:
        raise ObservationError(
            f"`shift` needs a sequence of predictions, logits (B, T, C): got {tuple(logits.shape)}. Use shift=False."
        )
