"""What a run may be told, each setting declared once: its type, its rule, its help and its default.

This one declaration makes the command's options and their help, says what a TOML file may hold, and checks both. A
report writes the command that makes a run again from it.
"""

import dataclasses
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

__all__ = [
    "DIGESTS",
    "FIELDS",
    "GROUPS",
    "GROUP_OF",
    "OPTIONS",
    "CostSettings",
    "DataSettings",
    "Group",
    "MachineSettings",
    "TrainingSettings",
    "extra_of",
    "in_words",
    "kind_of",
]

MOST = 1_000_000
"""Epochs, or samples in a batch. Beyond it a number is a slip, and a list of epochs does not fit into a machine."""


WITHIN = "an integer from 0 to `epochs`"


class Group(BaseModel):
    """Values that do not change. A value of another type than the declared one is refused, and not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def setting(text: str, *, shown: str | None = None, rule: str = "", advice: str = "", **field: Any) -> Any:
    """Declare a setting.

    Args:
        text: The option's help.
        shown: The default as the help shows it; None where no option sets it.
        rule: What a value must be, as the end of "`name` must be"; by default its type and its limits say it.
        advice: What to do about a wrong value.
        **field: pydantic's limits, and the default if it has one. Those without one are in a task's recipe.
    """
    return Field(description=text, json_schema_extra={"shown": shown, "rule": rule, "advice": advice}, **field)


class CostSettings(Group):
    """How much a run visits."""

    keep: float = setting(
        "Mean fraction of the training data visited per epoch, in (0, 1]. Pruning 70 % is 0.3.",
        shown="0.3",
        rule="in (0, 1], the mean fraction of the training data visited per epoch",
        advice="A pruning rate of 70 % is keep=0.3.",
        gt=0,
        le=1,
    )
    epochs: int = setting("Length of the run.", shown="the recipe's", ge=1, le=MOST)
    warmup_epochs: int = setting(
        "Full-data epochs at the start, paid for by the pruned ones.", shown="0", rule=WITHIN, default=0, ge=0
    )
    tail_epochs: int | None = setting(
        "Full-data epochs at the end, paid for by the pruned ones.",
        shown="the method's",
        rule=WITHIN,
        default=None,
        ge=0,
    )

    @field_validator("warmup_epochs", "tail_epochs")
    @classmethod
    def _fits(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > info.data.get("epochs", value):
            raise ValueError("more than the run has")
        return value


class DataSettings(Group):
    """What a run trains on."""

    train_size: int | None = setting(
        "Use a class-balanced subset of the training data, the same for every seed.", shown="all", default=None, ge=1
    )
    validation: float = setting(
        "Split off this share of the training data and score it, up to 20 times in a run.",
        shown="0",
        default=0.0,
        ge=0,
        lt=1,
    )
    label_noise: float = setting("Make this share of the training labels wrong.", shown="0", default=0.0, ge=0, lt=1)
    imbalance: float = setting(
        "Thin the classes out to a long tail: the largest so many times the smallest.", shown="1", default=1.0, ge=1
    )
    subset_fraction: float = setting(
        "Train on this share of the training data, drawn by the run's seed.",
        shown="1, all of it",
        default=1.0,
        gt=0,
        le=1,
    )
    leave_out: int = setting("Training samples that the run's seed draws and leaves out.", default=0, ge=0)
    files: str | None = setting(
        "A digest of a user's own files, which may change while their name stays.", default=None
    )


class TrainingSettings(Group):
    """How a run trains. A task's recipe says what is not given."""

    model: str = setting(
        "A model of ours, or torchvision:NAME or timm:NAME; for texts minilm, minilm-2 or hf:FOLDER-OR-NAME; for blocks"
        " of tokens small-llama or mini-llama.",
        shown="the recipe's",
    )
    batch_size: int = setting("Samples per optimizer step, on all ranks together.", shown="the recipe's", ge=1, le=MOST)
    optimizer: str = setting("sgd or lars; for texts and blocks adamw.", shown="the recipe's", default="sgd")
    max_lr: float = setting("Peak of the learning rate.", shown="the recipe's", gt=0)
    schedule: str = setting(
        "Of the learning rate: one-cycle, or cosine with a warm-up; for texts linear, a rise and a fall.",
        shown="the recipe's",
        default="one-cycle",
    )
    momentum: float = setting("The optimizer's; AdamW's first beta.", gt=0, lt=1)
    weight_decay: float = setting("The L2 penalty.", ge=0)
    label_smoothing: float = setting("Of the loss that is optimised, never of the one that is scored.", ge=0, lt=1)
    initial: str | None = setting(
        "Choose from the first epoch on by what a run on the same data knew: its folder, or its samples.parquet.",
        shown="none",
        default=None,
    )
    initial_digest: str | None = setting("A digest of that file, which may change while its path stays.", default=None)
    record: str | None = setting(
        "Remember more of each sample, which finds wrong labels: all, or mean_loss, mean_margin, first_learnt, "
        "forgotten, predicted, separated by commas.",
        shown="none",
        default=None,
    )
    max_length: int | None = setting(
        "Tokens after which a text is cut off. Shorter texts train faster.", shown="the task's", default=None, ge=8
    )
    group_by_length: bool = setting(
        "Put texts of like length into each batch, so that little is padded.", shown="", default=False
    )
    ema: float = setting(
        "Score a running average of the weights, of this decay per step.", shown="0, none", default=0.0, ge=0, lt=1
    )
    recalibrate_bn: bool = setting(
        "Score once more at the end, with the batch-norm statistics estimated again on random training images.",
        shown="",
        default=False,
    )


class MachineSettings(Group):
    """Where a run computes."""

    device: Literal["auto", "cpu", "cuda"] = setting("auto, cpu or cuda.", shown="auto", default="auto")
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto, fp32 or bf16; auto is bf16 where the hardware computes it.", shown="auto", default="auto"
    )
    threads: int = setting("CPU threads of torch.", default=1, ge=1, le=1024)
    compile: bool = setting(
        "Train through torch.compile: faster from the second minute on; on a CPU it needs a C++ compiler.",
        shown="",
        default=False,
    )


GROUPS: dict[str, type[Group]] = {
    "cost": CostSettings,
    "data": DataSettings,
    "training": TrainingSettings,
    "machine": MachineSettings,
}
"""In the order in which the help shows them."""

GROUP_OF = {name: group for group, model in GROUPS.items() for name in model.model_fields}
FIELDS: dict[str, FieldInfo] = {
    name: model.model_fields[name] for model in GROUPS.values() for name in model.model_fields
}
"""Every setting by its name, which no two groups share."""


def extra_of(name: str) -> dict[str, Any]:
    """Return what a setting's declaration says beyond pydantic: `shown`, `rule` and `advice`."""
    extra = FIELDS[name].json_schema_extra
    assert isinstance(extra, dict), "as `setting` declares it"
    return {**extra, "rule": extra["rule"] or _rule(FIELDS[name])}


def in_words(name: str, value: object) -> str:
    """Return a setting and its value as a reader is told; where the value is None, what the help calls that.

    Example:
        >>> in_words("train_size", 80), in_words("train_size", None), in_words("compile", True)
        ('train size 80', 'train size all', 'compile true')
    """
    if value is None:
        value = extra_of(name)["shown"] or "none"
    return f"{name.replace('_', ' ')} {str(value).lower() if isinstance(value, bool) else value}"


def kind_of(name: str) -> type:
    """Return the type of a setting's value, where it has one."""
    annotation = FIELDS[name].annotation
    first = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
    return first if isinstance(first, type) else type(first)


def _rule(field: FieldInfo) -> str:
    """Return what a value must be, in words, by its type and its limits."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(get_args(annotation))}"
    if annotation is bool:
        return "true or false"
    if annotation in (str, str | None):
        return "text"
    limits = {type(limit).__name__: dataclasses.astuple(limit)[0] for limit in field.metadata}
    low, high = (
        next((limits[name] for name in names if name in limits), None) for names in (("Ge", "Gt"), ("Le", "Lt"))
    )
    if annotation in (int, int | None):
        return f"an integer of at least {low}" if high is None else f"an integer from {low} to {high:,}"
    if high is None:
        return "a positive number" if "Gt" in limits else f"a number of at least {low}"
    return f"in {'[' if 'Ge' in limits else '('}{low}, {high}{']' if 'Le' in limits else ')'}"


DIGESTS = ("files", "initial_digest")
"""The settings that nobody gives: they are taken of what is there."""

OPTIONS = tuple(name for name in FIELDS if extra_of(name)["shown"] is not None)
"""The settings that a command line can give."""
