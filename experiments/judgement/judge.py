"""The judgement's tables and verdicts, or the margins, from the results of its comparisons.

python experiments/judgement/judge.py margins runs/judgement/margin-*/results.json
python experiments/judgement/judge.py verdicts experiments/judgement/*/results.json
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from emprune_lab.comparison.statistics import holm, mean_interval
from emprune_lab.results.record import read_results
from scipy.stats import t as student
from scipy.stats import wilcoxon

RANDOM = "random-permutation"
ALIKE = (":beta=5", ":memory=instance-entropy")
"""What EMP's score needs on two classes, and in pre-training: such a method is one with that of the other tasks."""

NUM_SEEDS, LEAST_SEEDS, POWER = 3, 2, 2.49
SURE, LEAST_POOLED = 0.05, -0.5

MARGINS: Mapping[tuple[str, float], float] = {
    ("20ng", 0.3): 1.76,
    ("20ng", 0.1): 2.09,
    ("r52", 0.3): 1.69,
    ("r52", 0.1): 1.43,
    ("imdb", 0.3): 0.53,
    ("imdb", 0.1): 1.06,
    ("cifar10-human", 0.3): 1.06,
    ("cifar10-human", 0.1): 0.64,
    ("cifar100", 0.3): 1.11,
    ("cifar100", 0.1): 0.87,
    ("simclr-digits", 0.3): 0.55,
    ("simclr-digits", 0.1): 2.18,
}
"""Of each task and keep, in points; from random permutation alone, seeds 400 to 404. Entered before the judged runs."""

BySeed = dict[int, float]
Cell = tuple[str, float]
Cells = dict[Cell, dict[str, BySeed]]
"""The accuracy of each seed on the test set, by task and keep, and by method."""


def read(paths: Iterable[Path]) -> Cells:
    """Return the accuracies; of each task, on the seeds that every method has at both keeps."""
    cells: Cells = {}
    for path in paths:
        for run in read_results(path).runs:
            task = "cifar10-human" if run.settings.task.startswith("image-folder:") else run.settings.task
            own = cells.setdefault((task, run.settings.cost.keep), {})
            own.setdefault(same_name(run.method), {})[run.seed] = float(run["accuracy"])
    for task in {task for task, _ in cells}:
        mine = [by_seed for (name, _), methods in cells.items() if name == task for by_seed in methods.values()]
        complete = set.intersection(*map(set, mine))
        for by_seed in mine:
            for seed in by_seed.keys() - complete:
                del by_seed[seed]
    keeps = {keep for _, keep in cells}
    whole = {task for task, _ in cells if all(cells.get((task, keep), {}).get(RANDOM) for keep in keeps)}
    return {cell: methods for cell, methods in cells.items() if cell[0] in whole}


def same_name(method: str) -> str:
    """Return a method as it is called in every task.

    Example:
        >>> same_name("emp:beta=5:pool=2"), same_name("emp:memory=instance-entropy:pool=2")
        ('emp:pool=2', 'emp:pool=2')
    """
    for option in ALIKE:
        method = method.replace(option, "")
    return method


def margin_of(accuracies: Sequence[float]) -> float:
    """Return what three paired seeds would find, one-sided at 5 % with a power of 80 %, if they were not correlated."""
    return POWER * math.sqrt(2 / NUM_SEEDS) * statistics.stdev(accuracies)


def gains(cells: Cells, method: str) -> dict[Cell, BySeed]:
    """Return each seed's accuracy minus that of random permutation, in the cells that the method has."""
    return {
        cell: {seed: accuracy - methods[RANDOM][seed] for seed, accuracy in methods[method].items()}
        for cell, methods in cells.items()
        if method in methods
    }


def pooled(found: Mapping[Cell, BySeed], margins: Mapping[Cell, float]) -> tuple[float, float]:
    """Return the mean of gain / margin over the cells, and its one-sided 95 % bound.

    The two keeps of a task share their seeds, so they are averaged first. The degrees of freedom are Welch's.
    """
    means, variances, freedoms = [], [], []
    for task in sorted({task for task, _ in found}):
        own = [
            {seed: gain / margins[cell] for seed, gain in by_seed.items()}
            for cell, by_seed in found.items()
            if cell[0] == task
        ]
        averaged = [statistics.fmean(by_seed[seed] for by_seed in own) for seed in own[0]]
        means.append(statistics.fmean(averaged))
        variances.append(statistics.variance(averaged) / len(averaged))
        freedoms.append(len(averaged) - 1)
    mean, error = statistics.fmean(means), math.sqrt(sum(variances)) / len(means)
    if error == 0:
        return mean, mean
    freedom = sum(variances) ** 2 / sum(v**2 / df for v, df in zip(variances, freedoms, strict=True))
    return mean, mean - float(student.ppf(0.95, freedom)) * error


def harmed(found: Mapping[Cell, BySeed]) -> list[Cell]:
    """Return the cells whose interval lies below zero, also after Holm's adjustment."""
    estimates = {cell: mean_interval(list(by_seed.values())) for cell, by_seed in found.items()}
    adjusted = holm([estimate.p_value for estimate in estimates.values()])
    return [cell for (cell, at), p in zip(estimates.items(), adjusted, strict=True) if at.mean < 0 and p < SURE]


def means_of(cells: Cells, methods: Sequence[str]) -> np.ndarray:
    """Return (cells, methods) mean accuracies, in the cells that all these methods have."""
    shared = [own for own in cells.values() if all(method in own for method in methods)]
    return np.array([[statistics.fmean(own[method].values()) for method in methods] for own in shared])


def against_each(cells: Cells, judged: str, others: Sequence[str]) -> dict[str, float]:
    """Return, of each other method, the one-sided p of its means being as high in the judged one's cells, by Holm."""
    ps = []
    for other in others:
        both = means_of(cells, [judged, other])
        ps.append(float(wilcoxon(both[:, 0] - both[:, 1], alternative="greater").pvalue))
    return dict(zip(others, holm(ps), strict=True))


def verdict_lines(cells: Cells, judged: str, margins: Mapping[Cell, float]) -> Iterator[str]:
    """Say whether both things that were registered hold for a method."""
    own = {cell: methods for cell, methods in cells.items() if judged in methods}
    found = gains(own, judged)
    mean, bound = pooled(found, margins)
    worse = harmed(found)
    holds = bound > LEAST_POOLED and not worse
    where = ", ".join(f"{task} at {keep:g}" for task, keep in worse) or "no cell"
    yield f"**`{judged}`**, {len(found)} cells. Pooled gain / margin {mean:+.2f}, bound {bound:+.2f}."
    yield f"- Surely worse: {where}."
    yield f"- Never worse than random permutation: {'holds' if holds else 'does not hold'}."
    others = [method for method in methods_of(own) if method != judged]
    everywhere = [judged, *(method for method in others if all(method in methods for methods in own.values()))]
    ranks = (-means_of(own, everywhere)).argsort(axis=1).argsort(axis=1).mean(axis=0) + 1
    ps = against_each(own, judged, others)
    best = ranks[0] == ranks.min() and max(ps.values()) < SURE
    told = ", ".join(
        f"{method} {rank:.1f}" for method, rank in sorted(zip(everywhere, ranks, strict=True), key=lambda p: p[1])
    )
    yield f"- Better than every other method: {'holds' if best else 'does not hold'}. Mean ranks: {told}."
    yield f"- p against each: {', '.join(f'{method} {p:.3f}' for method, p in ps.items())}."


def methods_of(cells: Cells) -> list[str]:
    """Return all methods, in order of appearance."""
    return list(dict.fromkeys(method for methods in cells.values() for method in methods))


def gain_table(cells: Cells, margins: Mapping[Cell, float]) -> Iterator[str]:
    """Yield the gains of every method in each cell, as Markdown."""
    methods = [method for method in methods_of(cells) if method != RANDOM]
    yield f"| task | keep | margin | random permutation | {' | '.join(f'`{method}`' for method in methods)} |"
    yield f"| --- | {' | '.join(['---:'] * (len(methods) + 3))} |"
    for (task, keep), own in cells.items():
        found = {method: gains({(task, keep): own}, method).get((task, keep), {}) for method in methods}
        shown = [f"{mean_interval(list(found[method].values())):+.2f}" if found[method] else "–" for method in methods]
        level = statistics.fmean(own[RANDOM].values())
        yield f"| {task} | {keep:g} | {margins.get((task, keep), math.nan):.2f} | {level:.2f} | {' | '.join(shown)} |"


def main(
    what: Annotated[Literal["margins", "verdicts"], typer.Argument(help="Which of the two.")],
    paths: Annotated[list[Path], typer.Argument(help="The comparisons' results.json.", exists=True)],
    judged: Annotated[str, typer.Option(help="The methods that are judged.")] = "emp:pool=gap",
) -> None:
    """Print the margin of each cell, as it is entered above; or the gains in each cell, and what they decide."""
    cells = read(paths)
    if what == "margins":
        for (task, keep), own in cells.items():
            typer.echo(f'    ("{task}", {keep:g}): {margin_of(list(own[RANDOM].values())):.2f},')
        return
    typer.echo("\n".join(gain_table(cells, MARGINS)) + "\n")
    if any(cell not in MARGINS for cell in cells):
        typer.echo("Nothing is judged before the margins are entered.")
    elif not cells or any(len(own[RANDOM]) < LEAST_SEEDS for own in cells.values()):
        typer.echo(f"Nothing is judged before each task has {LEAST_SEEDS} seeds that are complete.")
    else:
        for method in judged.split(","):
            typer.echo("\n".join(verdict_lines(cells, method, MARGINS)) + "\n")


if __name__ == "__main__":
    typer.run(main)
