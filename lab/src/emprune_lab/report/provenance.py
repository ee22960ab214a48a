"""Where a section's numbers come from, and how to make them again."""

import dataclasses
import os
import shlex
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emprune.errors import EmpruneError
from emprune_lab.comparison.table import NOTHING, long_duration
from emprune_lab.declaration import DIGESTS, FIELDS, OPTIONS
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.sections import NOT_COMPARED, CostGroup, Section
from emprune_lab.tasks import Task, get_task

__all__ = ["commands", "facts", "options_of", "sample_files"]

AGAIN = "runs/again"
"""Where commands that make runs again put them."""

MACHINE = {
    "device_name": "{}", "precision": "{}", "system": "{}", "architecture": "{}", "cpu_count": "{} CPUs",
    "num_ranks": "{} ranks", "world_size": "{} ranks",
}  # fmt: skip
"""What is said of a machine. Version 0.1 wrote `num_ranks` for `world_size`."""


def facts(section: Section) -> list[tuple[str, str]]:
    """Return names and values: seeds, settings, versions, commits, machines."""
    runs = section.runs
    names = [name for name in FIELDS if name not in NOT_COMPARED]
    sizes = sorted({int(run.result["num_train"]) for run in runs})
    seconds = sum(float(run.result["train_seconds"]) + float(run.result.get("evaluation_seconds", 0)) for run in runs)
    versions = sorted({name for run in runs for name in run.result["versions"] if name != "commit"})
    return [
        ("runs", f"{len(runs)}, {long_duration(seconds)} in all"),
        ("seeds", _seeds(runs)),
        ("training samples", " or ".join(f"{size:,}" for size in sizes)),
        *((name.replace("_", " "), _text(runs[0].config[name])) for name in names),
        *(
            (name, _distinct(run.result["versions"].get(name, "not recorded") for run in runs))
            for name in [*versions, "commit"]
        ),
        ("machine", _distinct(_machine(run.result["machine"]) for run in runs)),
    ]


def commands(section: Section) -> list[str]:
    """Return what makes the section's runs again: costs that differ in keep alone share a command.

    Several commands fill one folder, and each replaces the table of the one before. So the last is a report of all.
    """
    if len(section.runs) == 1:
        return [_run_command(section.groups[0])]
    alike: dict[tuple[str, ...], list[CostGroup]] = {}
    for group in section.groups:
        alike.setdefault(tuple(_comparisons(group, keep="any")), []).append(group)
    made = []
    for groups in alike.values():
        made += _comparisons(groups[0], keep=",".join(str(group.cost.get("keep")) for group in groups))
    return made if len(made) == 1 else [*made, shlex.join(["emprune", "report", AGAIN])]


def options_of(
    config: Mapping[str, Any],
    *,
    without: Sequence[str] = (),
    task: Task | None = None,
    known: Sequence[str] = OPTIONS,
) -> tuple[list[str], list[str]]:
    """Return the options that make a run's settings, and those settings that no option makes, as `name=value`.

    Args:
        config: Every setting by its name, and the task.
        without: Settings that are left out.
        task: The task, where it is at hand; None looks it up.
        known: The settings that the command has options for.
    """
    recipe, recipe_settings = _recipe(config, task)
    defaults = {name: field.default for name, field in FIELDS.items() if not field.is_required()}
    usual = {**defaults, **recipe_settings}
    options = ["--recipe", recipe] if recipe != "default" else []
    for name in known:
        value = config[name]
        if value is not None and value != usual.get(name) and name not in without:
            options += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    others = [f"{n}={config[n]}" for n in usual if n not in (*known, *DIGESTS) and config[n] != usual[n]]
    return options, others


def sample_files(section: Section, out: Path) -> list[tuple[str, str]]:
    """Return the run of each samples.parquet, and a link to it that is relative to the report's folder."""
    return [
        (f"{run.method}, seed {run.seed}", _link(run.folder / "samples.parquet", out))
        for run in section.runs
        if run.folder is not None and run.samples is not None
    ]


def _link(file: Path, out: Path) -> str:
    """Return a relative link, whatever the names of folders look like: `javascript:...` is one, and none to follow."""
    return "./" + urllib.parse.quote(os.fsencode(Path(os.path.relpath(file, out)).as_posix()))


def _run_command(group: CostGroup) -> str:
    config = group.runs[0].config
    options, others = options_of(config, without=_without(group), known=(*OPTIONS, "threads"))
    own = ["run", config["task"], "--method", config["method"], "--seed", str(config["seed"])]
    return _joined([*own, *options], others)


def _comparisons(group: CostGroup, *, keep: str) -> list[str]:
    """A command for each range of seeds, at one keep or at several, separated by commas."""
    pruned = [run for run in group.runs if run.method != "full"]
    config = (pruned or group.runs)[0].config
    options, others = options_of({**config, "keep": keep}, without=_without(group))
    options += ["--baseline", group.baseline] if group.baseline not in (DEFAULT_BASELINE, None) else []
    options += ["--margin", str(group.margin)] if group.margin is not None else []
    own = ["compare", config["task"], "--methods", ",".join(group.by_method), "--seeds"]
    return [_joined([*own, seeds, *options], others) for seeds in _ranges({run.seed for run in group.runs})]


def _without(group: CostGroup) -> tuple[str, ...]:
    """Full training has no cost of its own, and no option says it."""
    return () if group.cost else ("keep",)


def _joined(words: Sequence[str], others: Sequence[str]) -> str:
    remark = f"  # and in an experiment file: {', '.join(others)}" if others else ""
    return shlex.join(["emprune", *words, "--out", AGAIN]) + remark


def _ranges(seeds: Iterable[int]) -> list[str]:
    """The seeds without gaps, each as `--seeds` takes them."""
    found: list[list[int]] = []
    for seed in sorted(seeds):
        if found and seed == found[-1][-1] + 1:
            found[-1].append(seed)
        else:
            found.append([seed])
    return [f"{some[0]}-{some[-1]}" if some[0] else str(some[-1] + 1) for some in found]


def _recipe(config: Mapping[str, Any], task: Task | None) -> tuple[str, dict[str, Any]]:
    """The recipe that has the run's settings, as far as no option sets them; the default one where none has them."""
    try:
        task = task or get_task(config["task"])
    except EmpruneError:  # a folder of images that is not here, or is damaged by now
        return "default", {}
    recipes = {name: dataclasses.asdict(recipe) for name, recipe in {"default": task.recipe, **task.recipes}.items()}
    for name, settings in recipes.items():
        if all(config[setting] == value for setting, value in settings.items() if setting not in OPTIONS):
            return name, settings
    return "default", recipes["default"]


def _seeds(runs: Sequence[ReportedRun]) -> str:
    """The seeds of all methods, or where they differ of each."""
    by_method: dict[str, set[int]] = {}
    for run in runs:
        by_method.setdefault(run.method, set()).add(run.seed)
    texts = {method: ", ".join(map(str, sorted(seeds))) for method, seeds in by_method.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{method}: {text}" for method, text in texts.items())


def _machine(machine: Mapping[str, Any]) -> str:
    return ", ".join(said.format(machine[name]) for name, said in MACHINE.items() if machine.get(name) not in (None, 1))


def _distinct(values: Iterable[object]) -> str:
    return "; ".join(dict.fromkeys(map(str, values)))


def _text(value: object) -> str:
    return NOTHING if value is None else str(value).lower() if isinstance(value, bool) else str(value)
