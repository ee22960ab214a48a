"""Which runs belong together: a section for each task and its settings, in it a group for each cost."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from typing import Any

from emprune.errors import ConfigError
from emprune_lab.comparison.curves import Curves, curves_of
from emprune_lab.comparison.rows import Row, summarise
from emprune_lab.declaration import in_words
from emprune_lab.method_spec import DEFAULT_BASELINE, MEMORY_TERMS, MethodSpec
from emprune_lab.report.enough import enough
from emprune_lab.report.records import ReportedRun
from emprune_lab.report.verdict import Answer, Verdict, verdict_of
from emprune_lab.results.record import RunRecord

__all__ = ["CostGroup", "Section", "divide_runs"]

COST = ("keep", "warmup_epochs", "tail_epochs", "initial", "initial_digest")
"""What full training has none of: what runs cost, and the samples of another run that they begin with."""
NOT_COMPARED = ("task", "method", "seed", "device", "threads", *COST)
"""Settings in which the runs of a section may differ: what is compared, what it costs, and what only takes its time."""


@dataclass(frozen=True)
class CostGroup:
    """Runs of one section at one cost, with those of `full`, which has a cost of its own.

    Args:
        cost: The settings of `COST`; empty where all runs are of full training.
        runs: Each method and seed once.
        baseline: The method that differences are taken to.
        margin: Points that count as non-inferior, where that was asked.
    """

    cost: Mapping[str, Any]
    runs: Sequence[ReportedRun]
    baseline: str
    margin: float | None

    @cached_property
    def rows(self) -> list[Row]:
        """The comparison's rows."""
        return summarise(self.results, baseline=self.baseline)

    @cached_property
    def verdict(self) -> Verdict:
        """What they say."""
        return verdict_of(self.results, margin=self.margin)

    @property
    def results(self) -> list[RunRecord]:
        """The runs' results."""
        return [run.result for run in self.runs]

    @cached_property
    def by_method(self) -> dict[str, list[ReportedRun]]:
        """The runs of each method, in order of first appearance."""
        runs: dict[str, list[ReportedRun]] = {}
        for run in self.runs:
            runs.setdefault(run.method, []).append(run)
        return runs

    @cached_property
    def class_names(self) -> dict[int, str]:
        """The names of the classes by label, as far as the runs recorded them."""
        return {label: name for run in self.runs for label, name in run.class_names.items()}

    @property
    def title(self) -> str:
        """The cost in words."""
        if not self.cost:
            return "all the data"
        words = [f"keep {self.cost['keep']:g}"]
        for name in ("warmup_epochs", "tail_epochs", "initial"):
            if self.cost[name] is not None and (name != "warmup_epochs" or self.cost[name]):
                words.append(f"{name.replace('_', ' ')} {self.cost[name]}")
        return ", ".join(words)


@dataclass(frozen=True)
class Section:
    """Runs of one task with the same settings, except for their cost.

    Args:
        task: The task's name.
        differing: The settings in which it differs from other sections of that task.
        title: What a comparison called itself, if it did.
        groups: One for each cost, the highest first.
    """

    task: str
    differing: Mapping[str, Any]
    title: str
    groups: Sequence[CostGroup]

    @property
    def runs(self) -> list[ReportedRun]:
        """All runs, each once."""
        return list({id(run): run for group in self.groups for run in group.runs}.values())

    @cached_property
    def curves(self) -> Curves | None:
        """What methods reach at its costs; None where it has several tails or warm-ups of one keep, or no curve."""
        if len({group.cost.get("keep") for group in self.groups}) < len(self.groups):
            return None
        return curves_of((run.result for run in self.runs), margin=self.groups[0].margin)

    @cached_property
    def enough(self) -> Answer | None:
        """From which keep on nothing is lost; None without curves."""
        return None if self.curves is None else enough(self.curves)

    @property
    def heading(self) -> str:
        """The task, and what sets it apart."""
        return ", ".join([self.task, *starmap(in_words, self.differing.items())])


def divide_runs(runs: Sequence[ReportedRun], *, baseline: str | None = None) -> list[Section]:
    """Return runs in the sections and groups in which they compare.

    Args:
        runs: Of any tasks, settings and costs. The first one's comparison says a section's title, baseline and margin.
        baseline: A baseline that overrides theirs, as a command takes it: options at their defaults may be left out.

    Raises:
        ConfigError: If no run has the method that `baseline` names.
    """
    if baseline is not None and _as_run(baseline, runs) is None:
        known = ", ".join(dict.fromkeys(run.method for run in runs))
        raise ConfigError(f"`baseline` must be one of the methods that were run, {known}; got {baseline!r}.")
    alike: dict[str, list[ReportedRun]] = {}
    for run in runs:
        alike.setdefault(json.dumps([run.config["task"], _settings(run)], sort_keys=True), []).append(run)
    return [_section(own, runs, baseline) for own in alike.values()]


def _as_run(method: str, runs: Sequence[ReportedRun]) -> str | None:
    """A method as the runs have it, with what a command leaves out; None if none of them has it."""
    spelled = {method}
    for objective in MEMORY_TERMS:
        with suppress(ConfigError):  # of another package, or with another objective's memory
            spelled.add(str(MethodSpec.parse(method, objective=objective)))
    return next((run.method for run in runs if run.method in spelled), None)


def _settings(run: ReportedRun) -> dict[str, Any]:
    return {name: value for name, value in run.config.items() if name not in NOT_COMPARED}


def _section(own: Sequence[ReportedRun], everything: Sequence[ReportedRun], baseline: str | None) -> Section:
    task = str(own[0].config["task"])
    others = [_settings(run) for run in everything if run.config["task"] == task]
    mine = _settings(own[0])
    differing = {name: mine[name] for name in mine if any(other[name] != mine[name] for other in others)}
    said = next((run.experiment for run in own if run.experiment is not None), {})
    asked = None if baseline is None else _as_run(baseline, own) or baseline
    chosen = asked or said.get("baseline") or DEFAULT_BASELINE
    groups = [CostGroup(cost, runs, chosen, said.get("margin")) for cost, runs in _costs(own)]
    return Section(task, differing, said.get("title") or "", groups)


def _costs(runs: Sequence[ReportedRun]) -> list[tuple[dict[str, Any], list[ReportedRun]]]:
    """Group by cost; full training is in every group."""
    full = [run for run in runs if run.method == "full"]
    pruned: dict[tuple[Any, ...], list[ReportedRun]] = {}
    for run in runs:
        if run not in full:
            pruned.setdefault(tuple(run.config[name] for name in COST), []).append(run)
    if not pruned:
        return [({}, _once(full))]
    ordered = sorted(pruned, key=lambda cost: -cost[0])
    return [(dict(zip(COST, cost, strict=True)), _once([*full, *pruned[cost]])) for cost in ordered]


def _once(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """Each method and seed once, the first of those that differ in the machine alone."""
    return list({(run.method, run.seed): run for run in reversed(runs)}.values())[::-1]
