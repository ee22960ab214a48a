"""Per-sample losses a user needs and torch lacks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from emprune.distributed import ProcessGroup, Ranks
from emprune.errors import ConfigError, ObservationError

__all__ = ["nt_xent"]


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
