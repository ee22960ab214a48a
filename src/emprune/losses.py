"""Per-sample losses that torch lacks: pure functions that return (B,)."""

from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emprune.checks import real_number
from emprune.distributed import ProcessGroup, Ranks
from emprune.errors import ConfigError, ObservationError

__all__ = ["dense_cross_entropy", "next_labels", "nt_xent", "sequence_cross_entropy"]

Reduction: TypeAlias = Literal["mean", "sum"]

_CHUNK_ELEMENTS = 1 << 24
"""Logits turned into float32 at a time: 64 MiB, whatever B · T · C is."""


def sequence_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = -100,
    shift: bool = False,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    normalized: bool = False,
) -> Tensor:
    r"""Cross-entropy of each sample, in nats: the mean of :math:`-\log p_t[y_t]` over its labels that count.

    A sample is one prediction (sequence classification) or a sequence of predictions (token classification, masked and
    causal language models). The computation is in float32 for every dtype of the logits. Many logits are taken in
    chunks, in the backward pass too, so no copy of them is kept besides their gradient.

    Args:
        logits: (B, C) float, or (B, T, C). For classes in dimension 1, as in segmentation, see `dense_cross_entropy`.
        labels: (B,) or (B, T) int64, in [0, C) or `ignore_index`.
        ignore_index: The label that does not count, such as that of padding. A sample in which no label counts gets 0.
        shift: Logits t predict label t + 1, as in a causal language model; for (B, T, C) only.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1]. Use it in the loss that is
            optimised, never in the score.
        reduction: "mean" over the labels that count, or their "sum".
        normalized: Whether the logits are log-probabilities, as float32 ``log_softmax`` gives them. Their losses are
            then only looked up.

    Returns:
        (B,) float32, or float64 for float64 logits; each at least 0.

    Raises:
        ObservationError: If shapes or dtypes are not as above.
        ConfigError: If `label_smoothing` or `reduction` is not as above.

    Example:
        >>> logits = torch.zeros(2, 3, 4)
        >>> labels = torch.tensor([[0, 1, 2], [3, -100, -100]])
        >>> sequence_cross_entropy(logits, labels).exp()
        tensor([4., 4.])
    """
    _check_options(reduction, label_smoothing)
    _check_logits(logits, labels)
    if logits.ndim not in (2, 3):
        raise ObservationError(
            f"`logits` must be (B, C) or (B, T, C); got {tuple(logits.shape)}. For logits (B, C, H, W) use "
            "dense_cross_entropy."
        )
    if shift and logits.ndim != 3:
        raise ObservationError(
            f"`shift` needs a sequence of predictions, logits (B, T, C); got {tuple(logits.shape)}. Use shift=False."
        )
    _check_labels(labels, logits, class_dim=-1)
    if shift:
        labels = next_labels(labels, ignore_index=ignore_index)
    rows = logits.flatten(0, -2), labels.flatten()
    if normalized and label_smoothing == 0:
        losses = F.nll_loss(*rows, ignore_index=ignore_index, reduction="none")
    else:  # log-probabilities are logits, too
        losses = _each_cross_entropy(*rows, ignore_index, label_smoothing)
    return _per_sample(losses.view(labels.shape), labels, ignore_index, reduction)


def dense_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Cross-entropy of each sample with a prediction per pixel, in nats, over the labels that count.

    The shapes are those of torch's ``cross_entropy``: the classes are dimension 1. Torch averages over the batch's
    pixels; here each sample has the mean of its own pixels. The computation is in float32, and in chunks for many
    logits.

    Args:
        logits: (B, C, H, W) float, (B, C, D, H, W) or (B, C, T).
        labels: (B, H, W), (B, D, H, W) or (B, T) int64, in [0, C) or `ignore_index`.
        ignore_index: The label that does not count, often 255. A sample in which no label counts gets 0.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1].
        reduction: "mean" over the labels that count, or their "sum".

    Returns:
        (B,) float32, or float64 for float64 logits; each at least 0.

    Raises:
        ObservationError: If shapes or dtypes are not as above.
        ConfigError: If `label_smoothing` or `reduction` is not as above.

    Example:
        >>> logits = torch.zeros(2, 4, 16, 16)
        >>> labels = torch.randint(4, (2, 16, 16))
        >>> dense_cross_entropy(logits, labels).exp()
        tensor([4., 4.])
    """
    _check_options(reduction, label_smoothing)
    _check_logits(logits, labels)
    if logits.ndim < 3:
        raise ObservationError(
            f"`logits` must be (B, C, H, W), (B, C, D, H, W) or (B, C, T); got {tuple(logits.shape)}. With one "
            "prediction per sample use torch's cross_entropy with reduction='none'."
        )
    _check_labels(labels, logits, class_dim=1)
    losses = _each_cross_entropy(logits, labels, ignore_index, label_smoothing)
    return _per_sample(losses, labels, ignore_index, reduction)


def next_labels(labels: Tensor, *, ignore_index: int = -100) -> Tensor:
    """Return the (B, T) labels that the logits of a causal language model predict: at t stands label t + 1.

    Args:
        labels: (B, T) int64, in the order of the tokens.
        ignore_index: The label at the last position, which has no next label.

    Example:
        >>> next_labels(torch.tensor([[5, 6, 7]]))
        tensor([[   6,    7, -100]])
    """
    return F.pad(labels[:, 1:], (0, 1), value=ignore_index)


def _per_sample(losses: Tensor, labels: Tensor, ignore_index: int, reduction: Reduction) -> Tensor:
    """(B,) of (B, ...) losses, which are 0 where the label does not count."""
    if labels.ndim == 1:
        return losses
    total = losses.flatten(1).sum(1)
    return total if reduction == "sum" else total / (labels != ignore_index).flatten(1).sum(1).clamp(min=1)


def _each_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int, label_smoothing: float) -> Tensor:
    """(M, ...) of (M, C, ...) logits, in chunks of rows. The backward pass computes their float32 logits again."""
    rows = max(1, _CHUNK_ELEMENTS // max(1, logits[:1].numel()))
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


def _check_options(reduction: str, label_smoothing: float) -> None:
    if reduction not in get_args(Reduction):
        raise ConfigError(f'`reduction` must be "mean" or "sum" over a sample\'s labels that count; got {reduction=}.')
    real_number("label_smoothing", label_smoothing, least=0, most=1, meaning="a share of the target")


def _check_logits(logits: object, labels: object) -> None:
    for name, value in (("logits", logits), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise ObservationError(
                f"`{name}` must be a tensor; got {type(value).__name__}. Pass the model's logits, not its whole output "
                "object, and the batch's labels."
            )
    assert isinstance(logits, Tensor)
    if not logits.is_floating_point():
        raise ObservationError(
            f"`logits` must be float; got {tuple(logits.shape)} {logits.dtype}. Pass the model's logits, not its "
            "predictions or its labels."
        )


def _check_labels(labels: Tensor, logits: Tensor, *, class_dim: int) -> None:
    shape = list(logits.shape)
    if shape.pop(class_dim) < 1:
        raise ObservationError(f"`logits` must have at least one class; got {tuple(logits.shape)}.")
    if labels.dtype != torch.int64 and not labels.is_floating_point() and labels.shape == tuple(shape):
        raise ObservationError(f"`labels` must be int64; got {labels.dtype}. Pass labels.long().")
    if labels.shape != tuple(shape) or labels.dtype != torch.int64:
        raise ObservationError(
            f"`labels` must be int64 classes of shape {tuple(shape)}, one per prediction of logits "
            f"{tuple(logits.shape)}; got {tuple(labels.shape)} {labels.dtype}. For regression, or several labels per "
            "sample, compute the (B,) losses yourself."
        )


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.5,
    gather: bool = False,
    process_group: "ProcessGroup | None" = None,
) -> Tensor:
    r"""The contrastive loss of each sample (NT-Xent, InfoNCE), in nats, from the projections of its two views.

    .. math:: \ell_i = \tfrac12 \Big( \ell(z_i', z_i'') + \ell(z_i'', z_i') \Big), \qquad
        \ell(a, a^+) = -\log \frac{\exp(\cos(a, a^+)/\tau)}{\sum_{b \ne a} \exp(\cos(a, b)/\tau)}

    where b runs over the other 2B - 1 views of the batch. The computation is in float32 (float64 stays), under autocast
    too. `nt_xent(...).mean()` is the usual loss. Each value depends on the other samples of the batch and on their
    number. With B = 1 it is 0.

    Args:
        z1: (B, D) float, projections of the first views; they need not be normalised.
        z2: (B, D) float, projections of the second views.
        temperature: τ > 0.
        gather: Contrast with the views of all ranks. This is one collective, and one in the backward pass. B must be
            the same on every rank; the loaders ensure this. The gradients that DistributedDataParallel averages are
            then those of one process with the whole batch.
        process_group: The ranks to gather from; None for the default group, or one process.

    Returns:
        (B,) float32 with a graph, of this rank's samples; each in [0, 2/τ + log(2WB - 1)] on W ranks.

    Raises:
        ConfigError: If the temperature is not positive, or a group is given without `gather`.
        ObservationError: If the projections do not have one shape (B, D).

    Example:
        >>> views = torch.eye(2)  # two samples, orthogonal to each other
        >>> torch.exp(-nt_xent(views, views, temperature=1.0))  # e / (e + 1 + 1)
        tensor([0.5761, 0.5761])

    References:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020), equation 1.
        Here it is per sample, and both directions are averaged.
    """
    temperature = real_number("temperature", temperature, above=0)
    if process_group is not None and not gather:
        raise ConfigError(
            "`process_group` must come with gather=True; got gather=False. Set gather=True, or leave the group out."
        )
    if z1.ndim != 2 or z1.shape != z2.shape or not (z1.is_floating_point() and z2.is_floating_point()):
        raise ObservationError(
            "`z1` and `z2` must be the projections of the two views, float (B, D) each; "
            f"got {tuple(z1.shape)} {z1.dtype} and {tuple(z2.shape)} {z2.dtype}."
        )
    num_views, own = 2 * len(z1), 0
    with torch.autocast(z1.device.type, enabled=False):
        views = torch.cat([z1, z2])
        views = others = F.normalize(views.to(torch.promote_types(views.dtype, torch.float32)), dim=1)
        if gather:
            ranks = Ranks(process_group)
            others, own = ranks.gather(views), ranks.rank * num_views
        logits = views @ others.T / temperature
        logits.diagonal(own).fill_(-torch.inf)  # a view is not contrasted with itself
        partner = own + torch.arange(num_views, device=views.device).roll(len(z1))
        losses = F.cross_entropy(logits, partner, reduction="none")
    return losses.view(2, -1).mean(0)
