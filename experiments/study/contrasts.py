"""Print the registered contrasts of a part, from the results of its comparisons.

python experiments/study/contrasts.py e1 runs/study/e1-*/results.json
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import typer
from emprune_lab.comparison.statistics import Estimate, holm, paired_difference
from evidence import Result, held_out_loss, outcome, read_runs
from scipy.stats import permutation_test, rankdata

Config = Mapping[str, Any]
Setting = tuple[tuple[str, Any], ...]
Runs = dict[tuple[Setting, str], dict[int, Result]]

VARIED = ("task", "keep", "epochs", "max_lr", "tail_fraction", "label_noise", "imbalance", "train_size")
POOL, LOSS, RANDOM = ["emp:pool=2"], ["emp:beta=0:pool=2"], ["random-permutation"]
INFOBATCH, NORMALISED = ["infobatch"], ["infobatch:normalize=true"]
RIVALS = [*RANDOM, *INFOBATCH, *NORMALISED, "greedy", "ucb:c=3", "epsilon-greedy"]
"""With the options that tuning chose."""

REPLAYED = [
    "emp-adaptive:replay=1.0/1.4/2.0/2.4/2.7/3.0/3.2/3.3/3.4",
    "emp-adaptive:replay=1.0/1.1/1.4/1.8/2.2/2.6/3.0/3.4/3.4",
]
"""A with the pools that it had on the other task: on CIFAR-10 and on Fashion-MNIST."""

CONTROLS = [
    "emp-adaptive:replay=1/4", *REPLAYED, "emp-review:spaced=false", "emp-sampled:alpha=0", "emp-sampled:alpha=1",
]  # fmt: skip

MOST_ORDERS = 50_000
"""Above the 8! of eight cells, so that all of them are tried."""


def never(setting: Config) -> bool:
    """For what is in no family."""
    return False


def recalibrated_gain(result: Result) -> float:
    """What re-estimated batch norm gives a run, on the test set."""
    return float(result["accuracy_recalibrated"]) - float(result["accuracy"])


@dataclass(frozen=True)
class Contrast:
    """`ours` minus `theirs`, the best of them where there are several.

    Args:
        ours: A method, or several of which the best counts.
        theirs: Likewise.
        primary: Whether it is in the family, given a setting.
        at_best: Each method at its best setting on a task at a keep, and not in every setting.
        where: The settings it is about.
        measure: What of a run is compared.
        above: What the whole interval is to lie above, where that is the question.
    """

    ours: Sequence[str]
    theirs: Sequence[str]
    primary: Callable[[Config], bool] = lambda setting: True
    at_best: bool = False
    where: Callable[[Config], bool] = lambda setting: True
    measure: Callable[[Result], float] = outcome
    above: float | None = None


@dataclass(frozen=True)
class Finding:
    """A contrast at one place, or another test: what it is, what was found, and its p-value, nan outside the family."""

    what: str
    found: str
    p_value: float


def judgement(ours: Sequence[str], infobatch: str) -> list[Contrast]:
    """The judgement's questions: not worse than any rival, better at keep 0.1, and near full training at keep 0.3."""
    rivals = [*([rival] for rival in RIVALS), ["emp:pool=none", "emp:beta=5:pool=none"]]  # a task has one of the two
    return [
        *(Contrast(ours, rival, never, at_best=True, above=-0.3) for rival in rivals if set(rival).isdisjoint(ours)),
        *(Contrast(ours, [rival], at_best=True, where=lambda s: s["keep"] == 0.1) for rival in (*RANDOM, infobatch)),
        Contrast(ours, ["full"], never, at_best=True, where=lambda s: s["keep"] == 0.3, above=-0.5),
    ]


PARTS: dict[str, list[Contrast]] = {
    "e1": [
        Contrast(LOSS, ["emp:pool=1"]),
        Contrast(POOL, LOSS),
        Contrast(["emp:beta=10:pool=2"], LOSS, never),
        Contrast(["emp:beta=1000000:pool=2"], LOSS, never),
    ],
    "e2": [
        Contrast(POOL, RANDOM, lambda setting: setting["epochs"] == 180),
        Contrast(NORMALISED, RANDOM, never),
    ],
    "e3": [
        Contrast(POOL, RANDOM, at_best=True),
        Contrast(NORMALISED, INFOBATCH, at_best=True),
        Contrast(NORMALISED, INFOBATCH, never),
        Contrast(POOL, RANDOM, never, measure=recalibrated_gain),
    ],
    "e4": [
        Contrast(["greedy"], RANDOM, lambda setting: setting["label_noise"] == 0.4),
        Contrast(POOL, LOSS, lambda setting: setting["label_noise"] == 0.4),
        Contrast(POOL, RANDOM, lambda setting: setting["label_noise"] == 0.4 or setting["imbalance"] > 1),
    ],
    "e5": [
        Contrast(["emp-adaptive"], [*POOL, "emp:pool=3", "emp:pool=4", "emp-adaptive:replay=1/4"], at_best=True),
        Contrast(["emp-review"], ["emp-review:spaced=false"], at_best=True),
        Contrast(
            ["emp-sampled"], ["emp-sampled:alpha=0", "emp-sampled:alpha=1"], at_best=True,
            where=lambda setting: setting["tail_fraction"] == 0,
        ),
        *(Contrast([name], POOL, never, at_best=True) for name in ("emp-adaptive", "emp-review", "emp-sampled")),
        Contrast(["emp-adaptive"], REPLAYED, never, at_best=True),
    ],
}  # fmt: skip


def read(paths: Iterable[Path]) -> Runs:
    """Return the results of each method, by setting and seed. Full training is in every setting of its task.

    A method's name is without the memory term that its task's objective has anyway.
    """
    found: Runs = {}
    for path in paths:
        for run in read_runs(path):
            config = run["config"]
            setting = tuple((name, config[name]) for name in VARIED)
            usual = "instance-entropy" if config["task"].startswith("simclr") else "prediction-entropy"
            method = config["method"].replace(f":memory={usual}", "")
            own = found.setdefault((setting, method), {})
            known = own.setdefault(config["seed"], run)
            if outcome(known) != outcome(run):
                raise typer.BadParameter(
                    f"{method}, seed {config['seed']}, has two results on {config['task']}, {outcome(known)} and "
                    f"{outcome(run)}: leave out {path} or an earlier file."
                )
    for task, number in Counter(dict(setting)["task"] for setting, method in found if method == "full").items():
        if number > 1:
            raise typer.BadParameter(f"Full training was run with {number} settings on {task}: leave it in one file.")
    settings = dict.fromkeys(setting for setting, method in found if method != "full")
    return {
        (setting, method): runs
        for (own, method), runs in found.items()
        for setting in ([s for s in settings if s[0] == own[0]] if method == "full" else [own])
    }


@dataclass(frozen=True)
class Difference:
    """What a contrast comes to at one place, of which `setting` is a part: who was compared, and the estimate."""

    setting: Config
    ours: str
    theirs: str
    estimate: Estimate


def differences(runs: Runs, contrast: Contrast) -> Iterator[Difference]:
    """Return what a contrast comes to at each place that has runs of both sides."""
    groups: dict[Any, dict[tuple[Setting, str], dict[int, float]]] = {}
    for (setting, method), own in runs.items():
        config = dict(setting)
        if contrast.where(config):
            place = (config["task"], config["keep"]) if contrast.at_best else setting
            scores = {seed: contrast.measure(result) for seed, result in own.items()}
            groups.setdefault(place, {})[setting, method] = scores
    for group in groups.values():
        methods = {method for _, method in group}
        if methods.isdisjoint(contrast.ours) or methods.isdisjoint(contrast.theirs):
            continue
        ours, high = best(group, contrast.ours, at_best=contrast.at_best)
        theirs, low = best(group, contrast.theirs, at_best=contrast.at_best)
        estimate = paired_difference(high, low)
        if estimate is not None:
            yield Difference(dict(next(iter(group))[0]), ours, theirs, estimate)


def findings(runs: Runs, contrast: Contrast) -> Iterator[Finding]:
    """Return what a contrast finds at each of its places, which are named by what differs among all runs."""
    settings = [dict(setting) for setting, _ in runs]
    differing = [name for name in VARIED if len({setting[name] for setting in settings}) > 1]
    names = ["keep"] if contrast.at_best else [name for name in differing if name not in ("task", "train_size")]
    for found in differences(runs, contrast):
        where = ", ".join([found.setting["task"], *(f"{name} {found.setting[name]}" for name in names)])
        p_value = found.estimate.p_value if contrast.primary(found.setting) else math.nan
        words = in_words(found.estimate, contrast.above)
        yield Finding(f"{where}: {found.ours} − {found.theirs}", words, p_value)


def best(
    group: Mapping[tuple[Setting, str], dict[int, float]], methods: Sequence[str], *, at_best: bool
) -> tuple[str, dict[int, float]]:
    """Return the best of all settings of some methods, in words, and its scores."""
    own = {place: scores for place, scores in group.items() if place[1] in methods}
    setting, method = max(own, key=lambda place: fmean(own[place].values()))
    return placed(method, setting) if at_best else method, group[setting, method]


def placed(method: str, setting: Setting) -> str:
    """Return a method with the peak and the tail that it was run with; not full training, which is in all settings."""
    if method == "full":
        return method
    at = dict(setting)
    return f"{method} (lr {at['max_lr']:g}, tail {at['tail_fraction']})"


def in_words(difference: Estimate, above: float | None) -> str:
    """Return a difference with its interval, and whether that lies above a bound.

    Runs that are the same on every seed, as where there is nothing to choose, have no interval: their difference is 0.
    """
    identical = difference.mean == 0 and math.isnan(difference.half_width)
    spread = "identical" if identical else f"± {difference.half_width:.2f}"
    said = f"{difference.mean:+.2f} {spread}  ({difference.num_seeds} seeds)"
    if above is None:
        return said
    is_above = above < 0 if identical else difference.is_above(above)
    return f"{said}  above {above:+}: {'yes' if is_above else 'no'}"


def finalist_of(runs: Runs) -> Finding:
    """Name the setting of the highest mean over the tasks, each at its better tail, and compare it to `emp:pool=2`."""
    tasks: dict[str, dict[tuple[Setting, str], dict[int, float]]] = {}
    for (setting, method), own in runs.items():
        scores = {seed: outcome(result) for seed, result in own.items()}
        tasks.setdefault(dict(setting)["task"], {})[setting, method] = scores
    at_best: dict[str, dict[int, float]] = {}
    for method in dict.fromkeys(method for _, method in runs if method not in (*RANDOM, *CONTROLS)):
        chosen = [best(group, [method], at_best=True)[1] for group in tasks.values()]
        at_best[method] = {seed: fmean(scores[seed] for scores in chosen) for seed in chosen[0]}
    order = sorted(at_best, key=lambda method: -fmean(at_best[method].values()))
    gap = paired_difference(at_best[order[0]], at_best[POOL[0]])
    means = "; ".join(f"{method} {fmean(at_best[method].values()):.2f}" for method in order)
    found = "+0.00" if gap is None or order[0] == POOL[0] else in_words(gap, 0.0)
    return Finding(f"{order[0]} − {POOL[0]}, mean over the tasks, each at its better tail: {means}", found, math.nan)


def tuned(runs: Runs) -> Iterator[str]:
    """Return, for each family, all of its settings that both tasks have, by their mean over the tasks, the best first.

    Both normalisations of InfoBatch are judged, each as a family of its own.
    """
    tasks = {dict(setting)["task"] for setting, _ in runs}
    means: dict[str, dict[str, dict[str, float]]] = {}
    for (setting, method), own in runs.items():
        family = method if method.startswith("infobatch") else method.split(":")[0]
        place = means.setdefault(family, {}).setdefault(placed(method, setting), {})
        place[dict(setting)["task"]] = fmean(outcome(result) for result in own.values())
    for family, places in means.items():
        both = {place: fmean(found.values()) for place, found in places.items() if found.keys() == tasks}
        order = sorted(both, key=lambda place: -both[place])
        yield f"{family}: {'; '.join(f'{place} {both[place]:.2f}' for place in order)}"


def regime(runs: Runs) -> Iterator[Finding]:
    """Correlate EMP's gain with what random permutation has fitted, and with its gap, which is in no family."""
    fitted = correlation(runs, "fitted share", lambda result: float(result["fitted_fraction"]), "greater")
    gap = correlation(runs, "gap", lambda result: held_out_loss(result) - float(result["probe_loss"]), "less")
    yield fitted
    yield Finding(gap.what, f"{gap.found}, p {gap.p_value:.3f}", math.nan)


def correlation(
    runs: Runs, name: str, measure: Callable[[Result], float], alternative: Literal["less", "greater"]
) -> Finding:
    """Correlate, over the cells, EMP's gain with a measure of random permutation: Spearman's, tested exactly."""
    gains, measured = [], []
    for (setting, method), own in runs.items():
        rival = runs.get((setting, RANDOM[0]))
        if [method] == POOL and rival is not None:
            common = own.keys() & rival.keys()
            gains.append(fmean(outcome(own[seed]) - outcome(rival[seed]) for seed in common))
            measured.append(fmean(measure(result) for result in rival.values()))
    ranks = rankdata(gains)
    centred = (ranks - ranks.mean()) / (len(ranks) * ranks.std())
    test = permutation_test(
        (rankdata(measured),),
        lambda orders, axis: orders @ centred / orders.std(axis),  # Pearson's coefficient of all at once
        permutation_type="pairings",
        vectorized=True,
        alternative=alternative,
        n_resamples=MOST_ORDERS,
    )
    cells = "; ".join(f"{value:.2f} {gain:+.2f}" for value, gain in sorted(zip(measured, gains, strict=True)))
    return Finding(f"gain against {name}: {cells}", f"Spearman {test.statistic:+.2f}", float(test.pvalue))


def methods_by_task(runs: Runs) -> dict[str, set[str]]:
    """Return the methods that each task has runs of, the tasks by name."""
    found: dict[str, set[str]] = {}
    for setting, method in runs:
        found.setdefault(dict(setting)["task"], set()).add(method)
    return dict(sorted(found.items()))


def check_one_finalist_per_task(runs: Runs, finalist: Sequence[str]) -> None:
    """Refuse results in which a task has no finalist, or two of which the better would be taken."""
    for task, methods in methods_by_task(runs).items():
        present = methods & set(finalist)
        if len(present) != 1:
            got = " and ".join(sorted(present)) or "none"
            raise typer.BadParameter(f"`--finalist` must name one method of {task}; got {got}.")


def not_judged(runs: Runs, contrasts: Sequence[Contrast]) -> Iterator[str]:
    """Say which rivals a task has no runs of."""
    rivals = dict.fromkeys(tuple(contrast.theirs) for contrast in contrasts)
    for task, methods in methods_by_task(runs).items():
        missing = [" or ".join(theirs) for theirs in rivals if methods.isdisjoint(theirs)]
        if missing:
            yield f"NOT JUDGED on {task}, because it was not run: {', '.join(missing)}"


def main(
    part: Annotated[str, typer.Argument(help=f"{', '.join(PARTS)}, tuning or judge.")],
    paths: Annotated[list[Path], typer.Argument(help="The comparisons' results.json.", exists=True)],
    finalist: Annotated[list[str], typer.Option(help="Who is judged; again for a task of two classes.")] = POOL,
    infobatch: Annotated[str, typer.Option(help="Which InfoBatch is to be bettered.")] = NORMALISED[0],
) -> None:
    """Print the registered contrasts of a part, or the settings of each family that tuning is about, the best first.

    Differences are paired by seed. Those marked P are a family, whose p-values are adjusted together (Holm).
    """
    if part not in {*PARTS, "tuning", "judge"}:
        raise typer.BadParameter(f"`part` must be one of {', '.join(PARTS)}, tuning or judge; got {part!r}.")
    runs = read(paths)
    if part == "tuning":
        for line in tuned(runs):
            typer.echo(line)
        return
    contrasts = judgement(finalist, infobatch) if part == "judge" else PARTS[part]
    if part == "judge":
        check_one_finalist_per_task(runs, finalist)
        for line in not_judged(runs, contrasts):
            typer.echo(line)
    found = [finding for contrast in contrasts for finding in findings(runs, contrast)]
    if part == "e5":
        found.append(finalist_of(runs))
    if part == "e2":
        found.extend(regime(runs))
    for finding, p in zip(found, holm([finding.p_value for finding in found]), strict=True):
        mark = " " * 20 if math.isnan(p) else f"P  adjusted p {p:.3f}"
        typer.echo(f"{mark}  {finding.found}  {finding.what}")


if __name__ == "__main__":
    typer.run(main)
