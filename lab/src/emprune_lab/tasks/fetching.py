"""What must be on this machine before a run starts: the task's data, and the model where it is a pretrained one."""

from collections.abc import Callable
from pathlib import Path

from emprune_lab.data.cache import DataSet
from emprune_lab.models.pretrained import MINILM_DATA, fetch_pretrained
from emprune_lab.settings import RunConfig
from emprune_lab.tasks import TextTask, data_of, get_task

__all__ = ["find_data_set", "have_data"]


def find_data_set(name: str) -> DataSet | None:
    """Return the data set of a task, or the model, that `emprune data` fetches by that name; None if there is nothing.

    Raises:
        ConfigError: If there is no task of that name.
    """
    if name == MINILM_DATA.name:
        return MINILM_DATA
    return data_of(get_task(name).name)


def have_data(config: RunConfig, data_dir: Path | None, *, say: Callable[[str], None]) -> None:
    """Fetch what a run needs and is missing, saying so, before any progress bar or process starts."""
    data = data_of(config.task)
    if data is not None and not data.folder(data_dir).exists():
        data.ensure(data_dir, say=say)
    if isinstance(get_task(config.task), TextTask):
        fetch_pretrained(config.model, data_dir=data_dir, say=say)
