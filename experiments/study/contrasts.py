"""The registered contrasts of a part: `python experiments/study/contrasts.py e1 runs/study/e1-*/results.json`.

Differences are paired by seed. Those marked P are a family, whose p-values are adjusted together (Holm).
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emprune.lab.comparison import outcome
from emprune.lab.config import RunConfig
from emprune.lab.statistics import holm, paired_difference

Config = Mapping[str, Any]
Setting = tuple[tuple[str, Any], ...]
Scores = dict[int, float]

VARIED = ("task", "keep", "epochs", "max_lr", "tail_fraction", "label_noise", "imbalance", "train_size")


@dataclass(frozen=True)
class Contrast:
    """`ours` minus `theirs`, the best of them where there are several.

    Args:
        ours: A method, or several of which the best counts.
        theirs: Likewise.
        primary: Whether it is in the family, given a setting.
        at_best: Each method at its best setting on a task, and not in every setting.
        where: The settings it is about.
    """

    ours: Sequence[str]
    theirs: Sequence[str]
    primary: Callable[[Config], bool] = lambda setting: True
    at_best: bool = False
    where: Callable[[Config], bool] = lambda setting: True


POOL, LOSS, RANDOM, INFO = ["emp:pool=2"], ["emp:beta=0:pool=2"], ["random-permutation"], "infobatch:normalize=true"
SECONDARY: Callable[[Config], bool] = lambda setting: False  # noqa: E731 - a constant among constants

PARTS: dict[str, list[Contrast]] = {
    "e1": [
        Contrast(LOSS, ["emp:pool=1"]),
        Contrast(POOL, LOSS),
        Contrast(["emp:beta=10:pool=2"], LOSS, SECONDARY),
        Contrast(["emp:beta=1000000:pool=2"], LOSS, SECONDARY),
    ],
    "e2": [
        Contrast(POOL, RANDOM, lambda setting: setting["epochs"] == 180),
        Contrast(["infobatch:normalize=true"], RANDOM, SECONDARY),
    ],
    "e3": [
        Contrast(POOL, RANDOM, at_best=True),
        Contrast([INFO], ["infobatch"], at_best=True),
        Contrast([INFO], ["infobatch"], SECONDARY),
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
        *(Contrast([name], POOL, SECONDARY, at_best=True) for name in ("emp-adaptive", "emp-review", "emp-sampled")),
    ],
}  # fmt: skip


def read(paths: Iterable[Path]) -> dict[tuple[Setting, str], Scores]:
    """Return what each method scored, by setting and seed."""
    runs: dict[tuple[Setting, str], Scores] = {}
    for path in paths:
        for run in json.loads(path.read_text())["runs"]:
            config = RunConfig.from_json(run["config"]).to_json()
            setting = tuple((name, config[name]) for name in VARIED)
            runs.setdefault((setting, config["method"]), {})[config["seed"]] = outcome(run)
    return runs


def best(runs: Mapping[tuple[Setting, str], Scores], methods: Sequence[str]) -> tuple[str, Scores]:
    """Return the best of all settings of some methods, in words, and its scores."""
    found = [(setting, method) for setting, method in runs if method in methods]
    setting, method = max(found, key=lambda place: sum(runs[place].values()) / len(runs[place]))
    own = dict(setting)
    return f"{method} (lr {own['max_lr']:g}, tail {own['tail_fraction']})", runs[setting, method]


def differences(
    runs: Mapping[tuple[Setting, str], Scores], contrast: Contrast
) -> Iterable[tuple[bool, str, Scores, Scores]]:
    """Return for each place of a contrast whether it is primary, what it is, and both sides' scores."""
    runs = {place: scores for place, scores in runs.items() if contrast.where(dict(place[0]))}
    groups: dict[Any, dict[tuple[Setting, str], Scores]] = {}
    for (setting, method), scores in runs.items():
        groups.setdefault(dict(setting)["task"] if contrast.at_best else setting, {})[setting, method] = scores
    for group in groups.values():
        methods = {method for _, method in group}
        if methods.isdisjoint(contrast.ours) or methods.isdisjoint(contrast.theirs):
            continue
        (ours, high), (theirs, low) = best(group, contrast.ours), best(group, contrast.theirs)
        common = dict(next(iter(group))[0])
        where = common["task"] if contrast.at_best else ", ".join(f"{name} {common[name]}" for name in VARIED[:-1])
        yield contrast.primary(common), f"{where}: {ours} − {theirs}", high, low


def main(part: str, paths: Sequence[Path]) -> None:
    """Print a part's contrasts."""
    runs = read(paths)
    found = [place for contrast in PARTS[part] for place in differences(runs, contrast)]
    estimates = [paired_difference(high, low) for _, _, high, low in found]
    p_values = [
        e.p_value if e is not None and primary else math.nan for e, (primary, *_) in zip(estimates, found, strict=True)
    ]
    for (primary, what, *_), e, p in zip(found, estimates, holm(p_values), strict=True):
        if e is not None:
            mark = f"P  adjusted p {p:.3f}" if primary else " " * 20
            print(f"{mark}  {e.mean:+.2f} ± {e.half_width:.2f}  ({e.num_seeds} seeds)  {what}")


if __name__ == "__main__":
    main(sys.argv[1], [Path(path) for path in sys.argv[2:]])
