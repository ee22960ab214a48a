"""Figures that a report and an analysis both show: how visits spread over the samples, and the loss on the probe."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from emprune.summary import gini
from emprune_lab.comparison.statistics import Floats, mean_band, mean_interval
from emprune_lab.pages.drawing import GREY, Drawing, Figure, Styles, estimate_rows

__all__ = ["PROBE_TITLE", "VISITS_TITLE", "Ints", "gini_of", "lorenz", "probe_loss_figure", "visit_figures"]

VISITS_TITLE = "Visits per sample"
MOST_BINS = 50
NUM_POINTS = 200

PROBE_TITLE = "Training loss on the fixed probe"
PROBE_NOTE = (
    "Plain cross-entropy on the same random training samples for all methods of a seed, those pruned too. Logarithmic; "
    "bands are 95 % intervals over the seeds."
)

Ints = NDArray[np.int64]
Visits = Mapping[str, Sequence[Ints]]


def gini_of(visits: Ints) -> float:
    """Return the Gini coefficient of visits (N,): 0 where all samples have as many, towards 1 where few have all."""
    return gini(torch.from_numpy(visits))


def lorenz(visits: Ints, *, num_points: int = NUM_POINTS) -> tuple[Floats, Floats]:
    """Return the Lorenz curve: which share of the visits the least visited share of the samples has.

    The Gini coefficient is twice the area between it and the diagonal, on which all samples are visited equally often.

    Args:
        visits: (N,) integers, 0 or more; at least one sample.
        num_points: Points of the curve, its ends (0, 0) and (1, 1) among them; fewer where there are fewer samples.

    Returns:
        The shares of the samples, ascending, and those of the visits, each in [0, 1]. Without a visit, the diagonal.

    Example:
        >>> lorenz(np.array([4, 0, 0, 0]))[1].tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    positions = np.linspace(0, len(visits), min(num_points, len(visits) + 1)).round().astype(int)
    samples = positions / len(visits)
    held = np.concatenate([[0], np.sort(visits).cumsum()])
    return samples, samples if held[-1] == 0 else held[positions] / held[-1]


def visit_figures(visits: Visits, styles: Styles, *, note: str = "") -> list[Figure]:
    """Return how visits spread over the samples: as a histogram, as a Lorenz curve, and as a Gini coefficient.

    Args:
        visits: Of each method, one (N,) for each run: how often each sample was visited.
        styles: How each method is drawn.
        note: What else must be said of the histogram.
    """
    ginis = {method: mean_interval([gini_of(own) for own in runs]) for method, runs in visits.items()}
    rows = estimate_rows(
        "Gini coefficient of the visits, 0 to 1", ginis, styles, bounds={"x": (0, 1)}, xaxis_range=[-0.02, 1.02]
    )
    said = f"Logarithmic; bands are 95 % intervals over the seeds.{note}"
    even = "The least visited samples first; the dotted line is even. Bands are 95 % intervals over the seeds."
    spread = "0: all samples are visited equally often; towards 1: a few take all visits. Bars are 95 % intervals."
    return [
        Figure("visits", VISITS_TITLE, said, _histogram(visits, styles)),
        Figure("lorenz", "Lorenz curve of the visits", even, _lorenz_drawing(visits, styles)),
        Figure("gini", "Gini coefficient", spread, rows),
    ]


def _histogram(visits: Visits, styles: Styles) -> go.Figure:
    everybody = [own for runs in visits.values() for own in runs]
    most = max(int(own.max()) for own in everybody)
    width = -(-(most + 1) // MOST_BINS)
    num_bins = most // width + 1
    smallest = 50 / max(map(len, everybody))  # half a sample, in per cent
    centres = [width * number + (width - 1) / 2 for number in range(num_bins)]
    drawing = Drawing("visits of a sample in the run", "samples, %", styles, bounds={"y": (0, 100)}, yaxis_type="log")
    drawing.figure.update_yaxes(range=[math.log10(smallest), math.log10(130)], dtick=1, exponentformat="none")
    hover = "%{y:.3g} % of the samples, %{x:.4g} visits"
    for method, runs in visits.items():
        shares = np.array([100 * np.bincount(own // width, minlength=num_bins) / len(own) for own in runs])
        drawing.band(method, centres, shares, shape="hvh", floor=smallest, hover=hover)
    return drawing.figure


def _lorenz_drawing(visits: Visits, styles: Styles) -> go.Figure:
    drawing = Drawing("samples, least visited first, %", "their part of the visits, %", styles, bounds={"y": (0, 100)})
    drawing.figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip"
    )
    percent = np.linspace(0, 100, 101)
    hover = "%{x:.0f} % of the samples have %{y:.1f} % of the visits"
    for method, runs in visits.items():
        parts = [100 * np.interp(percent / 100, *lorenz(own)) for own in runs]
        drawing.band(method, percent.tolist(), np.array(parts), hover=hover)
    return drawing.figure


def probe_loss_figure(losses: Mapping[str, tuple[Sequence[int], Floats]], styles: Styles) -> Figure:
    """Return the loss on the training probe, on a logarithmic axis: on the way it can be orders of magnitude higher.

    Args:
        losses: Of each method the epochs, counted from 1, and (S, epochs) the losses of its runs, nan where they were
            not measured.
        styles: How each method is drawn.
    """
    drawing = Drawing("epoch", "loss on the probe, nats", styles, yaxis_type="log")
    lowest = min(float(np.nanmin(mean_band(own)[0])) for _, own in losses.values())
    for method, (epochs, own) in losses.items():
        drawing.band(method, epochs, own, floor=lowest / 2, hover="%{y:.3g} in epoch %{x}")
    return Figure("probe-loss", PROBE_TITLE, PROBE_NOTE, drawing.figure)
