"""Print the table of the language models: bits per byte at equal visits, and what differs from random permutation.

python experiments/language-model/language_models.py runs/language-model/*/results.json
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from emprune_lab.comparison.statistics import Estimate, holm, mean_interval, paired_difference

BASELINE = "random-permutation"
FULL = (1.0, "full")

Row = tuple[float, str]
"""The keep and the method."""


def bits_per_byte(paths: Iterable[Path]) -> dict[Row, dict[int, float]]:
    """Return the bits per byte of the held-out documents after the last epoch, by keep, method and seed."""
    found: dict[Row, dict[int, float]] = {}
    for path in paths:
        for run in json.loads(path.read_text())["runs"]:
            settings = run["settings"]
            found.setdefault((settings["cost"]["keep"], run["method"]), {})[settings["seed"]] = run["score"]
    return found


def table(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a row for each keep and method. The p-values are adjusted for all (Holm)."""
    found = bits_per_byte(paths)
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
            f"{gaps[row]:+.4f} (p {adjusted[row]:.3f})" if row in gaps else "",
            "" if to_full is None else f"{to_full:+.4f}",
            str(len(runs)),
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(table(map(Path, sys.argv[1:]))))
