"""How every figure of a report looks: plotly's, bare, for a page that colours text and lines itself, light or dark."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from emprune.lab.statistics import mean_band

__all__ = ["Figure", "add_band", "add_points", "canvas", "colours"]

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

Floats = NDArray[np.float64]


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
        html: str = self.drawing.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=identity,
            config={"displayModeBar": False, "responsive": True},
            default_height=f"{HEIGHT}px",
        )
        return html


def colours(methods: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return how each method's lines are drawn: in the same way in all figures; `full` in grey."""
    styles: dict[str, Mapping[str, Any]] = {}
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
        **layout: Plotly's, such as `yaxis_type`.
    """
    axis = {"automargin": True, "showline": True, "linecolor": GREY, "gridcolor": GRID, "zeroline": False}
    axis["rangemode"] = "nonnegative"  # nothing that is drawn can be negative, though an interval's end may be
    figure = go.Figure()
    figure.update_layout(
        template="none",
        xaxis={"title": {"text": x, "standoff": 8}, **axis},
        yaxis={"title": {"text": y, "standoff": 8}, **axis},
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
    style: Mapping[str, Any],
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
    common = {"mode": "lines", "meta": method, "x": x}
    if not np.isnan(half[drawn]).all():
        edge = {**common, "hoverinfo": "skip", "line": {"width": 0, "shape": shape}}
        figure.add_scatter(**edge, y=_listed(np.where(np.isnan(low), mean, low)))
        fill = {"fill": "tonexty", "fillcolor": _transparent(style["color"])}
        figure.add_scatter(**edge, **fill, y=_listed(np.where(np.isnan(high), mean, high)))
    line = {**style, "width": 2, "shape": shape}
    figure.add_scatter(**common, y=_listed(mean), line=line, hovertemplate=f"{method}: {hover}<extra></extra>")


def add_points(
    figure: go.Figure,
    method: str,
    style: Mapping[str, Any],
    points: Sequence[tuple[Any, float, float, float]],
    *,
    hover: str,
    joined: bool = False,
) -> None:
    """Add a method's points, each with its 95 % interval.

    Args:
        figure: To add to.
        method: Its name.
        style: Colour and dash.
        points: x, half the width of its interval or nan, y, likewise.
        hover: What is shown of a point.
        joined: Whether a line goes through them.
    """
    x, x_half, y, y_half = (list(column) for column in zip(*points, strict=True))
    bars = {
        f"error_{axis}": {"array": [0 if np.isnan(h) else h for h in halves], "color": style["color"], "thickness": 1.2}
        for axis, halves in (("x", x_half), ("y", y_half))
        if not np.isnan(halves).all()
    }
    figure.add_scatter(
        x=x,
        y=y,
        **bars,
        mode="lines+markers" if joined else "markers",
        line={**style, "width": 1.4},
        marker={"size": 9, "color": style["color"]},
        meta=method,
        hovertemplate=f"{method}: {hover}<extra></extra>",
    )


def _listed(values: Floats) -> list[float]:
    """Rounded to six digits: twice as many bytes would draw the same."""
    return [float(f"{value:.6g}") for value in values]


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND_OPACITY})"
