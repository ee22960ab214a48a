"""What a run is trained for, one file each, and the registry. A new one is one file and one line below."""

from emprune.lab.config import RunConfig
from emprune.lab.device import Compute
from emprune.lab.objectives.base import Losses, Network, Objective
from emprune.lab.objectives.classification import Classification
from emprune.lab.objectives.contrastive import Contrastive
from emprune.lab.tasks import ImageTask, get_task

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
