"""Print how accuracy differs where texts of like length share a batch, paired by seed, and what is padded.

python experiments/lengths/lengths.py experiments/lengths/*/results.json
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from emprune_lab.comparison.statistics import Estimate, holm, mean_interval, paired_difference

Result = Mapping[str, Any]


def by_seed(path: Path, *, grouped: bool) -> dict[int, Result]:
    """Return the runs of a comparison with or without grouping, by seed."""
    runs = json.loads(path.read_text())["runs"]
    return {run["settings"]["seed"]: run for run in runs if run["settings"]["training"]["group_by_length"] == grouped}


def accuracies(runs: Mapping[int, Result]) -> dict[int, float]:
    """Return the accuracy on the test set after the last epoch, in per cent, by seed."""
    return {seed: run["accuracy"] for seed, run in runs.items()}


def padding(runs: Mapping[int, Result]) -> float:
    """Return the padded tokens of all the runs over their own tokens."""
    return fmean(run["padded_tokens"] / run["tokens"] for run in runs.values())


def table(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a row for each comparison."""
    pairs = [(by_seed(path, grouped=False), by_seed(path, grouped=True)) for path in paths]
    differences: list[Estimate] = []
    for plain, grouped in pairs:
        difference = paired_difference(accuracies(grouped), accuracies(plain))
        assert difference is not None, "both kinds have the same seeds"
        differences.append(difference)
    yield "| texts | in random order % | by length % | difference | p, adjusted | padding | by length | seeds |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    adjusted = holm([difference.p_value for difference in differences])
    for path, (plain, grouped), difference, p_value in zip(paths, pairs, differences, adjusted, strict=True):
        means = [f"{mean_interval(list(accuracies(runs).values())):.2f}" for runs in (plain, grouped)]
        ratios = [f"{padding(runs):.2f}" for runs in (plain, grouped)]
        cells = [path.parent.name, *means, f"{difference:+.2f}", f"{p_value:.2f}", *ratios, str(difference.num_seeds)]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(table([Path(argument) for argument in sys.argv[1:]])))
