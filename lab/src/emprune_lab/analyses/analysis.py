"""What an analysis is: which runs it takes, and what it concludes from them."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from emprune.errors import ConfigError
from emprune_lab.analyses.finished_run import FinishedRun
from emprune_lab.analyses.questions import Question
from emprune_lab.comparison.curves import KeepEstimate
from emprune_lab.comparison.experiment import MOST_SEEDS, Experiment
from emprune_lab.comparison.statistics import Estimate
from emprune_lab.comparison.table import Table
from emprune_lab.files import write_whole
from emprune_lab.pages.drawing import Figure, colours
from emprune_lab.pages.rendering import render_page
from emprune_lab.tasks import Task

__all__ = ["INTERVALS", "Analysis", "Conclusion", "check_subsets", "paired_remark"]

FORMAT = 1
INTERVALS = "Means over the runs ± 95 % intervals (Student t)"


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What the runs say.

    Args:
        quantity: What was found, in a line.
        methods: The numbers of each method, by their names: numbers, arrays, and estimates over the runs.
        table: The numbers to read first.
        figures: The methods in the `colours` of `methods`.
        remarks: What a reader of any of them must know.
        shared: Numbers that all methods share.
    """

    quantity: str
    methods: Mapping[str, Any]
    table: Table
    figures: Sequence[Figure]
    remarks: Sequence[str] = ()
    shared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """All numbers, as JSON has them."""
        values: dict[str, Any] = _plain({**self.shared, "methods": self.methods})
        return values


class Analysis(ABC):
    """A question, answered by the finished runs of an experiment: equal cost, several seeds, paired by seed.

    A new one is a file with a class like this, its question with the others, and a line in the registry.
    """

    question: ClassVar[Question]
    """What it asks, and of which runs."""
    objective: ClassVar[str | None] = "classification"
    """What the task must be for; None takes every task, those on texts too."""
    fewest_runs: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """As given on the command line; also the name of its files."""
        return self.question.name

    @abstractmethod
    def conclude(self, experiment: Experiment, runs: Sequence[FinishedRun]) -> Conclusion:
        """Return what the finished runs say.

        Raises:
            RunError: If a run lacks what is asked of it.
        """

    def check(self, experiment: Experiment) -> None:  # noqa: B027 - most need none
        """Raise ConfigError if the runs could not answer the question."""

    def experiment(
        self, task: str, *, methods: Sequence[str], num_runs: int, baseline: str, settings: Mapping[str, Any]
    ) -> Experiment:
        """Return the runs that it takes, seeds 0 to `num_runs` − 1 of each method.

        Raises:
            ConfigError: If they could not answer the question, or are impossible.
        """
        if num_runs < self.fewest_runs:
            raise ConfigError(f"`runs` must be at least {self.fewest_runs}; got runs={num_runs}.")
        if num_runs > MOST_SEEDS:
            raise ConfigError(f"`runs` must be at most {MOST_SEEDS:,}; got runs={num_runs}.")
        experiment = Experiment(
            task=task,
            methods=methods,
            seeds=list(range(num_runs)),
            baseline=baseline,
            settings={**self.question.settings, **settings},
            title=self.name,
        )
        self._check_task(experiment.trained_on)
        self.check(experiment)
        return experiment

    def write(self, experiment: Experiment, conclusion: Conclusion, out: Path) -> list[Path]:
        """Write OUT/<name>.json and .html, and return the two."""
        document = {
            "format": FORMAT,
            "analysis": self.name,
            "quantity": conclusion.quantity,
            "task": experiment.task,
            "baseline": experiment.baseline,
            "num_runs": len(experiment.seeds),
            "settings": dict(experiment.settings),
            "remarks": list(conclusion.remarks),
            **conclusion.values,
        }
        page = render_page(
            "emprune_lab.analyses",
            styles=colours(conclusion.methods),
            methods=list(conclusion.methods),
            analysis=self.name,
            conclusion=conclusion,
            task=experiment.task,
            made=_made(experiment),
        )
        numbers, picture = (out / f"{self.name}.{kind}" for kind in ("json", "html"))
        write_whole(numbers, lambda file: file.write((json.dumps(document, indent=1) + "\n").encode()))
        write_whole(picture, lambda file: file.write(page.encode(errors="replace")))
        return [numbers, picture]

    def _check_task(self, task: Task) -> None:
        if self.objective is None:
            return
        if task.kind != "images":
            raise ConfigError(f"`{self.name}` measures models of images, which we train ourselves; got {task.name!r}.")
        if task.objective != self.objective:
            raise ConfigError(
                f"`{self.name}` is an analysis of {self.objective} tasks; got {task.name!r}, a {task.objective} task. "
                "`emprune tasks` lists them."
            )


def check_subsets(experiment: Experiment, *, so_that: str) -> None:
    """Raise ConfigError unless each run trains on less than all the data."""
    fractions = experiment.settings.get("subset_fraction", 1.0)
    for fraction in fractions if isinstance(fractions, list) else [fractions]:
        if not fraction < 1:
            raise ConfigError(f"`subset_fraction` must be below 1, so that {so_that}; got subset_fraction={fraction}.")


def paired_remark(experiment: Experiment, methods: Mapping[str, Any]) -> str:
    """Return what a table's intervals are, and its differences where there are any."""
    differs = experiment.baseline in methods and len(methods) > 1
    return f"{INTERVALS}{f'; difference: to {experiment.baseline}, paired by seed' if differs else ''}."


def _made(experiment: Experiment) -> str:
    """Return which runs were made, in words."""
    num_runs = len(experiment.seeds)
    parts = [f"{experiment.task}: {num_runs} run{'s' * (num_runs != 1)} a method"]
    for name, value in experiment.settings.items():
        shown = " / ".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(parts)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, estimates as tables, null for what is not finite."""
    if isinstance(value, Estimate):
        return {"mean": _plain(value.mean), "half_width": _plain(value.half_width)}
    if isinstance(value, KeepEstimate):
        return {"keep": _plain(value.keep), "low": _plain(value.low), "high": _plain(value.high)}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if hasattr(value, "tolist"):  # of numpy, or of pandas
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
