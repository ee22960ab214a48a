"""What the shell offers at the tab key: names of tasks, methods and models, and what a setting may be."""

from typing import Literal, get_args, get_origin

from emprune_lab.declaration import FIELDS

__all__ = ["complete_launcher", "complete_method", "complete_task", "complete_tracker", "values_of"]


def complete_task(incomplete: str) -> list[str]:
    """Return the tasks whose names begin so."""
    from emprune_lab.tasks import TASKS

    return _beginning(incomplete, list(TASKS))


def complete_method(incomplete: str) -> list[str]:
    """Return the methods whose names begin as the last of a list does."""
    from emprune.methods import method_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(last, list(method_names()))]


def complete_launcher(incomplete: str) -> list[str]:
    """Return the launchers that begin so."""
    return _beginning(incomplete, ["local", "slurm", "submitit"])


def complete_tracker(incomplete: str) -> list[str]:
    """Return the trackers that begin so."""
    return _beginning(incomplete, ["tensorboard", "wandb"])


def values_of(setting: str) -> list[str]:
    """Return what a setting may be, where its declaration lists it.

    Example:
        >>> values_of("device"), values_of("epochs")
        (['auto', 'cpu', 'cuda'], [])
    """
    annotation = FIELDS[setting].annotation
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _beginning(text: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(text)]
