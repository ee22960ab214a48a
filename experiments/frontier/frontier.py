"""The frontier's tables and pictures, from the results of its comparisons.

python experiments/frontier/frontier.py experiments/frontier/*/results.json --out docs/evidence/frontier
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import typer
from emprune_lab.comparison.curves import Curves
from emprune_lab.comparison.statistics import mean_interval, paired_difference
from emprune_lab.metrics import metric_of

sys.path.append(str(Path(__file__).parents[1] / "study"))
from evidence import outcome, read_runs
from picture import GREY, colours, draw_themed  # a script of the study, beside this folder

MARGIN = 0.3
"""Points of accuracy below full training that count as no loss."""

RANDOM, FULL = "random-permutation", "full"
WORDS = {
    FULL: "full training",
    RANDOM: "random permutation",
    "infobatch:normalize=true": "InfoBatch, normalised",
    "emp:pool=2": "EMP",
    "emp:beta=5:pool=2": "EMP",
    "emp:beta=0:pool=2": "OrderDP",
}

Cells = dict[tuple[str, float], dict[int, float]]
"""The outcome of each seed, by method and keep. Full training is at keep 1."""


def read(paths: Iterable[Path]) -> dict[str, Cells]:
    """Return the outcomes of each judged task; what was tuned is left out."""
    tasks: dict[str, Cells] = {}
    for path in paths:
        for run in read_runs(path):
            config = run["config"]
            if config["validation"] > 0:
                continue
            cell = tasks.setdefault(task_of(config), {}).setdefault((config["method"], config["keep"]), {})
            known = cell.setdefault(config["seed"], outcome(run))
            if known != outcome(run):
                raise typer.BadParameter(
                    f"{config['method']}, keep {config['keep']}, seed {config['seed']}, has two results on "
                    f"{task_of(config)}, {known} and {outcome(run)}: leave out {path} or an earlier file."
                )
    return {task: complete(cells) for task, cells in tasks.items()}


def task_of(config: Mapping[str, Any]) -> str:
    """Return a task with what tells it from others on the same data."""
    tail = f"-tail-{config['imbalance']:g}" if config["imbalance"] > 1 else ""
    model = f"-{config['model']}" if config["model"] == "resnet18" else ""
    return f"{config['task']}{tail}{model}".replace(":", "-")


def complete(cells: Cells) -> Cells:
    """Return the outcomes of the seeds that every method has at every keep of its own."""
    seeds = set.intersection(*(set(cell) for cell in cells.values()))
    return {place: {seed: cell[seed] for seed in sorted(seeds)} for place, cell in cells.items()}


def seeds_of(cells: Cells) -> list[int]:
    """Return the seeds, which are the same in all cells."""
    return list(next(iter(cells.values())))


def methods_of(cells: Cells) -> list[str]:
    """Return the methods, those that have a name in words first."""
    found = {method for method, _ in cells}
    return [method for method in WORDS if method in found] + sorted(found - WORDS.keys())


def keeps_of(cells: Cells, method: str) -> list[float]:
    """Return a method's keeps, ascending."""
    return sorted(keep for name, keep in cells if name == method)


def curves_of(cells: Cells) -> Curves:
    """Return the curves of all methods but full training, which they end in."""
    scores: dict[str, dict[float, dict[int, float]]] = {}
    for (method, keep), cell in cells.items():
        scores.setdefault(method, {})[keep] = cell
    full = scores.pop(FULL)[1.0]
    return Curves(metric_of("accuracy"), scores, full, MARGIN)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def task_tables(task: str, cells: Cells) -> Iterator[str]:
    """Return a task's accuracies, paired differences, and the two numbers of each curve."""
    seeds, methods = seeds_of(cells), methods_of(cells)
    keeps = sorted({keep for _, keep in cells})
    yield f"### {task}: seeds {', '.join(map(str, seeds))}"
    heads = ["", *(f"keep {keep:g}" for keep in keeps)]

    def grid(write: Any) -> Iterator[list[str]]:
        for method in methods:
            yield [WORDS.get(method, method), *(write(method, k) if (method, k) in cells else "" for k in keeps)]

    yield "Accuracy, %:"
    yield table(heads, grid(lambda method, keep: f"{mean_interval(list(cells[method, keep].values())):.2f}"))
    if (RANDOM, keeps[0]) not in cells:
        return

    def difference(method: str, keep: float) -> str:
        found = paired_difference(cells[method, keep], cells.get((RANDOM, keep), {}))
        return "" if found is None or method == RANDOM else f"{found:+.2f}"

    yield "Points above random permutation, paired:"
    yield table(heads, grid(difference))
    if (FULL, 1.0) not in cells:
        return
    curves = curves_of(cells)
    yield "The keep at which random permutation is as accurate:"
    yield table(heads, grid(lambda method, keep: "" if method == FULL else str(curves.worth(method, keep))))
    yield f"The lowest keep that loses nothing, within {MARGIN} points of full training:"
    rows = [[WORDS.get(m, m), str(curves.loses_nothing_from(m))] for m in methods if m in curves.methods]
    yield table(["", "from keep"], rows)


def draw_task(task: str, cells: Cells) -> None:
    """Draw each method's accuracy against its keep, with 95 % intervals over the seeds, and full training."""
    figure, axes = plt.subplots(figsize=(7.2, 4), layout="constrained")
    methods = methods_of(cells)
    for method, colour in colours(methods).items():
        keeps = keeps_of(cells, method)
        found = [mean_interval(list(cells[method, keep].values())) for keep in keeps]
        half = np.nan_to_num([estimate.half_width for estimate in found])
        means = [estimate.mean for estimate in found]
        label = WORDS.get(method, method)
        axes.errorbar(
            keeps, means, yerr=half, marker="o", markersize=5, linewidth=1.4, capsize=2, color=colour, label=label
        )
        if method == FULL:
            axes.axhline(means[0], color=GREY, linestyle="--", linewidth=1.2, zorder=0)
            axes.axhspan(means[0] - MARGIN, means[0], color=GREY, alpha=0.15, linewidth=0, zorder=0)
    axes.set(title=f"{task}, {len(seeds_of(cells))} seeds", xlabel="keep, the share of full training's visits")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)


def main(
    paths: Annotated[list[Path], typer.Argument(help="The comparisons' results.json.", exists=True)],
    out: Annotated[Path | None, typer.Option(help="OUT-TASK-light.svg and OUT-TASK-dark.svg are drawn.")] = None,
) -> None:
    """Print every task's tables, and draw its curves."""
    for task, cells in read(paths).items():
        if not seeds_of(cells):
            typer.echo(f"### {task}: no seed has every run yet\n")
            continue
        typer.echo("\n\n".join(task_tables(task, cells)) + "\n")
        if out is not None:
            draw_themed(partial(draw_task, task, cells), out.with_name(f"{out.name}-{task}"))


if __name__ == "__main__":
    typer.run(main)
