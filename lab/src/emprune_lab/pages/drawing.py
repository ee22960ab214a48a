"""How every figure looks: plotly's, bare, for a page that colours text and lines itself, light or dark."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go

from emprune_lab.comparison.statistics import Estimate, Floats, mean_band

__all__ = ["GREY", "Drawing", "Figure", "Rows", "Styles", "as_drawn", "colours", "estimate_rows"]

GREY = "#8a8f98"
GRID = "rgba(138,143,152,.25)"
CLEAR = "rgba(0,0,0,0)"
COLOURS = (
    "#3f7fd4", "#d9662b", "#2c9a6b", "#b8559a", "#8b6fd6", "#a58a1c", "#1a9cb0", "#cc4b57", "#9a6a4a", "#c2769a",
)  # fmt: skip
"""Of about one brightness, so that they stand out from white and from black."""

DASHES = ("solid", "dot", "dashdot", "longdashdot", "dash", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "pentagon", "triangle-down", "hexagon", "cross", "x")
OPEN = "-open"
HEIGHT = 340
BAND_OPACITY = 0.16

NAME_ABOVE = 13
"""Pixels between a row and the name that stands above it."""


OPEN_NOTE = "An open marker: all seeds are equal, so that there is no interval."

Bounds = Mapping[str, tuple[float, float]]
"""Of an axis, the least and the greatest value that there can be, such as 0 and 100 %."""

ANYTHING: Bounds = MappingProxyType({})

Styles = Mapping[str, Mapping[str, str]]
"""Of each method its colour, its dash and its symbol: colour is not the only key."""


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

    @property
    def said(self) -> str:
        """The note, and what an open marker means where there is one."""
        return f"{self.note} {OPEN_NOTE}" if self.drawing is not None and self.drawing.layout.meta else self.note

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


def colours(methods: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return how each method's lines are drawn: in the same way in all figures; `full` in grey."""
    styles = {"full": {"color": GREY, "dash": "dash", "symbol": "x"}}
    for number, method in enumerate(dict.fromkeys(method for method in methods if method != "full")):
        styles[method] = {
            name: values[number % len(values)]
            for name, values in (("color", COLOURS), ("dash", DASHES), ("symbol", SYMBOLS))
        }
    return styles


class Drawing:
    """What plotly draws of some methods, in `figure`: axes at first, to which each method adds its own.

    Args:
        x: The horizontal axis' title, with its unit.
        y: The vertical axis' title, with its unit.
        styles: How each method is drawn.
        bounds: Where an interval is cut off, since no value lies beyond.
        **layout: Plotly's, such as `yaxis_type`, or `yaxis_rangemode="normal"` where values may be negative.
    """

    def __init__(self, x: str, y: str, styles: Styles, *, bounds: Bounds = ANYTHING, **layout: Any) -> None:
        self.styles = styles
        self.bounds = {axis: bounds.get(axis, (-math.inf, math.inf)) for axis in "xy"}
        axis = {"automargin": True, "showline": True, "linecolor": GREY, "gridcolor": GRID, "zeroline": False}
        axis["rangemode"] = "nonnegative"  # few values can be negative, though an interval's end may be
        plain = {
            "template": "none",
            "xaxis": {"title": {"text": as_drawn(x), "standoff": 8}, **axis},
            "yaxis": {"title": {"text": as_drawn(y), "standoff": 8}, **axis},
            "margin": {"l": 8, "r": 14, "t": 14, "b": 8},
            "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR,
            "font": {"family": "inherit", "size": 12},
            "showlegend": False,
            "dragmode": False,
            "hovermode": "closest",
        }
        self.figure = go.Figure(layout=plain)  # at once: an empty figure first gets a template of its own
        self.figure.update_layout(**layout)

    def trace(self, method: str, x: Sequence[Any], y: Sequence[Any], *, hover: str = "", **trace: Any) -> None:
        """Add what belongs to a method, which the page can hide: a scatter trace of plotly's."""
        said = {"hovertemplate": f"{as_drawn(method)}: {hover}<extra></extra>"} if hover else {"hoverinfo": "skip"}
        self.figure.add_scatter(x=x, y=y, meta=method, **said, **{"mode": "lines", **trace})

    def band(
        self,
        method: str,
        x: Sequence[Any],
        values: Floats,
        *,
        hover: str,
        shape: str = "linear",
        floor: float = -math.inf,
    ) -> None:
        """Add a method's line, the mean over its seeds, and the 95 % interval around it as a band.

        Args:
            method: Its name.
            x: (P,) where the points are.
            values: (S, P), a row for each seed; nan where there is nothing to draw.
            hover: What is shown of a point.
            shape: Plotly's line shape.
            floor: What nothing is drawn below, where the axis is logarithmic.
        """
        mean, half = mean_band(values)
        drawn = ~np.isnan(mean)
        x = [at for at, there in zip(x, drawn, strict=True) if there]
        around = np.nan_to_num(half)
        least, most = self.bounds["y"]
        low, line, high = (
            [float(f"{value:.6g}") for value in np.clip(edge, max(floor, least), most)[drawn]]  # more draws the same
            for edge in (mean - around, mean, mean + around)
        )
        mode = "lines" if len(x) > 1 else "markers"
        if not np.isnan(half[drawn]).all():
            self._fill(method, x, low, high, mode=mode, shape=shape)
        marker = {"color": self.styles[method]["color"], "symbol": self.styles[method]["symbol"]}
        self.trace(
            method, x, line, hover=hover, mode=mode, line=self._line(method, width=2, shape=shape), marker=marker
        )

    def level(self, method: str, x: Sequence[Any], y: float, low: float, high: float, *, hover: str = "") -> None:
        """Add a dashed line from one x to another at the height y, and a band around it where `low` is not nan."""
        if not math.isnan(low):
            least, most = self.bounds["y"]
            self._fill(method, x, [max(low, least)] * 2, [min(high, most)] * 2)
        self.trace(method, x, [y] * 2, hover=hover, line=self._line(method, width=1.5, dash="dash"))

    def points(
        self,
        method: str,
        x: Sequence[Any],
        y: Sequence[Any],
        *,
        hover: str,
        symbol: str | None = None,
        dash: str | None = None,
    ) -> None:
        """Add a method's points.

        Args:
            method: Its name.
            x: Where the points are; an Estimate has its 95 % interval around it.
            y: Their heights, in the same form.
            hover: What is shown of a point.
            symbol: Plotly's name of what stands at a point; None for the method's own.
            dash: Of the line through them; None for no line.
        """
        color, symbol = self.styles[method]["color"], symbol or self.styles[method]["symbol"]
        points: dict[str, list[Any]] = {}
        more: dict[str, Any] = {}
        equal = [False] * len(x)
        for axis, values in (("x", x), ("y", y)):
            estimates = [value if isinstance(value, Estimate) else Estimate(value, math.nan, 1) for value in values]
            points[axis] = [estimate.mean for estimate in estimates]
            equal = [known or estimate.all_equal for known, estimate in zip(equal, estimates, strict=True)]
            if any(not math.isnan(estimate.half_width) for estimate in estimates):
                more[f"error_{axis}"] = {**self._bars(axis, estimates), "color": color, "thickness": 1.2}
        symbols = [f"{symbol.removesuffix(OPEN)}{OPEN}" if known else symbol for known in equal]
        marker = {"size": 9, "color": color, "symbol": symbols, "line": {"color": color, "width": 2}}
        if any(equal):
            self.figure.update_layout(meta=OPEN_NOTE)
            more["text"] = [", all equal" if known else "" for known in equal]
            hover += "%{text}"
        mode = "markers" if dash is None else "lines+markers"
        line = self._line(method, width=1.4, **({"dash": dash} if dash else {}))
        self.trace(method, points["x"], points["y"], hover=hover, mode=mode, line=line, marker=marker, **more)

    def _bars(self, axis: str, estimates: Sequence[Estimate]) -> dict[str, Any]:
        """The intervals' two halves, as far as there are values."""
        least, most = self.bounds[axis]
        halves = [0 if math.isnan(estimate.half_width) else estimate.half_width for estimate in estimates]
        above = [min(half, max(0, most - at.mean)) for half, at in zip(halves, estimates, strict=True)]
        below = [min(half, max(0, at.mean - least)) for half, at in zip(halves, estimates, strict=True)]
        return {"array": above} if above == below else {"array": above, "arrayminus": below, "symmetric": False}

    def _line(self, method: str, **line: Any) -> dict[str, Any]:
        return {"color": self.styles[method]["color"], "dash": self.styles[method]["dash"], **line}

    def _fill(
        self,
        method: str,
        x: Sequence[Any],
        low: Sequence[float],
        high: Sequence[float],
        *,
        mode: str = "lines",
        shape: str = "linear",
    ) -> None:
        red, green, blue = (int(self.styles[method]["color"][at : at + 2], 16) for at in (1, 3, 5))
        fill = {"fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},{BAND_OPACITY})"}
        for edge, how in ((low, {}), (high, fill)):
            self.trace(method, x, edge, mode=mode, line={"width": 0, "shape": shape}, **how)


class Rows(Drawing):
    """A row for each method, at the height of its name, the first on top.

    Args:
        x: The horizontal axis' title, with its unit.
        methods: The rows, each with its name above it: beside it there is no room on a phone.
        styles: How each method is drawn.
        level: Where a dotted line stands, which is of no method.
        bounds: As `Drawing` takes them.
        **layout: Plotly's.
    """

    def __init__(
        self,
        x: str,
        methods: Sequence[str],
        styles: Styles,
        *,
        level: float | None = None,
        bounds: Bounds = ANYTHING,
        **layout: Any,
    ) -> None:
        super().__init__(x, "method", styles, bounds=bounds)
        order = {"type": "category", "categoryorder": "array", "categoryarray": list(reversed(methods))}
        self.figure.update_yaxes(**order, range=[-0.5, len(methods) - 0.3], showticklabels=False, showgrid=False)
        name = {"x": 0, "xref": "x domain", "xanchor": "left", "align": "left", "xshift": 4, "showarrow": False}
        for method in methods:
            self.figure.add_annotation(**name, y=method, yshift=NAME_ABOVE, text=as_drawn(method))
        if level is not None:
            self.figure.add_vline(x=level, line={"color": GREY, "dash": "dot", "width": 1.5}, layer="below")
        self.figure.update_layout(**layout)


def estimate_rows(
    x: str, estimates: Mapping[str, Estimate], styles: Styles, *, hover: str = "%{x:.3f}", **layout: Any
) -> go.Figure:
    """Return a figure with a mean and its 95 % interval in a row for each method; `layout` is that of `Rows`."""
    drawing = Rows(x, list(estimates), styles, **layout)
    for method, at in estimates.items():
        drawing.points(method, [at], [method], hover=hover)
    return drawing.figure
