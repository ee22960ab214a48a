"""Per-sample losses that a user needs and torch lacks: pure functions, (B,) each."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emprune.distributed import ProcessGroup, Ranks
from emprune.errors import ConfigError, ObservationError

__all__ = ["next_labels", "nt_xent", "sequence_cross_entropy"]

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

    where b runs over the other 2B - 1 views of the batch. Computed in float32 (float64 stays), under autocast too.
    `nt_xent(...).mean()` is the usual loss. Each value depends on the batch's company: on who else is in it, and on how
    many; with B = 1 it is 0.

    Args:
        z1: (B, D) float, projections of the first views; they need not be normalised.
        z2: (B, D) float, projections of the second views.
        temperature: τ > 0.
        gather: Contrast with the views of all ranks. One collective, and one in the backward pass; B must be the same
            on every rank, as the loaders make it. The gradients that DistributedDataParallel averages are then those
            of one process that has the whole batch.
        process_group: The ranks to gather from; None for the default group, or one process.

    Returns:
        (B,) float32, each in [0, 2/τ + log(2WB - 1)], of this rank's samples, with a graph; W ranks.

    Raises:
        ConfigError: If the temperature is not positive, or a group is given that is not gathered from.
        ObservationError: If the projections are not of one (B, D).

    Example:
        >>> views = torch.eye(2)  # two samples, at right angles to each other
        >>> torch.exp(-nt_xent(views, views, temperature=1.0))  # e / (e + 1 + 1)
        tensor([0.5761, 0.5761])

    References:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020), equation 1;
        here per sample, both directions averaged.
    """
    if not temperature > 0:
        raise ConfigError(f"`temperature` must be positive: got {temperature=}.")
    if process_group is not None and not gather:
        raise ConfigError("`process_group` is what to gather from: got one with gather=False. Set gather=True.")
    if z1.ndim != 2 or z1.shape != z2.shape or not (z1.is_floating_point() and z2.is_floating_point()):
        raise ObservationError(
            "`z1` and `z2` must be the two views' projections, float (B, D) each: "
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
