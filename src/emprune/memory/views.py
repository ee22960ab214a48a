"""Hidden features of a batch's two views, as the contrastive memory terms take them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from emprune.errors import ObservationError

__all__ = ["ViewFeatures", "mean_over_layers", "unit"]

ViewFeatures: TypeAlias = tuple[Tensor, Tensor] | Mapping[str, tuple[Tensor, Tensor]]
"""Hidden features of a batch's two views, (B, D) each. Or such pairs by layer name, as from `capture_features`."""


def mean_over_layers(features: ViewFeatures, term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return (B,), the mean over the layers of `term` of the two views' features."""
    pairs = list(features.values()) if isinstance(features, Mapping) else [features]
    if not pairs:
        raise ObservationError(
            "`features` must hold a layer; got an empty mapping. Use it after the `with` block of capture_features, "
            "which fills it at its end."
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
        f"`features` must be the hidden features of the two views, a pair of float (B, D), or such pairs by layer; "
        f"got {found}. Take them with emprune.memory.capture_features(model, layers)."
    )


def unit(features: Tensor) -> Tensor:
    """Scale rows to length 1 in float32; first by the largest entry, so that no square overflows or underflows."""
    features = features.float()
    largest = features.abs().amax(1, keepdim=True)
    return F.normalize(features / largest.where(largest > 0, 1), dim=1)
