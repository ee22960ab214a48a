"""Everything that decides what a run computes, in one frozen value."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from emprune.errors import ConfigError
from emprune.methods import method_class
from emprune_lab.compute import DEVICES, PRECISIONS
from emprune_lab.earlier import refuse_fractions, settings_now
from emprune_lab.errors import unknown_name
from emprune_lab.method_spec import MethodSpec
from emprune_lab.models import check_encoder, check_model
from emprune_lab.models.pretrained import check_pretrained
from emprune_lab.tasks import Recipe, Task, get_task
from emprune_lab.training.learning_rate import SCHEDULES

__all__ = ["RunConfig"]

DEFAULT_KEEP = 0.3
FLAG, COUNT = "true or false", "a number of epochs, an integer"
LARGEST = {"epochs": 1_000_000, "batch_size": 1_000_000, "threads": 1024}
"""Beyond it a number is a slip, and what is made of it does not fit into a machine: a list of epochs, threads."""

OPTIMIZERS = {"images": ("sgd", "lars"), "texts": ("adamw",)}
SCHEDULES_OF = {"images": tuple(SCHEDULES), "texts": ("linear",)}
IMAGES_ONLY = ("ema", "recalibrate_bn", "compile")
FLOATS = (
    "keep", "max_lr", "momentum", "weight_decay", "label_smoothing", "validation", "label_noise", "imbalance",
    "subset_fraction", "ema",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run's settings. Two runs with equal settings on the same machine and software give equal results.

    `RunConfig.for_task` fills what is not given from the task's recipe.

    Args:
        task: Name of the task.
        method: The method and its options, `emp:beta=3:pool=2`.
        keep: Mean fraction of the training data visited per epoch, in (0, 1].
        epochs: Length of the run, >= 1.
        model: Name of the model.
        batch_size: Samples per optimizer step, >= 1.
        max_lr: Peak learning rate, > 0.
        schedule: one-cycle, or cosine with a warm-up; for texts linear, a rise and a fall.
        optimizer: sgd, with Nesterov momentum, or lars; for texts adamw.
        momentum: The optimizer's, in (0, 1); AdamW's first beta.
        weight_decay: L2 penalty, >= 0.
        label_smoothing: Of the loss that is optimised, never of the one that is scored, in [0, 1).
        seed: Decides the initial weights, the plans and the augmentation; runs of one seed are paired.
        warmup_epochs: Full-data epochs at the start, paid for by the pruned ones.
        tail_epochs: Full-data epochs at the end; None leaves it to the method.
        train_size: Training samples to use, a fixed class-balanced subset; None for all.
        validation: Share of those that is split off for validation, in [0, 1).
        label_noise: Share of the training labels that are made wrong, in [0, 1).
        imbalance: Size of the training set's largest class over its smallest's, >= 1.
        subset_fraction: Share of the training samples that the run trains on, drawn by its seed, in (0, 1].
        leave_out: Training samples, of those, that the run does not train on, drawn by its seed, >= 0.
        ema: Decay per step of a running average of the weights, which is what is scored then, in [0, 1); 0 for none.
        recalibrate_bn: Score once more at the end, with the batch-norm statistics estimated anew.
        device: auto, cpu or cuda.
        precision: auto, fp32 or bf16.
        threads: CPU threads of torch.
        compile: Train through torch.compile, with whole batches only; needs a C++ compiler on the CPU.
        files: The task's own, never chosen: a digest of an image folder's files, so that a run does not go on with
            others, nor is compared with one on others; None for data that a name tells.

    Raises:
        ConfigError: If a value is out of range; the message says which.
    """

    task: str
    method: str
    keep: float
    epochs: int
    model: str
    batch_size: int
    max_lr: float
    momentum: float
    weight_decay: float
    label_smoothing: float
    optimizer: str = "sgd"
    schedule: str = "one-cycle"
    seed: int = 0
    warmup_epochs: int = 0
    tail_epochs: int | None = None
    train_size: int | None = None
    validation: float = 0.0
    label_noise: float = 0.0
    imbalance: float = 1.0
    subset_fraction: float = 1.0
    leave_out: int = 0
    ema: float = 0.0
    recalibrate_bn: bool = False
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    compile: bool = False
    files: str | None = None

    def __post_init__(self) -> None:
        self._check_types()
        task = get_task(self.task)
        object.__setattr__(self, "task", task.name)
        self.spec.make()
        object.__setattr__(self, "method", str(self.spec))
        self._check_kind(task.kind)
        self._check_choices()
        self._check_numbers()
        if task.objective == "contrastive":
            self._check_contrastive()
        for name in FLOATS:  # 50 and 50.0 are one setting, and one folder
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))

    @classmethod
    def for_task(cls, task: str, method: str, *, recipe: str | None = None, **settings: Any) -> Self:
        """Return the settings for a task and method: those given, the rest from one of the task's recipes.

        `keep`, where not given, is what the method needs: 1 for `full`, else 0.3.
        """
        own = get_task(task)
        spec = MethodSpec.parse(method, objective=own.objective)
        chosen = dataclasses.asdict(_recipe(own, recipe))
        given = {name: value for name, value in settings.items() if value is not None}
        chosen = {"keep": _default_keep(spec), **chosen, **given}
        refuse_fractions(given, keep=chosen["keep"], epochs=chosen["epochs"])
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise unknown_name("setting", name, cls.__dataclass_fields__)
        return cls(task=task, method=method, **{**chosen, "files": own.files})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that `to_json` wrote, in this version or an earlier one.

        Those that the earlier one did not have get their defaults.

        Raises:
            ConfigError: If a setting is missing or unknown, as in a file of another version.
        """
        values = settings_now(values)
        fields = {field.name for field in dataclasses.fields(cls)}
        required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        strange = sorted((required - values.keys()) | (values.keys() - fields))
        if strange:
            raise ConfigError(f"The settings are of another version of emprune: {', '.join(strange)} differ.")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """Return the settings with some of them changed."""
        return dataclasses.replace(self, **changes)

    def differences(self, other: "RunConfig") -> list[str]:
        """Return `name: this value, other value` for each setting in which two configurations differ."""
        mine, theirs = self.to_json(), other.to_json()
        return [f"{name}: {mine[name]!r} and {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]

    @property
    def spec(self) -> MethodSpec:
        """The method and its options, taken apart."""
        return MethodSpec.parse(self.method, objective=get_task(self.task).objective)

    @property
    def folder_name(self) -> str:
        """The method as a folder name, with a short hash of all settings but the seed.

        Settings at their defaults do not count, so that a new setting leaves old names as they are.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        settings = {k: v for k, v in self.to_json().items() if k != "seed" and v != defaults[k]}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return f"{self.spec.slug}-{digest[:8]}"

    def _check_types(self) -> None:
        """Refuse what a file may hold in place of what is meant, where nothing else looks."""
        names = [(name, str, "a name") for name in ("task", "method", "model")]
        for name, kind, rule in (*names, ("recalibrate_bn", bool, FLAG), ("compile", bool, FLAG)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ConfigError(f"`{name}` must be {rule}; got {name}={value!r}.")
        for name in ("keep", "warmup_epochs", "tail_epochs"):  # in which range, is for the schedule to say
            kind, rule = (float, "a number, a share") if name == "keep" else (int, COUNT)
            if name != "tail_epochs" or self.tail_epochs is not None:
                _check(name, getattr(self, name), kind, lambda value: True, rule)

    def _check_kind(self, kind: str) -> None:
        """Refuse what makes no sense for images, or for texts."""
        for name, choices in (("optimizer", OPTIMIZERS[kind]), ("schedule", SCHEDULES_OF[kind])):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"`{name}` must be one of {', '.join(choices)} for {kind}; got {name}={value!r}.")
        if kind == "images":
            check_model(self.model)
            return
        check_pretrained(self.model)
        for name in IMAGES_ONLY:
            value = getattr(self, name)
            if value:
                raise ConfigError(
                    f"`{name}` is for images, and {self.task} is of texts; got {name}={value!r}. Leave it out."
                )

    def _check_choices(self) -> None:
        for name, choices in (("device", DEVICES), ("precision", PRECISIONS)):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"`{name}` must be one of {', '.join(choices)}; got {name}={value!r}.")

    def _check_contrastive(self) -> None:
        check_encoder(self.model)
        if self.label_smoothing != 0:
            raise ConfigError(
                "`label_smoothing` must be 0 where training knows no labels; "
                f"got label_smoothing={self.label_smoothing!r}, task={self.task!r}."
            )
        if self.batch_size < 2:
            raise ConfigError(
                f"`batch_size` must be at least 2 in {self.task}, which tells samples from each other; "
                f"got batch_size={self.batch_size!r}."
            )

    def _check_numbers(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            _check(name, value, int, lambda value: value >= 1, "an integer of at least 1")
            if value > most:
                raise ConfigError(f"`{name}` must be at most {most:,}; got {name}={value!r}.")
        for name in ("warmup_epochs", "tail_epochs"):  # that all of them fit together, the schedule says
            value = getattr(self, name) or 0
            _check(name, value, int, lambda value: 0 <= value <= self.epochs, f"from 0 to epochs={self.epochs}")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(
                "`keep` must be in (0, 1], the mean fraction of the training data visited per epoch; "
                f"got keep={self.keep!r}. A pruning rate of 70 % is keep=0.3."
            )
        _check("seed", self.seed, int, lambda value: 0 <= value < 2**63, "an integer in [0, 2^63)")
        if self.train_size is not None:
            _check("train_size", self.train_size, int, lambda value: value >= 1, "an integer of at least 1")
        _check("max_lr", self.max_lr, float, lambda value: 0 < value < math.inf, "a positive number")
        _check("momentum", self.momentum, float, lambda value: 0 < value < 1, "in (0, 1)")
        _check("weight_decay", self.weight_decay, float, lambda value: 0 <= value < math.inf, "0 or a positive number")
        _check("label_smoothing", self.label_smoothing, float, lambda value: 0 <= value < 1, "in [0, 1)")
        _check("label_noise", self.label_noise, float, lambda value: 0 <= value < 1, "in [0, 1), a share")
        _check("imbalance", self.imbalance, float, lambda value: 1 <= value < math.inf, "a number of at least 1")
        _check("subset_fraction", self.subset_fraction, float, lambda value: 0 < value <= 1, "in (0, 1], a share")
        _check("leave_out", self.leave_out, int, lambda value: value >= 0, "0 or a positive integer")
        _check("ema", self.ema, float, lambda value: 0 <= value < 1, "in [0, 1), a decay per step")
        _check("validation", self.validation, float, lambda value: 0 <= value < 1, "in [0, 1), a share")


def _recipe(task: Task, name: str | None) -> Recipe:
    if name is None or name == "default":
        return task.recipe
    if not isinstance(name, str):
        raise ConfigError(f"`recipe` must be a name; got recipe={name!r}.")
    if name not in task.recipes:
        raise unknown_name(f"recipe of {task.name}", name, ["default", *task.recipes])
    return task.recipes[name]


def _default_keep(spec: MethodSpec) -> float:
    return method_class(spec.name).default_keep or DEFAULT_KEEP


def _check(name: str, value: Any, kind: type, holds: Callable[[Any], bool], rule: str) -> None:
    right_kind = isinstance(value, int | kind) and not isinstance(value, bool)
    if not right_kind or not holds(value):
        raise ConfigError(f"`{name}` must be {rule}; got {name}={value!r}.")
