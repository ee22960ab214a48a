"""What an analysis of memory is: a number per sample and model, compared between models that saw it and others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from emprune.errors import ConfigError
from emprune.lab.experiment import Experiment
from emprune.lab.session import Session
from emprune.lab.tasks import ImageTask, Split, get_task

__all__ = ["Analysis"]

FEWEST_RUNS = 2


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """How strongly a trained model shows that it saw a sample.

    Args:
        name: As given on the command line.
        quantity: What the difference between those that saw a sample and those that did not is called.
        objective: What the task must be for.
        measure: Maps a trained session and N samples to (N,) float, higher where a sample is remembered better.
        by_range: Whether differences are divided by their range over all samples and methods.
    """

    name: str
    quantity: str
    objective: str
    measure: Callable[[Session, Split], Tensor]
    by_range: bool

    def experiment(
        self, task: str, *, methods: Sequence[str], num_runs: int, baseline: str, settings: Mapping[str, Any]
    ) -> Experiment:
        """Return the runs that it takes: of each method, `num_runs` on random subsets that the methods share.

        Raises:
            ConfigError: If the task is for another objective, or nobody would miss a sample.
        """
        chosen = get_task(task)
        if not isinstance(chosen, ImageTask):
            raise ConfigError(f"`{self.name}` measures models of images, which we train ourselves: got {task!r}.")
        objective = chosen.objective
        if objective != self.objective:
            raise ConfigError(
                f"`{self.name}` is an analysis of {self.objective} tasks: got {task!r}, a {objective} task. "
                "`emprune tasks` lists them."
            )
        if num_runs < FEWEST_RUNS:
            raise ConfigError(f"`runs` must be at least {FEWEST_RUNS}, one with and one without: got runs={num_runs}.")
        if not settings.get("subset_fraction", 1.0) < 1:
            raise ConfigError(
                "`subset_fraction` must be below 1, so that every sample is missing from some runs: "
                f"got subset_fraction={settings.get('subset_fraction', 1.0)}."
            )
        seeds = list(range(num_runs))
        return Experiment(
            task=task, methods=methods, seeds=seeds, baseline=baseline, settings=settings, title=self.name
        )
