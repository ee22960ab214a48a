"""Draw how far the judgement's finalist is above each rival, as SVG for light and for dark pages.

python experiments/study/forest.py experiments/study/judge-*/results.json --finalist emp:pool=2 \
    --finalist emp:beta=5:pool=2 --out docs/evidence/judgement
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import typer
from contrasts import (
    INFOBATCH,
    NORMALISED,
    POOL,
    RANDOM,
    Contrast,
    Runs,
    check_one_finalist_per_task,
    differences,
    methods_by_task,
    never,
    read,
)
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from picture import COLOURS, GREY, draw_themed

RIVALS = {
    "random permutation": RANDOM,
    "InfoBatch, normalised": NORMALISED,
    "InfoBatch": INFOBATCH,
    "greedy": ["greedy"],
    "UCB": ["ucb:c=3"],
    "ε-greedy": ["epsilon-greedy"],
    "EMP, no pool": ["emp:pool=none", "emp:beta=5:pool=none"],
    "full training": ["full"],
}
KEEPS = {0.3: (COLOURS[0], "o"), 0.1: (COLOURS[1], "s")}
MARGIN = 0.3
LINEAR = 2.0
"""Points up to which the scale is linear; beyond, it is logarithmic, for some differences are twenty times others."""

TICKS = (-10, -1, 0, 1, 10)


def draw(runs: Runs, finalist: Sequence[str]) -> None:
    """Draw a panel for each task and in it a row for each rival, with 95 % intervals."""
    tasks = list(methods_by_task(runs))
    figure, panels = plt.subplots(
        1,
        len(tasks),
        figsize=(2.2 + 1.75 * len(tasks), 3.9),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )  # fmt: skip
    for axes, task in zip(panels[0], tasks, strict=True):
        draw_task(axes, {place: own for place, own in runs.items() if dict(place[0])["task"] == task}, finalist)
        axes.set_title(task, fontsize=10)
    panels[0][0].set_yticks(range(len(RIVALS)), RIVALS)
    panels[0][0].set_ylim(len(RIVALS) - 0.4, -0.6)
    panels[0][len(tasks) // 2].set_xlabel("the finalist above its rival, points")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def draw_task(axes: Axes, runs: Runs, finalist: Sequence[str]) -> None:
    """Draw one task's rows."""
    axes.axvline(0, color=GREY, linewidth=1)
    axes.axvline(-MARGIN, color=GREY, linestyle=":", linewidth=1, label=f"−{MARGIN}, the margin")
    found = [
        (row, difference.setting["keep"], difference.estimate)
        for row, rival in enumerate(RIVALS.values())
        for difference in differences(runs, Contrast(finalist, rival, never, at_best=True))
    ]
    for place, (keep, (colour, marker)) in enumerate(KEEPS.items()):
        rows = [(row + 0.26 * place - 0.13, estimate) for row, at, estimate in found if at == keep]
        axes.errorbar(
            [estimate.mean for _, estimate in rows],
            [height for height, _ in rows],
            xerr=np.nan_to_num([estimate.half_width for _, estimate in rows]),
            fmt=marker, color=colour, markersize=4.5, linewidth=1.3, capsize=2, label=f"keep {keep:g}",
        )  # fmt: skip
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1.2)
    axes.set_xticks(TICKS, [f"{tick:+d}".replace("-", "−").replace("+0", "0") for tick in TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25, axis="y")


def main(
    paths: Annotated[list[Path], typer.Argument(help="The judgement's results.json.", exists=True)],
    out: Annotated[Path, typer.Option(help="OUT-light.svg and OUT-dark.svg are written.")],
    finalist: Annotated[list[str], typer.Option(help="Who is judged; again for a task of two classes.")] = POOL,
) -> None:
    """Draw the finalist's paired differences to its rivals: a panel per task, a row per rival, a colour per keep."""
    runs = read(paths)
    check_one_finalist_per_task(runs, finalist)
    draw_themed(lambda: draw(runs, finalist), out)


if __name__ == "__main__":
    typer.run(main)
