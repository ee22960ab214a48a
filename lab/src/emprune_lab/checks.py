"""What makes no sense for a task, or on several ranks: it is refused before anything is fetched or planned."""

from collections.abc import Mapping, Sequence
from typing import Any

from emprune.engine.recording import Recording
from emprune.errors import ConfigError
from emprune_lab.models import check_encoder, check_model
from emprune_lab.models.language import check_language_model
from emprune_lab.models.pretrained import check_pretrained
from emprune_lab.settings import Settings
from emprune_lab.tasks import Task

__all__ = ["check_gap", "check_ranks", "check_task", "recorded"]

CHOICES: dict[str, Mapping[str, Sequence[str]]] = {
    "images": {"optimizer": ("sgd", "lars"), "schedule": ("one-cycle", "cosine")},
    "texts": {"optimizer": ("adamw",), "schedule": ("linear",)},
    "blocks": {"optimizer": ("adamw",), "schedule": ("cosine", "one-cycle")},
}
FOR_KINDS = {
    "ema": ("images", "blocks"),
    "recalibrate_bn": ("images",),
    "compile": ("images", "blocks"),
    "group_by_length": ("texts",),
    "max_length": ("texts",),
}
CHECKS = {"images": check_model, "texts": check_pretrained, "blocks": check_language_model}
"""What refuses a name that is no model of the kind's."""


def recorded(record: str | None) -> Any:
    """Return what a pruner is to record: "all", names, or None."""
    return record if record in (None, "all") else [name.strip() for name in record.split(",")]


def check_task(settings: Settings, task: Task) -> None:
    """Refuse what makes no sense for the task's kind."""
    flat = settings.flat()
    for name, choices in CHOICES[task.kind].items():
        if flat[name] not in choices:
            raise ConfigError(
                f"`{name}` must be one of {', '.join(choices)} for {task.kind}; got {name}={flat[name]!r}."
            )
    for name, kinds in FOR_KINDS.items():
        if flat[name] and task.kind not in kinds:
            raise ConfigError(
                f"`{name}` is for {' and '.join(kinds)}, and {task.name} is of {task.kind}; got "
                f"{name}={flat[name]!r}. Leave it out."
            )
    CHECKS[task.kind](settings.training.model)
    if settings.method.behind_at and settings.cost.keep == 1:
        raise ConfigError(
            f"`method` must have no @{settings.method.behind_at} with keep=1, which visits all samples; got "
            f"{settings.method}. Leave it out, or lower `keep`."
        )
    if task.objective != "classification":
        _check_without_classes(settings)
    if task.objective == "contrastive":
        _check_contrastive(settings)


def check_gap(settings: Settings, task: Task) -> None:
    """Refuse a method that follows the gap where none is measured."""
    if task.objective == "contrastive":
        raise ConfigError(
            "`method` must follow no validation loss in contrastive learning, where the end alone is scored; got "
            f"{settings.method}. Give `pool` a number, such as pool=2."
        )
    if settings.data.validation == 0:
        raise ConfigError(
            f"`validation` must be above 0 for {settings.method}, which follows the loss on that part of the training "
            f"data; got validation={settings.data.validation!r}. Split a part off, such as validation=0.1."
        )


def _check_without_classes(settings: Settings) -> None:
    training = settings.training
    recording = Recording(recorded(training.record), guarded=settings.method.guard is not None)
    recording.check_without_predictions(f"{settings.task}, which has no classes to predict")
    if training.label_smoothing != 0:
        raise ConfigError(
            "`label_smoothing` must be 0 where training knows no labels; "
            f"got label_smoothing={training.label_smoothing!r}, task={settings.task!r}."
        )


def _check_contrastive(settings: Settings) -> None:
    training = settings.training
    check_encoder(training.model)
    if training.batch_size < 2:
        raise ConfigError(
            f"`batch_size` must be at least 2 in {settings.task}, which tells samples from each other; "
            f"got batch_size={training.batch_size!r}."
        )


def check_ranks(settings: Settings, task: Task, world_size: int) -> None:
    """Refuse what several ranks cannot share."""
    if world_size == 1:
        return
    if task.kind == "texts":
        raise ConfigError(
            f"{task.name} is a task on texts, which `emprune run` trains in one process; got {world_size} ranks. "
            "Start it without torchrun, or use PrunedTrainer in a script of your own."
        )
    if "instance_entropy" in settings.method.options.values():
        raise ConfigError(
            f"`method` must not compare samples on {world_size} ranks; got {settings.method}. "
            "Its memory term looks at a rank's own part of the batch. Use memory=view-alignment, or one process."
        )
    if settings.training.batch_size % world_size:
        raise ConfigError(
            f"`batch_size` is that of all ranks together, and must be a multiple of their number, {world_size}; got "
            f"batch_size={settings.training.batch_size}."
        )
