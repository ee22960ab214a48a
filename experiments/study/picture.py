"""Draw accuracy against measured training time, or gains against visits, as SVG for light and for dark pages.

python experiments/study/picture.py experiments/timed-{fashion-mnist,clinc150}/results.json \
    --out docs/evidence/accuracy-against-time
python experiments/study/picture.py experiments/study/e2-*/results.json --against visits \
    --out docs/evidence/gain-against-visits
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import typer
from emprune_lab.comparison.statistics import Estimate, mean_interval, paired_difference
from evidence import Result, outcome
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

RIVAL = "random-permutation"
METHODS = {
    "full": "full training",
    "random-permutation": "random permutation",
    "infobatch:normalize=true": "InfoBatch, normalised",
    "emp:pool=2": "EMP, pool 2",
}
GREY = "#8a8f98"
COLOURS = (
    "#3f7fd4", "#d9662b", "#2c9a6b", "#b8559a", "#8b6fd6", "#a58a1c", "#1a9cb0", "#cc4b57", "#9a6a4a", "#c2769a",
)  # fmt: skip
"""Those of a report's figures: of about one brightness, so that they stand out from white and from black."""

INK = {"light": "#1d2129", "dark": "#e6e8ec"}
INKED: Sequence[Any] = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,  # a longer one was cut off at the picture's edge
    "grid.color": GREY,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "emprune",  # the same data make the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}


class Against(StrEnum):
    """What is drawn from left to right."""

    TIME = "time"
    VISITS = "visits"


def draw_times(comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Draw a panel for each comparison; the points of a method are its costs, bars 95 % intervals over the seeds."""
    figure, panels = plt.subplots(1, len(comparisons), figsize=(9.6, 3.6), layout="constrained", squeeze=False)
    for axes, comparison in zip(panels[0], comparisons, strict=True):
        for method, colour in colours(METHODS).items():
            draw_method(axes, method, runs_of(comparison["runs"], method), colour)
        axes.set(title=comparison["experiment"]["title"].split(":")[0], ylabel="test accuracy, %")
        axes.set(xlabel="measured training time on one core, s")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def draw_visits(comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Draw, for each comparison, what selection gains by the run's length, and below it how random permutation fits."""
    figure, panels = plt.subplots(
        2, len(comparisons), figsize=(9.6, 6), layout="constrained", squeeze=False, sharex="col"
    )
    for (gains, losses), comparison in zip(panels.T, comparisons, strict=True):
        runs = comparison["runs"]
        rival = runs_of(runs, RIVAL)
        gains.axhline(0, color=GREY, linestyle="--", linewidth=1.2, label=METHODS[RIVAL])
        for method, colour in colours(METHODS).items():
            draw_by_visits(gains, differences(runs, method), label=METHODS[method], color=colour)
        draw_by_visits(losses, means(rival, "validation_loss"), label="not trained on", color=GREY, linestyle="--")
        draw_by_visits(losses, means(rival, "probe_loss"), label="trained on", color=GREY)
        title = f"{rival[0]['config']['task']}, {rival[0]['num_train']:,} images"
        gains.set(title=title, ylabel="accuracy, points above\nrandom permutation")
        losses.set(xlabel="visits per image in the run", ylabel="loss of random\npermutation, nats", xscale="log")
        shown = list(by_visits(rival))
        losses.xaxis.set_minor_locator(NullLocator())
        losses.set_xticks(shown, [f"{visits:.3g}" for visits in shown])
        losses.legend(frameon=False)
        for axes in (gains, losses):
            axes.grid(alpha=0.25)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def colours(methods: Iterable[str]) -> dict[str, str]:
    """Return each method's colour: those of the palette in this order, full training grey and first."""
    others = [method for method in methods if method != "full"]
    return {"full": GREY, **dict(zip(others, itertools.cycle(COLOURS), strict=False))}


def runs_of(runs: Sequence[Result], method: str) -> list[Result]:
    """Return a method's runs."""
    return [run for run in runs if run["config"]["method"] == method]


def by_visits(runs: Sequence[Result]) -> dict[float, list[Result]]:
    """Return runs by their planned visits per image."""
    found: dict[float, list[Result]] = {}
    for run in runs:
        found.setdefault(run["config"]["keep"] * run["config"]["epochs"], []).append(run)
    return dict(sorted(found.items()))


def differences(runs: Sequence[Result], method: str) -> dict[float, Estimate]:
    """Return the paired differences of a method's outcome to the rival's, by visits."""
    found = {}
    for visits, own in by_visits(runs).items():
        ours, rivals = ({run["config"]["seed"]: outcome(run) for run in runs_of(own, name)} for name in (method, RIVAL))
        difference = paired_difference(ours, rivals)
        if method != RIVAL and difference is not None:
            found[visits] = difference
    return found


def means(runs: Sequence[Result], name: str) -> dict[float, Estimate]:
    """Return the means over the seeds of a value of the results, by visits."""
    return {visits: mean_interval([run[name] for run in own]) for visits, own in by_visits(runs).items()}


def draw_by_visits(axes: Axes, estimates: Mapping[float, Estimate], **look: Any) -> None:
    """Draw estimates, joined, with their intervals, if there are any."""
    if estimates:
        y = [estimate.mean for estimate in estimates.values()]
        half = np.nan_to_num([estimate.half_width for estimate in estimates.values()])
        axes.errorbar(list(estimates), y, yerr=half, marker="o", markersize=6, linewidth=1.4, capsize=2, **look)


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
    elif method == RIVAL:
        for keep, right, height in zip(keeps, x, y, strict=True):
            place: dict[str, Any] = {"xytext": (18, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{keep:.0%} of the visits", (right, height), fontsize=9, **place)


def draw_themed(draw: Callable[[], None], out: Path) -> None:
    """Have a picture drawn for light and for dark pages, and say where it is.

    Args:
        draw: Leaves it as matplotlib's current figure.
        out: OUT-light.svg and OUT-dark.svg are written.
    """
    mpl.use("svg")
    for theme, ink in INK.items():
        with mpl.rc_context(STYLE | dict.fromkeys(INKED, ink)):
            draw()
            path = out.with_name(f"{out.name}-{theme}.svg")
            plt.savefig(path, metadata={"Date": None})
            plt.close()
        typer.echo(path)


def main(
    results: Annotated[list[Path], typer.Argument(help="The comparisons' results.json, a panel each.", exists=True)],
    out: Annotated[Path, typer.Option(help="OUT-light.svg and OUT-dark.svg are written.")],
    against: Annotated[
        Against, typer.Option(help="Accuracy against measured time, or the gain against visits per image.")
    ] = Against.TIME,
) -> None:
    """Draw what full training, random permutation, InfoBatch and EMP reach."""
    comparisons = [json.loads(path.read_text()) for path in results]
    draw_themed(lambda: (draw_times if against is Against.TIME else draw_visits)(comparisons), out)


if __name__ == "__main__":
    typer.run(main)
