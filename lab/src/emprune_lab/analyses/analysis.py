"""What an analysis is: which runs it takes, and what it concludes from them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from emprune.errors import ConfigError
from emprune_lab.analyses.finished_run import Run
from emprune_lab.analyses.questions import Question
from emprune_lab.analyses.table import Table
from emprune_lab.comparison.experiment import MOST_SEEDS, Experiment
from emprune_lab.files import write_whole
from emprune_lab.pages.drawing import Figure, colours
from emprune_lab.pages.rendering import render_page
from emprune_lab.tasks import ImageTask, get_task

__all__ = ["Analysis", "Conclusion", "check_subsets"]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What the runs say.

    Args:
        quantity: What was found, in a line.
        values: The same as plain values, each method's under `methods`.
        table: In numbers.
        figures: As pictures, the methods in the `colours` of `values["methods"]`.
        remarks: What a reader of any of them must know.
    """

    quantity: str
    values: Mapping[str, Any]
    table: Table
    figures: Sequence[Figure]
    remarks: Sequence[str] = ()


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

    @property
    def settings(self) -> Mapping[str, Any]:
        """What runs are made with, unless told otherwise, instead of the recipe's; a list is varied."""
        return self.question.settings

    @abstractmethod
    def conclude(self, experiment: Experiment, runs: Sequence[Run]) -> Conclusion:
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
        self._check_task(task)
        if num_runs < self.fewest_runs:
            raise ConfigError(f"`runs` must be at least {self.fewest_runs}; got runs={num_runs}.")
        if num_runs > MOST_SEEDS:
            raise ConfigError(f"`runs` must be at most {MOST_SEEDS:,}; got runs={num_runs}.")
        experiment = Experiment(
            task=task,
            methods=methods,
            seeds=list(range(num_runs)),
            baseline=baseline,
            settings={**self.settings, **settings},
            title=self.name,
        )
        self.check(experiment)
        return experiment

    def document(self, experiment: Experiment, conclusion: Conclusion) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
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

    def write(self, experiment: Experiment, conclusion: Conclusion, out: Path) -> list[Path]:
        """Write OUT/<name>.json and .html, and return the two."""
        numbers, picture = (out / f"{self.name}.{kind}" for kind in ("json", "html"))
        text = json.dumps(self.document(experiment, conclusion), indent=1) + "\n"
        html = self._page(experiment, conclusion)
        write_whole(numbers, lambda file: file.write(text.encode()))
        write_whole(picture, lambda file: file.write(html.encode(errors="replace")))
        return [numbers, picture]

    def _page(self, experiment: Experiment, conclusion: Conclusion) -> str:
        methods, num_runs = list(conclusion.values["methods"]), len(experiment.seeds)
        settings = [f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in experiment.settings.items()]
        return render_page(
            "emprune_lab.analyses",
            styles=colours(methods),
            methods=methods,
            analysis=self.name,
            conclusion=conclusion,
            task=experiment.task,
            made=", ".join([f"{experiment.task}: {num_runs} run{'s' * (num_runs != 1)} a method", *settings]),
        )

    def _check_task(self, task: str) -> None:
        chosen = get_task(task)
        if self.objective is None:
            return
        if not isinstance(chosen, ImageTask):
            raise ConfigError(f"`{self.name}` measures models of images, which we train ourselves; got {task!r}.")
        if chosen.objective != self.objective:
            raise ConfigError(
                f"`{self.name}` is an analysis of {self.objective} tasks; got {task!r}, a {chosen.objective} task. "
                "`emprune tasks` lists them."
            )


def _in_words(value: object) -> str:
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)


def check_subsets(experiment: Experiment, *, so_that: str) -> None:
    """Raise ConfigError unless each run trains on less than all the data."""
    fractions = experiment.settings.get("subset_fraction", 1.0)
    for fraction in fractions if isinstance(fractions, list) else [fractions]:
        if not fraction < 1:
            raise ConfigError(f"`subset_fraction` must be below 1, so that {so_that}; got subset_fraction={fraction}.")
