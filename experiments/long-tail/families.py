"""Print the long tail's table: accuracy, what quotas change, and what each method gains over class-balanced sampling.

python experiments/long-tail/families.py experiments/long-tail/*.json
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emprune_lab.comparison.statistics import Estimate, holm, mean_interval, paired_difference

BALANCED = "random-permutation@equal"

BySeed = Mapping[int, float]


def accuracies(paths: Iterable[Path]) -> dict[str, dict[int, float]]:
    """Return the accuracy on the test set after the last epoch, in per cent, by method and seed."""
    found: dict[str, dict[int, float]] = {}
    for path in paths:
        for run in json.loads(path.read_text())["runs"]:
            found.setdefault(run["method"], {})[run["settings"]["seed"]] = run["accuracy"]
    return found


def family(pairs: Mapping[str, tuple[BySeed, BySeed]]) -> dict[str, str]:
    """Return the paired differences of some pairs, with p-values that are adjusted for all of them (Holm)."""
    differences: dict[str, Estimate] = {}
    for name, (one, other) in pairs.items():
        difference = paired_difference(one, other)
        assert difference is not None, "all methods have the same seeds"
        differences[name] = difference
    adjusted = holm([difference.p_value for difference in differences.values()])
    return {
        name: f"{difference:+.2f} (p {p_value:.3f})"
        for (name, difference), p_value in zip(differences.items(), adjusted, strict=True)
    }


def table(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a row for each method."""
    found = accuracies(paths)
    free = {name: name.partition("@")[0] for name in found if "@" in name}
    quotas = family({name: (found[name], found[plain]) for name, plain in free.items()})
    gains = family({name: (runs, found[BALANCED]) for name, runs in found.items() if name != BALANCED})
    yield "| method | accuracy % | minus the same without quotas | minus class-balanced sampling | seeds |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in found.items():
        cells = [f"`{name}`", f"{mean_interval(list(runs.values())):.2f}", quotas.get(name, ""), gains.get(name, "")]
        yield f"| {' | '.join([*cells, str(len(runs))])} |"


if __name__ == "__main__":
    print("\n".join(table(map(Path, sys.argv[1:]))))
