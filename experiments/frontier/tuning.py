"""Print what tuning chooses for each method, and all that it was chosen from.

python experiments/frontier/tuning.py experiments/frontier/tuning-*/results.json
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.append(str(Path(__file__).parents[1] / "study"))
from evidence import outcome, read_stored  # a module of the study, beside this folder

Result = Mapping[str, Any]


def choice(runs: Iterable[Result]) -> list[Result]:
    """Return runs by their outcome, the best first; at a tie the one of the middle peak, then of the longer tail."""
    runs = list(runs)
    peaks = sorted({peak_of(run) for run in runs})
    middle = peaks[len(peaks) // 2]

    def rank(run: Result) -> tuple[float, float, float]:
        return outcome(run), -abs(math.log(peak_of(run) / middle)), tail_of(run)

    return sorted(runs, key=rank, reverse=True)


def peak_of(run: Result) -> float:
    """Return a run's peak learning rate."""
    return float(run["config"]["max_lr"])


def tail_of(run: Result) -> float:
    """Return the share of a run's visits that is its full-data tail, as version 0.1 has it."""
    return float(run["config"]["tail_fraction"] or 0)


def lines(runs: Sequence[Result]) -> Iterable[str]:
    """Return a Markdown table, a row for each method."""
    yield "| method | peak | tail | validation accuracy (peak, tail) |"
    yield "| --- | ---: | ---: | --- |"
    for method in dict.fromkeys(run["config"]["method"] for run in runs):
        ordered = choice(run for run in runs if run["config"]["method"] == method)
        tried = "; ".join(f"{outcome(run):.2f} ({peak_of(run):g}, {tail_of(run):g})" for run in ordered)
        yield f"| `{method}` | {peak_of(ordered[0]):g} | {tail_of(ordered[0]):g} | {tried} |"


def main(paths: Annotated[list[Path], typer.Argument(help="The tunings' results.json.", exists=True)]) -> None:
    """Print what is to be frozen for each method."""
    for path in paths:
        typer.echo("\n".join([f"### {path.parent.name}", "", *lines(read_stored(path)), ""]))


if __name__ == "__main__":
    typer.run(main)
