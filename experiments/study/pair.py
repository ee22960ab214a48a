"""Print how two settings of the study differ, paired by seed: the outcome, the losses and the fitted share at the end.

python experiments/study/pair.py "emp:pool=2 tail_fraction=0.25" "emp:pool=2 tail_fraction=0" \
    experiments/study/e1-*/results.json
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from contrasts import VARIED, Runs, Setting, read
from emprune_lab.comparison.statistics import mean_interval
from evidence import Result, held_out_loss, outcome


@dataclass(frozen=True)
class Side:
    """A method, and the settings in which it is compared."""

    method: str
    fixed: dict[str, Any]

    def at(self, runs: Runs) -> dict[Setting, dict[int, Result]]:
        """Return its results in each of the settings that it leaves open."""
        found = {}
        for (setting, method), own in runs.items():
            if method == self.method and self.fixed.items() <= dict(setting).items():
                found[setting] = own
        return found


Measure = tuple[Callable[[Result], float], str]
"""What is measured, and how it is written."""

MEASURES: dict[str, Measure] = {
    "outcome": (outcome, ".2f"),
    "training loss": (lambda result: float(result.get("probe_loss", math.nan)), ".3f"),
    "held-out loss": (held_out_loss, ".3f"),
    "fitted share": (lambda result: float(result.get("fitted_fraction", math.nan)), ".3f"),
}


def parse(text: str) -> Side:
    """Read a method, followed by settings."""
    method, *words = text.split()
    fixed: dict[str, Any] = {}
    for name, _, value in (word.partition("=") for word in words):
        if name not in VARIED:
            raise typer.BadParameter(f"a setting must be one of {', '.join(VARIED)}; got {name!r} in {text!r}.")
        try:
            fixed[name] = value if name == "task" else json.loads(value)
        except json.JSONDecodeError:
            raise typer.BadParameter(f"{name} must be a number; got {value!r} in {text!r}.") from None
    return Side(method, fixed)


def mean_accuracy_of(classes: Sequence[int]) -> Measure:
    """Measure the mean accuracy of some classes on the test set."""
    return lambda result: fmean(result["class_accuracy"][label] for label in classes), ".2f"


def differences(ours: dict[int, Result], theirs: dict[int, Result], measures: Mapping[str, Measure]) -> str:
    """Return both sides' means and their paired difference, of all that was measured."""
    common = ours.keys() & theirs.keys()
    if not common:
        raise typer.BadParameter("the two have no seed in common.")
    words = []
    for name, (measure, digits) in measures.items():
        high, low = ([measure(side[seed]) for seed in sorted(common)] for side in (ours, theirs))
        if any(map(math.isnan, [*high, *low])):  # not of this task, or older runs
            continue
        gap = mean_interval([a - b for a, b in zip(high, low, strict=True)])
        mean = f"{fmean(high):{digits}} for {fmean(low):{digits}}"
        words.append(f"{name} {mean}, {gap:+{digits}}")
    return f"{'; '.join(words)} ({len(common)} seeds)"


def main(
    ours: Annotated[str, typer.Argument(help="A method, then settings that single out runs: name=value.")],
    theirs: Annotated[str, typer.Argument(help="What it is compared with, likewise.")],
    paths: Annotated[list[Path], typer.Argument(help="The comparisons' results.json.", exists=True)],
    classes: Annotated[
        list[int] | None, typer.Option("--class", help="One of the classes whose mean test accuracy is compared, too.")
    ] = None,
) -> None:
    """Compare two settings wherever all that neither of them names is the same, the first minus the second."""
    runs = read(paths)
    first, second = parse(ours), parse(theirs)
    named = first.fixed.keys() | second.fixed.keys()
    pairs = [
        (dict(here), high, low)
        for here, high in first.at(runs).items()
        for there, low in second.at(runs).items()
        if all(name in named or value == dict(there)[name] for name, value in here)
    ]
    if not pairs:
        raise typer.BadParameter(f"no runs of {ours!r} and {theirs!r} are alike in all else.")
    measures = MEASURES | ({"accuracy of the classes": mean_accuracy_of(classes)} if classes else {})
    for setting, high, low in pairs:
        where = ", ".join(
            f"{name} {setting[name]}" for name in VARIED if name not in named and setting[name] is not None
        )
        typer.echo(f"{where}: {differences(high, low, measures)}")


if __name__ == "__main__":
    typer.run(main)
