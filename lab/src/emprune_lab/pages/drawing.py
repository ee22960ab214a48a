"""How every figure looks: plotly's, bare, for a page that colours text and lines itself, light or dark."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from emprune_lab.comparison.statistics import Estimate, Floats, mean_band

__all__ = [
    "GREY",
    "Figure",
    "Style",
    "Styles",
    "add_band",
    "add_level",
    "add_points",
    "as_drawn",
    "canvas",
    "colours",
    "estimate_rows",
    "row_canvas",
]

GREY = "#8a8f98"
GRID = "rgba(138,143,152,.25)"
CLEAR = "rgba(0,0,0,0)"
COLOURS = (
    "#3f7fd4", "#d9662b", "#2c9a6b", "#b8559a", "#8b6fd6", "#a58a1c", "#1a9cb0", "#cc4b57", "#9a6a4a", "#c2769a",
)  # fmt: skip
"""Of about one brightness, so that they stand out from white and from black."""

DASHES = ("solid", "dash", "dot", "dashdot")
HEIGHT = 340
BAND_OPACITY = 0.16

NAME_ABOVE = 13
"""Pixels between a row and the name that stands above it."""

Style = Mapping[str, Any]
Styles = Mapping[str, Style]


@dataclass(frozen=True)
class Figure:
    """A figure and what is written around it.

    Args:
        name: In the page's `data-figure`.
        title: Above it.
        note: Below it; where there is no drawing, why.
        drawing: None where the runs did not record what it takes.
    """

    name: str
    title: str
    note: str = ""
    drawing: go.Figure | None = None

    def html(self, identity: str) -> str:
        """Return the drawing as HTML without plotly.js, which the page holds once."""
        assert self.drawing is not None
        drawn: str = self.drawing.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=identity,
            config={"displayModeBar": False, "responsive": True},
            default_height=f"{HEIGHT}px",
        )
        return drawn


def as_drawn(text: str) -> str:
    """Return text that plotly draws as it is: names come out of files, and plotly reads tags and templates in them.

    Example:
        >>> as_drawn("<b>%{x}</b>")
        '&lt;b&gt;%&#123;x}&lt;/b&gt;'
    """
    return html.escape(text, quote=False).replace("{", "&#123;")


def colours(methods: Iterable[str]) -> dict[str, Style]:
    """Return how each method's lines are drawn: in the same way in all figures; `full` in grey."""
    styles: dict[str, Style] = {}
    others = [method for method in dict.fromkeys(methods) if method != "full"]
    for place, method in enumerate(others):
        dash = DASHES[place // len(COLOURS) % len(DASHES)]
        styles[method] = {"color": COLOURS[place % len(COLOURS)], "dash": dash}
    return {"full": {"color": GREY, "dash": "solid"}, **styles}


def canvas(x: str, y: str, **layout: Any) -> go.Figure:
    """Return an empty figure.

    Args:
        x: The horizontal axis' title, with its unit.
        y: The vertical axis' title, with its unit.
        **layout: Plotly's, such as `yaxis_type`, or `yaxis_rangemode="normal"` where values may be negative.
    """
    axis = {"automargin": True, "showline": True, "linecolor": GREY, "gridcolor": GRID, "zeroline": False}
    axis["rangemode"] = "nonnegative"  # few values can be negative, though an interval's end may be
    figure = go.Figure()
    figure.update_layout(
        template="none",
        xaxis={"title": {"text": as_drawn(x), "standoff": 8}, **axis},
        yaxis={"title": {"text": as_drawn(y), "standoff": 8}, **axis},
        margin={"l": 8, "r": 14, "t": 14, "b": 8},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"family": "inherit", "size": 12},
        showlegend=False,
        dragmode=False,
        hovermode="closest",
    )
    figure.update_layout(**layout)
    return figure


def add_band(
    figure: go.Figure,
    method: str,
    style: Style,
    x: Sequence[Any],
    values: Floats,
    *,
    shape: str = "linear",
    floor: float | None = None,
    hover: str = "%{y:.3g}",
) -> None:
    """Add a method's line, the mean over its seeds, and the 95 % interval around it as a band.

    Args:
        figure: To add to.
        method: Its name.
        style: Colour and dash.
        x: P places.
        values: (S, P), a row for each seed; nan where there is nothing to draw.
        shape: Plotly's line shape.
        floor: What nothing is drawn below, where the axis is logarithmic.
        hover: What is shown of a point.
    """
    mean, half = mean_band(values)
    low, high = mean - half, mean + half
    if floor is not None:
        mean, low, high = (np.maximum(line, floor) for line in (mean, low, high))
    drawn = ~np.isnan(mean)
    x = [place for place, there in zip(x, drawn, strict=True) if there]
    mean, low, high = mean[drawn], low[drawn], high[drawn]
    if not np.isnan(half[drawn]).all():
        edges = [_listed(np.where(np.isnan(edge), mean, edge)) for edge in (low, high)]
        _fill(figure, method, style, x, edges, shape)
    figure.add_scatter(
        mode=_mode(x),
        meta=method,
        x=x,
        y=_listed(mean),
        line={**style, "width": 2, "shape": shape},
        marker_color=style["color"],
        hovertemplate=f"{as_drawn(method)}: {hover}<extra></extra>",
    )


def add_points(
    figure: go.Figure,
    method: str,
    style: Style,
    x: Sequence[Any],
    y: Sequence[Any],
    *,
    hover: str,
    joined: bool = False,
    symbol: str = "circle",
) -> None:
    """Add a method's points.

    Args:
        figure: To add to.
        method: Its name.
        style: Colour and dash.
        x: Where the points are; an Estimate has its 95 % interval around it.
        y: Likewise.
        hover: What is shown of a point.
        joined: Whether a line goes through them.
        symbol: Plotly's name of what stands at a point.
    """
    places: dict[str, Any] = {}
    for axis, values in (("x", x), ("y", y)):
        estimates = [value if isinstance(value, Estimate) else Estimate(value, math.nan, 1) for value in values]
        places[axis] = [estimate.mean for estimate in estimates]
        halves = [0 if math.isnan(estimate.half_width) else estimate.half_width for estimate in estimates]
        if any(halves):
            places[f"error_{axis}"] = {"array": halves, "color": style["color"], "thickness": 1.2}
    figure.add_scatter(
        **places,
        mode="lines+markers" if joined else "markers",
        line={**style, "width": 1.4},
        marker={"size": 9, "color": style["color"], "symbol": symbol, "line": {"color": style["color"], "width": 2}},
        meta=method,
        hovertemplate=f"{as_drawn(method)}: {hover}<extra></extra>",
    )


def add_level(
    figure: go.Figure,
    method: str,
    style: Style,
    x: Sequence[float],
    y: float,
    *,
    band: tuple[float, float],
    hover: str = "",
) -> None:
    """Add a dashed line at one height, and a band around it.

    Args:
        figure: To add to.
        method: Whose it is.
        style: Colour; it is dashed whatever the dash is.
        x: The two ends.
        y: The height.
        band: From where to where the band goes; nan for none.
        hover: What is shown of the line; nothing by default.
    """
    if not np.isnan(band).any():
        _fill(figure, method, style, x, [[edge] * 2 for edge in band])
    shown = {"hovertemplate": f"{as_drawn(method)}: {hover}<extra></extra>"} if hover else {"hoverinfo": "skip"}
    line = {**style, "dash": "dash", "width": 1.5}
    figure.add_scatter(mode="lines", meta=method, x=x, y=[y] * 2, line=line, **shown)


def row_canvas(x: str, methods: Sequence[str], *, level: float | None = None, **layout: Any) -> go.Figure:
    """Return an empty figure with a row for each method, whose name is its height, the first on top.

    Args:
        x: The horizontal axis' title, with its unit.
        methods: The rows, each with its name above it: beside it there is no room on a phone.
        level: Where a dotted line stands, which is of no method.
        **layout: Plotly's.
    """
    figure = canvas(x, "method")
    order = {"type": "category", "categoryorder": "array", "categoryarray": list(reversed(methods))}
    figure.update_yaxes(**order, range=[-0.5, len(methods) - 0.3], showticklabels=False, showgrid=False)
    for method in methods:
        figure.add_annotation(
            x=0,
            xref="x domain",
            xanchor="left",
            align="left",
            xshift=4,
            y=method,
            yshift=NAME_ABOVE,
            text=as_drawn(method),
            showarrow=False,
        )
    if level is not None:
        figure.add_vline(x=level, line={"color": GREY, "dash": "dot", "width": 1.5}, layer="below")
    figure.update_layout(**layout)
    return figure


def estimate_rows(
    x: str, estimates: Mapping[str, Estimate], styles: Styles, *, hover: str = "%{x:.3f}", **layout: Any
) -> go.Figure:
    """Return a figure with a mean and its 95 % interval in a row for each method; `layout` is `row_canvas`'s."""
    figure = row_canvas(x, list(estimates), **layout)
    for method, at in estimates.items():
        add_points(figure, method, styles[method], [at], [method], hover=hover)
    return figure


def _fill(
    figure: go.Figure,
    method: str,
    style: Style,
    x: Sequence[Any],
    edges: Sequence[Sequence[float]],
    shape: str = "linear",
) -> None:
    """Add a band between two edges, in the style's colour."""
    red, green, blue = (int(style["color"][at : at + 2], 16) for at in (1, 3, 5))
    for y, fill in zip(
        edges, ({}, {"fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},{BAND_OPACITY})"}), strict=True
    ):
        line = {"width": 0, "shape": shape}
        figure.add_scatter(mode=_mode(x), meta=method, x=x, y=y, line=line, hoverinfo="skip", **fill)


def _mode(x: Sequence[Any]) -> str:
    return "lines" if len(x) > 1 else "markers"


def _listed(values: Floats) -> list[float]:
    """Rounded to six digits: twice as many bytes would draw the same."""
    return [float(f"{value:.6g}") for value in values]
