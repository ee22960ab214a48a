"""The tables of the label errors, from the results of label sets that have every registered seed.

python experiments/label-errors/label_table.py
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from emprune_lab.comparison.statistics import mean_interval, paired_difference
from label_campaign import FOLD_RUNS, GUARD_RUNS, HERE, SEEDS, SIGNAL_RUNS, WORTH, Unit, registered
from label_measures import COMBINATIONS, SIGNALS
from label_sets import HUMAN_10

CLEANLAB = ("confident_learning", "normalized_margin", "self_confidence", "confidence_weighted_entropy")
PRUNED = ("emp", "random-permutation", "emp-gap")
TUNED_ON = "fashion-mnist"
NEAR = 5.0
"""Points of average precision below cleanlab that the amendment allows."""
Runs = Mapping[int, Mapping[str, Any]]
"""The runs of a stage and label set, by seed and name."""


def complete(results: Path, stage: str) -> dict[str, Runs]:
    """Return the runs of every label set that has all registered seeds of a stage."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for unit in registered([stage]):
        runs = runs_of(results / unit.path, unit)
        if runs is not None:
            found.setdefault(unit.label_set, {})[unit.seed] = runs
    return {name: by_seed for name, by_seed in found.items() if len(by_seed) == len(SEEDS)}


def runs_of(path: Path, unit: Unit) -> Mapping[str, Any] | None:
    """Return the runs of a file; None unless it has all of its unit's."""
    if not path.is_file():
        return None
    runs: Mapping[str, Any] = json.loads(path.read_text())["runs"]
    return runs if set(unit.runs) <= set(runs) else None


def averages(runs: Runs, run: str, signal: str) -> dict[int, float]:
    """Return the average precision by seed, in per cent."""
    return {seed: 100 * of_seed[run]["precision"][signal]["average"] for seed, of_seed in runs.items()}


def best_of(runs: Runs, run: str, signals: Sequence[str]) -> str:
    """Return the signal with the highest mean average precision."""
    return max(signals, key=lambda signal: statistics.fmean(averages(runs, run, signal).values()))


def grid(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goal(signals: Mapping[str, Runs], folds: Mapping[str, Runs], signal: str, *, ours: str = "emp") -> str:
    """Return one run at keep 0.3 against cleanlab, whose best ranking of each label set counts."""

    def rows() -> Iterator[list[str]]:
        for name in sorted(signals.keys() & folds.keys()):
            found = averages(signals[name], ours, signal)
            row = [name, f"{mean_interval(list(found.values())):.1f}"]
            for run in FOLD_RUNS:
                ranking = best_of(folds[name], run, CLEANLAB)
                theirs = averages(folds[name], run, ranking)
                row += [f"{mean_interval(list(theirs.values())):.1f} ({ranking})"]
                row += [f"{paired_difference(found, theirs):+.1f}"]
            costs = [runs[ours]["visits"] / folds[name][s]["cleanlab"]["visits"] for s, runs in signals[name].items()]
            yield [*row, f"{statistics.fmean(costs):.3f}"]

    runs = (head for run in FOLD_RUNS for head in (run, "difference"))
    heads = ["", f"{ours}, keep 0.3, {signal}", *runs, "visits / cleanlab"]
    return grid(heads, rows())


def amended(signals: Mapping[str, Runs], folds: Mapping[str, Runs], signal: str) -> str:
    """Return what the amendment asks of random permutation on the labels of people: is it above EMP, near cleanlab?"""

    def rows() -> Iterator[list[str]]:
        for name in sorted(signals.keys() & folds.keys() & set(HUMAN_10)):
            found = averages(signals[name], "random-permutation", signal)
            above = paired_difference(found, averages(signals[name], "emp", signal))
            near = paired_difference(
                found, averages(folds[name], "cleanlab", best_of(folds[name], "cleanlab", CLEANLAB))
            )
            holds = above and near and above.mean - above.half_width > 0 and near.mean >= -NEAR
            yield [name, f"{above:+.1f}", f"{near:+.1f}", "yes" if holds else "no"]

    return grid(["", "minus emp", "minus cleanlab", "holds"], rows())


def by_signal(runs: Runs, measure: str) -> str:
    """Return a label set's signals in rows, and its runs in columns, in per cent."""

    def rows() -> Iterator[list[str]]:
        for signal in (*SIGNALS, "aum", *COMBINATIONS):
            cells = [
                mean_interval([100 * of_seed[run]["precision"][signal][measure] for of_seed in runs.values()])
                for run in SIGNAL_RUNS
            ]
            yield [signal, *(f"{cell:.1f}" for cell in cells)]

    return grid(["", *(f"{name}, keep {keep:g}" for name, (_, keep) in SIGNAL_RUNS.items())], rows())


def by_label_set(signals: Mapping[str, Runs], runs: Sequence[str], columns: Sequence[str]) -> str:
    """Return mean average precision in per cent, by label set and run in rows, and by signal in columns."""

    def rows() -> Iterator[list[str]]:
        for name, of_seed in signals.items():
            for run in runs:
                cells = (mean_interval(list(averages(of_seed, run, signal).values())) for signal in columns)
                yield [name, run, *(f"{cell:.1f}" for cell in cells)]

    return grid(["", "run", *columns], rows())


def first_of(signals: Mapping[str, Runs], folds: Mapping[str, Runs], signal: str) -> str:
    """Return the share of wrong labels among the first of one run of EMP, and of cleanlab's best ranking."""
    measures = ("first_1_percent", "first_5_percent", "as_many")

    def rows() -> Iterator[list[str]]:
        for name in sorted(signals.keys() & folds.keys()):
            ranking = best_of(folds[name], "cleanlab", CLEANLAB)
            row = [name]
            for measure in measures:
                for runs, run, by in ((signals[name], "emp", signal), (folds[name], "cleanlab", ranking)):
                    values = [100 * of_seed[run]["precision"][by][measure] for of_seed in runs.values()]
                    row.append(f"{mean_interval(values):.1f}")
            yield row

    heads = [
        f"{measure.replace('_', ' ').replace(' percent', ' %')}, {who}"
        for measure in measures
        for who in ("EMP", "cleanlab")
    ]
    return grid(["", *heads], rows())


def means_by_task(signals: Mapping[str, Runs]) -> dict[str, dict[str, float]]:
    """Return each task's mean average precision of each signal over its label sets, seeds and runs at keep 0.3."""
    tasks: dict[str, dict[str, float]] = {}
    for task in sorted({name.split(":")[0] for name in signals}):
        sets = [runs for name, runs in signals.items() if name.split(":")[0] == task]
        tasks[task] = {
            signal: statistics.fmean(v for runs in sets for run in PRUNED for v in averages(runs, run, signal).values())
            for signal in (*SIGNALS, *COMBINATIONS)
        }
    return tasks


def chosen(tasks: Mapping[str, Mapping[str, float]]) -> tuple[str, bool]:
    """Return the signal or combination that is best on Fashion-MNIST, and whether it beats each signal elsewhere."""
    best = max(tasks[TUNED_ON], key=lambda name: tasks[TUNED_ON][name])
    others = [values for task, values in tasks.items() if task != TUNED_ON]
    beats = all(values[best] >= max(values[signal] for signal in SIGNALS) for values in others)
    return best, bool(others) and beats


def worth(signals: Mapping[str, Runs], retrained: Mapping[str, Runs]) -> str:
    """Return the accuracy as it is, and how much a second training changes it."""

    def rows() -> Iterator[list[str]]:
        for name in sorted(signals.keys() & retrained.keys()):
            plain = {seed: runs["full"]["accuracy"] for seed, runs in signals[name].items()}
            row = [name, f"{mean_interval(list(plain.values())):.2f}"]
            for run in WORTH:
                again = {seed: runs[run]["accuracy"] for seed, runs in retrained[name].items()}
                row.append(f"{paired_difference(again, plain):+.2f}")
            yield row

    return grid(["", "full training, %", *WORTH], rows())


def guarded(runs: Mapping[str, Runs]) -> str:
    """Return the accuracy of random permutation at keep 0.3, and how far EMP and the guards are from it."""

    def rows() -> Iterator[list[str]]:
        for name, by_seed in runs.items():
            found = {run: {seed: of[run]["accuracy"] for seed, of in by_seed.items()} for run in GUARD_RUNS}
            baseline, *others = GUARD_RUNS
            differences = (f"{paired_difference(found[run], found[baseline]):+.2f}" for run in others)
            gain = f"{paired_difference(found['emp-guard'], found['emp']):+.2f}"
            yield [name, f"{mean_interval(list(found[baseline].values())):.2f}", *differences, gain]

    return grid(["", f"{next(iter(GUARD_RUNS))}, %", *list(GUARD_RUNS)[1:], "emp-guard minus emp"], rows())


def main(
    results: Annotated[Path, typer.Option(help="The folder of results.")] = HERE / "results",
    every: Annotated[bool, typer.Option("--all", help="Also every signal, combination, run and measure.")] = False,
) -> None:
    """Print what is complete."""
    signals, folds, retrained = (complete(results, stage) for stage in ("signals", "cleanlab", "worth"))
    typer.echo(f"### Average precision in per cent, seeds {', '.join(map(str, SEEDS))}\n")
    typer.echo(goal(signals, folds, SIGNALS[0]) + "\n")
    typer.echo("The same of random permutation. It was registered for the labels of people alone, by the amendment:\n")
    typer.echo(goal(signals, folds, SIGNALS[0], ours="random-permutation") + "\n")
    if signals.keys() & folds.keys() & set(HUMAN_10):
        typer.echo("What the amendment asks of random permutation:\n")
        typer.echo(amended(signals, folds, SIGNALS[0]) + "\n")
    tasks = means_by_task(signals)
    typer.echo("### Wrong labels among the first, in per cent\n")
    typer.echo(first_of(signals, folds, SIGNALS[0]) + "\n")
    if TUNED_ON in tasks:
        best, beats = chosen(tasks)
        typer.echo("### By signal: average precision in per cent of EMP's run at keep 0.3\n")
        typer.echo(by_label_set(signals, ["emp"], [*dict.fromkeys([*SIGNALS, "aum", best])]) + "\n")
        typer.echo(f"Best on {TUNED_ON}: {best}. Better than each signal on every other task: {beats}.\n")
        typer.echo(f"### By run: average precision in per cent, by {SIGNALS[0]} and by AUM\n")
        typer.echo(by_label_set(signals, list(SIGNAL_RUNS), [SIGNALS[0], "aum"]) + "\n")
    typer.echo("### Test accuracy, and its change after a second training\n")
    typer.echo(worth(signals, retrained) + "\n")
    typer.echo("### A guard: test accuracy, and points above random permutation\n")
    typer.echo(guarded(complete(results, "guard")) + "\n")
    for name, runs in signals.items() if every else ():
        for measure in ("average", "first_1_percent", "first_5_percent", "as_many"):
            typer.echo(f"### {name}: {measure.replace('_', ' ')}\n\n{by_signal(runs, measure)}\n")


if __name__ == "__main__":
    typer.run(main)
