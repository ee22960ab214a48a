"""Print the tables of the language models: bits per byte at equal visits, and the accuracy of each kind of document.

python experiments/language-model/language_models.py runs/language-model/*/results.json
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emprune_lab.comparison.statistics import Estimate, holm, mean_interval, paired_difference

BASELINE = "random-permutation"
FULL = (1.0, "full")
KINDS = ("documentation", "licences", "reviews")
"""Of documents, in the order of their labels."""

Row = tuple[float, str]
"""The keep and the method."""


def of_runs(paths: Iterable[Path], name: str) -> dict[Row, dict[int, Any]]:
    """Return what the runs found after the last epoch, by keep, method and seed."""
    found: dict[Row, dict[int, Any]] = {}
    for path in paths:
        for run in json.loads(path.read_text())["runs"]:
            settings = run["settings"]
            found.setdefault((settings["cost"]["keep"], run["method"]), {})[settings["seed"]] = run[name]
    return found


def table(found: dict[Row, dict[int, float]]) -> Iterator[str]:
    """Yield a Markdown table of the bits per byte of the held-out documents, with p-values adjusted for all of them."""
    pairs = {row: (row[0], BASELINE) for row in found if row != FULL and row[1] != BASELINE}
    gaps: dict[Row, Estimate] = {}
    for row, baseline in pairs.items():
        gap = paired_difference(found[row], found[baseline])
        assert gap is not None, "all methods have the same seeds"
        gaps[row] = gap
    adjusted = dict(zip(gaps, holm([gap.p_value for gap in gaps.values()]), strict=True))
    yield "| keep | method | bits per byte | − random permutation | − three whole passes | seeds |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: |"
    for row, runs in sorted(found.items(), reverse=True):
        to_full = paired_difference(runs, found[FULL]) if row != FULL and FULL in found else None
        cells = [
            f"{row[0]:g}",
            f"`{row[1]}`",
            f"{mean_interval(list(runs.values())):.4f}",
            f"{gaps[row]:+.4f} ({p_value(adjusted[row])})" if row in gaps else "",
            "" if to_full is None else f"{to_full:+.4f}",
            str(len(runs)),
        ]
        yield f"| {' | '.join(cells)} |"


def p_value(p: float) -> str:
    """Return a p-value as it is printed."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def by_kind(found: dict[Row, dict[int, list[float]]]) -> Iterator[str]:
    """Yield a Markdown table of how often the likeliest token was right, in % of the tokens of each kind."""
    yield f"| keep | method | {' | '.join(KINDS)} |"
    yield f"| ---: | --- | {' | '.join(['---:'] * len(KINDS))} |"
    for (keep, method), runs in sorted(found.items(), reverse=True):
        cells = [f"{mean_interval(list(kind)):.2f}" for kind in zip(*runs.values(), strict=True)]
        yield f"| {keep:g} | `{method}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    files = [Path(argument) for argument in sys.argv[1:]]
    print("\n".join([*table(of_runs(files, "score")), "", *by_kind(of_runs(files, "class_accuracy"))]))
