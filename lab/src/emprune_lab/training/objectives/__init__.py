"""What a run is trained for, one file each, and the registry. A new one is one file and one line below."""

from emprune_lab.compute import Compute
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import ImageTask, get_task
from emprune_lab.training.objectives.classification import Classification
from emprune_lab.training.objectives.contrastive import Contrastive
from emprune_lab.training.objectives.objective import Losses, Network, Objective

__all__ = ["OBJECTIVES", "Losses", "Network", "Objective", "make_objective"]

OBJECTIVES: dict[str, type[Objective]] = {"classification": Classification, "contrastive": Contrastive}
"""By what a task calls its `objective`."""


def make_objective(config: RunConfig, compute: Compute) -> Objective:
    """Return what the run's task is trained for.

    Raises:
        ConfigError: If the settings ask for what the objective cannot do.
    """
    task = get_task(config.task)
    assert isinstance(task, ImageTask), "texts are not trained here"
    return OBJECTIVES[task.objective](config, task, compute)
