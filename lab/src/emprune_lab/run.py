"""A run, resolved once: every name is looked up, every check is made and every size is planned here.

What is below takes a `Run` and asks for nothing again. It reads no specification, looks up no task, chooses no device
and plans no schedule.
"""

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

import emprune
from emprune.engine.room import check_run
from emprune.errors import ConfigError, MethodWarning
from emprune.methods import Full, method_class
from emprune_lab.checks import check_gap, check_ranks, check_task, recorded
from emprune_lab.compute import Compute
from emprune_lab.data.splits import Splits
from emprune_lab.earlier import refuse_fractions
from emprune_lab.errors import unknown_name
from emprune_lab.method_spec import MethodSpec
from emprune_lab.results.initial_samples import check_same_labels, file_digest, samples_file
from emprune_lab.settings import Settings
from emprune_lab.sizes import Sizes
from emprune_lab.tasks import Recipe, Task
from emprune_lab.tasks.task import load_splits

__all__ = ["Run", "make_settings", "method_warnings_said_elsewhere", "splits_of"]

DEFAULT_KEEP = 0.3


@dataclass(frozen=True)
class Run:
    """All that a run is.

    Args:
        settings: Its identity.
        task: The task that the settings name.
        compute: The device and the precision, both decided.
        sizes: What its schedule comes to.
        data_dir: Where data sets are cached; None is the user's cache.
        world_size: Processes that share the run.
        tracker: What is told of its epochs too, one of `emprune_lab.training.tracking.TRACKERS`; None for nothing.
        keeps_model: Whether a run on texts leaves its model behind; one on images always has it in its checkpoint.
    """

    settings: Settings
    task: Task
    compute: Compute
    sizes: Sizes
    data_dir: Path | None = None
    world_size: int = 1
    tracker: str | None = None
    keeps_model: bool = False

    @classmethod
    def resolve(
        cls,
        settings: Settings,
        task: Task,
        *,
        data_dir: Path | None = None,
        world_size: int = 1,
        tracker: str | None = None,
        keeps_model: bool = False,
    ) -> Self:
        """Return the run of some settings. The data must be at hand: call `have_data` first.

        Raises:
            ConfigError: If the device, the data, the method, the cost and the ranks do not go together.
        """
        compute = Compute.choose(settings.machine.device, settings.machine.precision)
        splits = splits_of(settings, task, data_dir)
        check_ranks(settings, task, world_size)
        pruner = new_pruner(settings, splits.train.y)
        if settings.training.initial is not None:
            check_same_labels(samples_file(settings.training.initial), splits.train.y.numpy())
        delivery: dict[str, Any] = {
            "multiple_of": settings.training.batch_size,
            "world_size": world_size,
            "drop_last": _whole_batches(settings, task),
        }
        per_epoch = pruner.schedule.num_kept_per_epoch(**delivery, step_name="batch_size")
        check_run(
            pruner.plan_options,
            pruner.schedule,
            batch_size=settings.training.batch_size // world_size,
            accumulation=1,
            world_size=world_size,
            drop_last=delivery["drop_last"],
        )
        sizes = Sizes(
            train=len(splits.train),
            validation=0 if splits.validation is None else len(splits.validation),
            test=len(splits.test),
            per_epoch=tuple(per_epoch),
            batch=settings.training.batch_size,
        )
        return cls(settings, task, compute, sizes, data_dir, world_size, tracker, keeps_model)

    @cached_property
    def splits(self) -> Splits[Any]:
        """The data, cut as the settings say."""
        splits: Splits[Any] = splits_of(self.settings, self.task, self.data_dir)
        return splits

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process gets: it loads the data itself."""
        return {name: value for name, value in self.__dict__.items() if name != "splits"}

    @property
    def label(self) -> str:
        """What people call it: the method and the seed."""
        return f"{self.settings.method}, seed {self.settings.seed}"

    @property
    def follows_gap(self) -> bool:
        """Whether its method follows the generalisation gap, which is then measured from the first epoch on."""
        return self.settings.method.make().needs_gap

    @property
    def whole_batches(self) -> bool:
        """Whether all its batches are whole."""
        return _whole_batches(self.settings, self.task)

    def new_pruner(self) -> emprune.DataPruner:
        """Return a pruner at the start of the run."""
        return new_pruner(self.settings, self.splits.train.y)

    def on_all_data(self) -> Self:
        """Return the same run of full training."""
        settings = self.settings.replace(method=MethodSpec(name=Full.name), keep=1.0, warmup_epochs=0, tail_epochs=None)
        return type(self).resolve(settings, self.task, data_dir=self.data_dir, world_size=self.world_size)


def make_settings(
    task: Task, method: str | MethodSpec, *, seed: int = 0, recipe: str | None = None, **given: Any
) -> Settings:
    """Return a run's settings: those given, the rest from one of the task's recipes.

    Args:
        task: The task.
        method: The method and its options, as they are written, `emp:beta=3`, or as they were parsed.
        seed: The run's.
        recipe: The name of a recipe; None for the default one.
        **given: Settings by name; None counts as not given. `keep` is by default what the method needs: 1 for `full`.

    Raises:
        ConfigError: If a setting is unknown or impossible, or does not go with the task.
    """
    spec = MethodSpec.parse(method, objective=task.objective) if isinstance(method, str) else method
    follows_gap = spec.make().needs_gap
    chosen = {
        "keep": method_class(spec.name).default_keep or DEFAULT_KEEP,
        **dataclasses.asdict(_recipe(task, recipe)),
        **{name: value for name, value in given.items() if value is not None},
    }
    refuse_fractions(given, keep=chosen["keep"], epochs=chosen["epochs"])
    initial = chosen.get("initial")
    digest = file_digest(samples_file(initial)) if isinstance(initial, str) else None
    chosen |= {"files": task.files, "initial_digest": digest}
    settings = Settings.of(task.name, spec, seed, chosen)
    check_task(settings, task)
    if follows_gap:
        check_gap(settings, task)
    return settings


def splits_of(settings: Settings, task: Task, data_dir: Path | None) -> Splits[Any]:
    """Return the data of a run, cut as its settings say; those that were loaded last are kept."""
    return load_splits(task, data_dir, seed=settings.seed, **settings.data.model_dump(exclude={"files"}))


def new_pruner(settings: Settings, labels: Tensor) -> emprune.DataPruner:
    """Return a run's pruner over training samples with these labels, (N,).

    Raises:
        ConfigError: If the method, the cost, the warm-up and the tail do not go together.
    """
    initial, record = settings.training.initial, settings.training.record
    with method_warnings_said_elsewhere():
        return emprune.DataPruner(
            settings.method.make(),
            num_samples=len(labels),
            num_epochs=settings.cost.epochs,
            keep=settings.cost.keep,
            warmup_epochs=settings.cost.warmup_epochs,
            tail_epochs=settings.cost.tail_epochs,
            seed=settings.seed,
            groups=settings.method.groups(labels),
            guard=settings.method.guard,
            initial=None if initial is None else samples_file(initial),
            record=recorded(record),
        )


@contextmanager
def method_warnings_said_elsewhere() -> Iterator[None]:
    """Leave out the methods' own warnings: the command and the tables say them once, where they are seen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MethodWarning)
        yield


def _recipe(task: Task, name: str | None) -> Recipe:
    if name is None or name == "default":
        return task.recipe
    if not isinstance(name, str):
        raise ConfigError(f"`recipe` must be a name; got recipe={name!r}.")
    if name not in task.recipes:
        raise unknown_name(f"recipe of {task.name}", name, ["default", *task.recipes])
    return task.recipes[name]


def _whole_batches(settings: Settings, task: Task) -> bool:
    return settings.machine.compile or task.objective == "contrastive"
