"""The loss on the training probe by epoch, on a logarithmic axis: on the way it can be orders of magnitude higher."""

from collections.abc import Mapping, Sequence

import numpy as np

from emprune_lab.comparison.statistics import mean_band
from emprune_lab.pages.drawing import Figure, Floats, Styles, add_band, canvas

__all__ = ["TITLE", "probe_loss_figure"]

TITLE = "Training loss on the fixed probe"
NOTE = (
    "Plain cross-entropy on the same random training samples for all methods of a seed, those pruned too. Logarithmic; "
    "bands are 95 % intervals over the seeds."
)


def probe_loss_figure(losses: Mapping[str, tuple[Sequence[int], Floats]], styles: Styles) -> Figure:
    """Return the figure.

    Args:
        losses: Of each method the epochs, counted from 1, and (S, epochs) the losses of its runs, nan where they were
            not measured.
        styles: How each method is drawn.
    """
    drawing = canvas("epoch", "loss on the probe, nats", yaxis_type="log")
    lowest = min(float(np.nanmin(mean_band(own)[0])) for _, own in losses.values())
    for method, (epochs, own) in losses.items():
        add_band(drawing, method, styles[method], epochs, own, floor=lowest / 2, hover="%{y:.3g} in epoch %{x}")
    return Figure("probe-loss", TITLE, NOTE, drawing)
