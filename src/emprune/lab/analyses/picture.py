"""Distributions as a page that needs nothing else: no network, no other file."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from emprune.lab.analyses.gaps import Floats

__all__ = ["distribution_page"]

NUM_POINTS = 201


def distribution_page(values: Mapping[str, Floats], *, quantity: str, title: str) -> str:
    """Return an HTML page with a line for each set of values: the share of samples that have at least so much.

    Args:
        values: (N,) by what the legend calls them.
        quantity: What the values are.
        title: Of the picture.
    """
    shares = np.linspace(1, 0, NUM_POINTS)
    figure = go.Figure()
    for name, own in values.items():
        figure.add_scatter(x=np.quantile(own, 1 - shares).tolist(), y=shares.tolist(), mode="lines", name=name)
    figure.update_layout(
        title=title,
        xaxis_title=quantity,
        yaxis_title="share of samples with at least so much",
        yaxis_tickformat=".0%",
        template="simple_white",
    )
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="distribution")
    return page
