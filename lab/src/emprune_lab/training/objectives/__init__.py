"""What a run is trained for, one file each, and the registry. A new one is one file and one line below."""

from collections.abc import Callable

from emprune_lab.run import Run
from emprune_lab.tasks import BlockTask, ImageTask
from emprune_lab.training.objectives.classification import Classification
from emprune_lab.training.objectives.contrastive import Contrastive
from emprune_lab.training.objectives.next_token import LanguageModel
from emprune_lab.training.objectives.objective import Losses, Network, Objective

__all__ = ["OBJECTIVES", "Losses", "Network", "Objective", "make_objective"]

OBJECTIVES: dict[str, type[Objective]] = {
    "classification": Classification,
    "contrastive": Contrastive,
    "language-model": LanguageModel,
}
"""By what a task calls its `objective`."""


def make_objective(run: Run, check_stop: Callable[[], object]) -> Objective:
    """Return what the run's task is trained for.

    Args:
        run: The run.
        check_stop: Called between the batches of scoring, which it ends by an exception.
    """
    assert isinstance(run.task, (ImageTask, BlockTask)), "pretrained models are fine-tuned elsewhere"
    return OBJECTIVES[run.task.objective](run.task, run.compute, run.settings.training, check_stop)
