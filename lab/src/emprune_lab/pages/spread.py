"""How visits spread over the samples: as a histogram, as a Lorenz curve, and as a Gini coefficient."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from emprune_lab.comparison.statistics import mean_interval
from emprune_lab.pages.drawing import GREY, Figure, Floats, Styles, add_band, canvas, estimate_rows
from emprune_lab.training.frequency import gini, lorenz

__all__ = ["TITLE", "spread_figures"]

TITLE = "Visits per sample"
MOST_BINS = 50
LORENZ_POINTS = 101

Visits = Mapping[str, Sequence[NDArray[np.int64]]]


def spread_figures(visits: Visits, styles: Styles, *, note: str = "") -> list[Figure]:
    """Return the figures.

    Args:
        visits: Of each method, one (N,) for each run: how often each sample was visited.
        styles: How each method is drawn.
        note: What else must be said of the histogram.
    """
    ginis = {method: mean_interval([gini(torch.from_numpy(own)) for own in runs]) for method, runs in visits.items()}
    rows = estimate_rows("Gini coefficient of the visits, 0 to 1", ginis, styles, xaxis_range=[-0.02, 1.02])
    said = f"Logarithmic; bands are 95 % intervals over the seeds.{note}"
    even = "The least visited samples first; the dotted line is even. Bands are 95 % intervals over the seeds."
    spread = "0: all samples are visited equally often; towards 1: a few take all visits. Bars are 95 % intervals."
    return [
        Figure("visits", TITLE, said, _histogram(visits, styles)),
        Figure("lorenz", "Lorenz curve of the visits", even, _lorenz(visits, styles)),
        Figure("gini", "Gini coefficient", spread, rows),
    ]


def _histogram(visits: Visits, styles: Styles) -> go.Figure:
    most = max(int(own.max()) for runs in visits.values() for own in runs)
    width = -(-(most + 1) // MOST_BINS)
    num_bins = most // width + 1
    smallest = 50 / max(len(own) for runs in visits.values() for own in runs)  # half a sample, in per cent
    centres = [width * place + (width - 1) / 2 for place in range(num_bins)]
    figure = canvas("visits of a sample in the run", "samples, %", yaxis_type="log")
    top, bottom = math.log10(130), math.log10(smallest)
    figure.update_yaxes(range=[bottom, top], dtick=1, exponentformat="none")
    for method, runs in visits.items():
        shares = np.array([100 * np.bincount(own // width, minlength=num_bins) / len(own) for own in runs])
        hover = "%{y:.3g} % of the samples, %{x:.4g} visits"
        add_band(figure, method, styles[method], centres, shares, shape="hvh", floor=smallest, hover=hover)
    return figure


def _lorenz(visits: Visits, styles: Styles) -> go.Figure:
    figure = canvas("samples, least visited first, %", "their part of the visits, %")
    x = np.linspace(0, 100, LORENZ_POINTS)
    even = {"mode": "lines", "line": {"color": GREY, "dash": "dot"}, "hoverinfo": "skip"}
    figure.add_scatter(x=[0, 100], y=[0, 100], **even)
    for method, runs in visits.items():
        parts = np.array([_lorenz_curve(own, x) for own in runs])
        hover = "%{x:.0f} % of the samples have %{y:.1f} % of the visits"
        add_band(figure, method, styles[method], x.tolist(), parts, hover=hover)
    return figure


def _lorenz_curve(visits: NDArray[np.int64], x: Floats) -> Floats:
    """The part of the visits, in per cent, that the first x per cent of the samples have."""
    samples, parts = (100 * np.array(shares) for shares in lorenz(torch.from_numpy(visits)))
    curve: Floats = np.interp(x, samples, parts)
    return curve
