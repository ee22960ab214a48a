"""Draw accuracy against measured training time, a panel for each comparison, as SVG for light and for dark pages.

python experiments/picture.py experiments/timed-{fashion-mnist,clinc150}/results.json --out docs/accuracy-against-time
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import typer
from matplotlib.axes import Axes

from emprune.lab.comparison import outcome
from emprune.lab.pages.drawing import GREY, colours
from emprune.lab.statistics import mean_interval

Result = Mapping[str, Any]

METHODS = {
    "full": "full training",
    "random-permutation": "random permutation",
    "infobatch:normalize=true": "InfoBatch, normalised",
    "emp:pool=2": "EMP, pool 2",
}
INK = {"light": "#1d2129", "dark": "#e6e8ec"}
INKED: Sequence[Any] = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
STYLE: dict[Any, Any] = {
    "figure.figsize": (9.6, 3.6),  # inches
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": GREY,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "emprune",  # the same data make the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}


def draw(comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Draw a panel for each comparison; the points of a method are its costs, bars 95 % intervals over the seeds."""
    figure, panels = plt.subplots(1, len(comparisons), layout="constrained", squeeze=False)
    for axes, comparison in zip(panels[0], comparisons, strict=True):
        for method, style in colours(METHODS).items():
            runs = [run for run in comparison["runs"] if run["config"]["method"] == method]
            draw_method(axes, method, runs, style["color"])
        axes.set(title=comparison["experiment"]["title"].split(":")[0], ylabel="test accuracy, %")
        axes.set(xlabel="measured training time on one core, s")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def draw_method(axes: Axes, method: str, runs: Sequence[Result], colour: str) -> None:
    """Draw a method's costs, joined, each with what it keeps; of full training its accuracy as a line too."""
    keeps = sorted({run["config"]["keep"] for run in runs})
    costs = [[run for run in runs if run["config"]["keep"] == keep] for keep in keeps]
    times = [mean_interval([run["train_seconds"] for run in cost]) for cost in costs]
    scores = [mean_interval([outcome(run) for run in cost]) for cost in costs]
    x, x_half = ([getattr(time, name) for time in times] for name in ("mean", "half_width"))
    y, y_half = ([getattr(score, name) for score in scores] for name in ("mean", "half_width"))
    look: dict[str, Any] = {"color": colour, "markersize": 6, "linewidth": 1.4, "capsize": 2}
    axes.errorbar(x, y, xerr=np.nan_to_num(x_half), yerr=np.nan_to_num(y_half), fmt="o-", label=METHODS[method], **look)
    if method == "full":
        axes.axhline(y[0], color=colour, linestyle="--", linewidth=1.2, zorder=0)
    elif method == "random-permutation":
        for keep, right, height in zip(keeps, x, y, strict=True):
            place: dict[str, Any] = {"xytext": (18, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{keep:.0%} of the visits", (right, height), fontsize=9, **place)


def main(
    results: Annotated[list[Path], typer.Argument(help="The comparisons' results.json, a panel each.", exists=True)],
    out: Annotated[Path, typer.Option(help="OUT-light.svg and OUT-dark.svg are written.")],
) -> None:
    """Draw accuracy against measured training time: full training, random permutation, InfoBatch and EMP."""
    comparisons = [json.loads(path.read_text()) for path in results]
    mpl.use("svg")
    for theme, ink in INK.items():
        with mpl.rc_context(STYLE | dict.fromkeys(INKED, ink)):
            draw(comparisons)
            path = out.with_name(f"{out.name}-{theme}.svg")
            plt.savefig(path, metadata={"Date": None})
            plt.close()
        typer.echo(path)


if __name__ == "__main__":
    typer.run(main)
