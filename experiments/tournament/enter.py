"""Enter a method into the tournament, or print its table.

python experiments/tournament/enter.py emp:pool=2 --note "EMP with its default pool"
python experiments/tournament/enter.py
"""

import datetime
import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emprune import __version__
from emprune.methods.plugins import distributions_of, offered

HERE = Path(__file__).parent
ENTRIES = HERE / "entries"
BASELINE = "random-permutation"
ONLY_BASELINE = f'methods = ["{BASELINE}"]'

SIGMA = {"fashion-mnist": 0.447, "cifar10": 1.212}
"""In points of accuracy: the standard deviation over seeds of one paired difference to random permutation. The root of
the mean variance of the ten rows in E1 of the study (experiments/study/e1-*, ten seeds each, version 0.1)."""

THRESHOLD = 1.645
"""z of a one-sided 5 %."""

BySeed = Mapping[str, float]


def gains(entry: Mapping[str, Any], task: str) -> list[float]:
    """Return each seed's accuracy minus that of random permutation, in points."""
    mine, baseline = entry["accuracy"][task], entry["baseline"][task]
    return [mine[seed] - baseline[seed] for seed in baseline]


def z_score(entry: Mapping[str, Any], task: str) -> float:
    """Return the mean gain in standard errors, by the σ that was fixed beforehand."""
    found = gains(entry, task)
    return statistics.fmean(found) * math.sqrt(len(found)) / SIGMA[task]


def smaller_z(entry: Mapping[str, Any]) -> float:
    """Return the smaller z of the two tasks, which decides."""
    return min(z_score(entry, task) for task in SIGMA)


def verdict(entry: Mapping[str, Any]) -> str:
    """Return what the inequality says."""
    z = smaller_z(entry)
    return "better on both" if z > THRESHOLD else "worse on one" if z < -THRESHOLD else "cannot tell"


def table(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, the highest of the smaller z first."""
    yield "| entry | Fashion-MNIST | CIFAR-10 | smaller z | verdict | entered | commit | note |"
    yield "| --- | ---: | ---: | ---: | --- | --- | --- | --- |"
    for entry in sorted(entries, key=smaller_z, reverse=True):
        cells = [f"`{entry['method']}`"]
        cells += [f"{statistics.fmean(gains(entry, task)):+.2f} (z {z_score(entry, task):+.1f})" for task in SIGMA]
        cells += [f"{smaller_z(entry):+.2f}", verdict(entry), entry["date"]]
        yield f"| {' | '.join([*cells, entry['versions']['commit'][:7], entry['note']])} |"


def measured(method: str, task: str, *, out: Path, jobs: int) -> dict[str, list[Mapping[str, Any]]]:
    """Make the runs of random permutation and a method that are missing, and return both methods' runs, by method."""
    methods = list(dict.fromkeys((BASELINE, method)))
    rules = (HERE / f"{task}.toml").read_text()
    assert ONLY_BASELINE in rules, "the entry's file differs from the registered one in its methods alone"
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{task}.toml"
    file.write_text(rules.replace(ONLY_BASELINE, f"methods = {json.dumps(methods)}"))
    folder = out / task
    command = [sys.executable, "-m", "emprune", "compare", "--experiment", str(file), "--out", str(folder)]
    status = subprocess.run([*command, "--jobs", str(jobs)], check=False).returncode
    if status:
        raise typer.Exit(status)  # the command said why
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in json.loads((folder / "results.json").read_text())["runs"]:
        runs.setdefault(run["method"], []).append(run)
    return runs


def entered(method: str, note: str, *, out: Path, jobs: int) -> dict[str, Any]:
    """Return an entry: the accuracies of a method and of random permutation, and where they are from."""
    accuracy: dict[str, BySeed] = {}
    baseline: dict[str, BySeed] = {}
    for task in SIGMA:
        runs = measured(method, task, out=out, jobs=jobs)
        baseline[task] = by_seed(runs[BASELINE])
        (mine,) = [of_method for name, of_method in runs.items() if name != BASELINE] or [runs[BASELINE]]
        accuracy[task] = by_seed(mine)
    name = mine[0]["settings"]["method"]["name"]
    return {
        "method": mine[0]["method"],
        "note": note,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "from": distributions_of(name) if name in offered() else f"emprune {__version__}",
        "versions": mine[0]["versions"],
        "machine": mine[0]["machine"],
        "accuracy": accuracy,
        "baseline": baseline,
    }


def by_seed(runs: list[Mapping[str, Any]]) -> BySeed:
    """Return the accuracy on the validation part after the last epoch, in per cent, by seed."""
    return {str(run["settings"]["seed"]): run["validation_accuracy"] for run in runs}


def main(
    method: Annotated[str | None, typer.Argument(help="A method and its options; none prints the table.")] = None,
    note: Annotated[str, typer.Option(help="What the method is, in a few words, for the table.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are not made again.")] = Path(
        "runs/tournament"
    ),
    jobs: Annotated[int, typer.Option(help="Runs at a time, of one thread each.")] = 2,
) -> None:
    """Enter a method into the tournament: about a quarter of an hour on two cores. Then print the table."""
    if method is not None:
        entry = entered(method, note, out=out, jobs=jobs)
        ENTRIES.mkdir(exist_ok=True)
        path = ENTRIES / f"{re.sub('[^a-z0-9.=-]+', '-', entry['method'].lower())}.json"
        path.write_text(json.dumps(entry, indent=1) + "\n")
    entries = [json.loads(path.read_text()) for path in sorted(ENTRIES.glob("*.json"))]
    print("\n".join(table(entries)))


if __name__ == "__main__":
    typer.run(main)
