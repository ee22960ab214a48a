"""Pictures as a page that needs nothing else: no network, no other file."""

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative

from emprune.lab.analyses.runs import Floats
from emprune.lab.statistics import Estimate

__all__ = ["add_band", "add_level", "colours", "distribution", "new_figure", "page"]

NUM_POINTS = 201
BAND_OPACITY = 0.15
STYLE = "body { font-family: sans-serif; margin: 2em auto; padding: 0 1em; max-width: 70em; } h1 { font-size: 1.3em; }"


def page(figures: Sequence[go.Figure], *, title: str, heading: str, remarks: Sequence[str] = ()) -> str:
    """Return an HTML page of figures, one below the other.

    Args:
        figures: At least one.
        title: What was run.
        heading: What was found.
        remarks: Sentences below the figures.
    """
    parts = [
        figure.to_html(include_plotlyjs=place == 0, full_html=False, div_id=f"figure-{place + 1}")
        for place, figure in enumerate(figures)
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    opening = f"<h1>{html.escape(heading)}</h1>\n<p>{html.escape(title)}</p>"
    closing = "\n".join(f"<p>{html.escape(remark)}</p>" for remark in remarks)
    body = "\n".join([opening, *parts, closing])
    return f"<!DOCTYPE html>\n<html>\n<head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"


def new_figure(*, x: str, y: str, title: str | None = None) -> go.Figure:
    """Return an empty figure with its axes named."""
    figure = go.Figure()
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="simple_white", margin_t=50)
    return figure


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name, by its place."""
    palette = qualitative.D3
    return {name: palette[place % len(palette)] for place, name in enumerate(names)}


def add_level(figure: go.Figure, y: float, *, text: str, colour: str = "grey", dash: str = "dot") -> None:
    """Draw a horizontal line, with its name on it."""
    line = {"color": colour, "dash": dash, "width": 1.5}
    figure.add_hline(y=y, line=line, annotation_text=text)


def add_band(
    figure: go.Figure,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    *,
    name: str,
    colour: str,
    dash: str = "solid",
    floor: float = -math.inf,
) -> None:
    """Draw means as a line, with their intervals as a band around it where there are any.

    Args:
        figure: Where.
        x: Where on the horizontal axis, one for each mean.
        estimates: The means.
        name: What the legend calls them.
        colour: Of both.
        dash: Of the line.
        floor: Where the band ends at the latest: what cannot be, or has no place on a logarithmic axis, is not drawn.
    """
    means = np.array([estimate.mean for estimate in estimates])
    reach = np.nan_to_num([estimate.half_width for estimate in estimates])
    if reach.any():
        figure.add_scatter(
            x=[*x, *reversed(x)],
            y=[*(means + reach), *reversed(np.maximum(means - reach, floor))],
            mode="lines",
            fill="toself",
            fillcolor=colour,
            opacity=BAND_OPACITY,
            line_width=0,
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
        )
    figure.add_scatter(
        x=list(x),
        y=means.tolist(),
        mode="lines+markers",
        name=name,
        line={"color": colour, "dash": dash},
        legendgroup=name,
    )


def distribution(values: Mapping[str, Floats], *, quantity: str) -> go.Figure:
    """Return a figure with a line for each set of values: the share of samples that have at least so much.

    Args:
        values: (N,) by what the legend calls them.
        quantity: What the values are.
    """
    shares = np.linspace(1, 0, NUM_POINTS)
    figure = new_figure(x=quantity, y="share of samples with at least so much")
    for name, own in values.items():
        figure.add_scatter(x=np.quantile(own, 1 - shares).tolist(), y=shares.tolist(), mode="lines", name=name)
    figure.update_layout(yaxis_tickformat=".0%")
    return figure
