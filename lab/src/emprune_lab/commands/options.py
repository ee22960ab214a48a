"""The options that `run`, `compare`, `estimate` and `analyze` have in common: a run's settings, declared once."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from emprune.errors import ConfigError
from emprune_lab.files import home_expanded

__all__ = [
    "DEFAULT_BASELINE",
    "DEFAULT_METHODS",
    "DEFAULT_SEEDS",
    "DataDir",
    "path_argument",
    "path_option",
    "refuse_settings",
    "takes_settings",
]

DEFAULT_METHODS = "full,random,random-permutation,infobatch,ucb,epsilon-greedy,greedy,emp"
DEFAULT_BASELINE = "random-permutation"
DEFAULT_SEEDS = "5"

COST, DATA, TRAINING, MACHINE = "Cost", "Data", "Training", "Machine"


def _path(text: str) -> Path:
    try:
        return home_expanded(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def path_option(*names: str, **options: Any) -> Any:
    """Return an option that takes a path, in which ~ is the home folder; `options` are typer's."""
    return typer.Option(*names, parser=_path, metavar="PATH", **options)


def path_argument(**options: Any) -> Any:
    """Return an argument that takes a path likewise."""
    return typer.Argument(parser=_path, **options)


DataDir = Annotated[
    Path | None,
    path_option(help="Where data sets are cached.", show_default="the user's cache folder", rich_help_panel=DATA),
]


def _option(panel: str, text: str, *names: str, default: str | bool = True) -> Any:
    return typer.Option(*names, help=text, show_default=default, rich_help_panel=panel)


def _settings(
    keep: Annotated[
        float | None,
        _option(
            COST,
            "Mean fraction of the training data visited per epoch, in (0, 1]. Pruning 70 % is 0.3.",
            default="0.3",
        ),
    ] = None,
    epochs: Annotated[int | None, _option(COST, "Length of the run.", default="the recipe's")] = None,
    warmup_epochs: Annotated[
        int | None, _option(COST, "Full-data epochs at the start, paid for by the pruned ones.", default="0")
    ] = None,
    tail_epochs: Annotated[int | None, _option(COST, "Full-data epochs at the end.", default="the method's")] = None,
    warmup_fraction: Annotated[float | None, typer.Option(hidden=True)] = None,  # of version 0.1, to be refused
    tail_fraction: Annotated[float | None, typer.Option(hidden=True)] = None,
    train_size: Annotated[
        int | None,
        _option(DATA, "Use a class-balanced subset of the training data, the same for every seed.", default="all"),
    ] = None,
    validation: Annotated[
        float | None,
        _option(DATA, "Split off this share of the training data and score it, up to 20 times in a run.", default="0"),
    ] = None,
    label_noise: Annotated[
        float | None, _option(DATA, "Make this share of the training labels wrong.", default="0")
    ] = None,
    imbalance: Annotated[
        float | None,
        _option(DATA, "Thin the classes out to a long tail: the largest so many times the smallest.", default="1"),
    ] = None,
    subset_fraction: Annotated[
        float | None,
        _option(DATA, "Train on this share of the training data, drawn by the run's seed.", default="1, all of it"),
    ] = None,
    recipe: Annotated[
        str | None,
        _option(TRAINING, "Named defaults for what follows; `emprune tasks` lists them.", default="default"),
    ] = None,
    model: Annotated[
        str | None,
        _option(
            TRAINING,
            "A model of ours, or torchvision:NAME or timm:NAME; for texts minilm, minilm-2 or hf:FOLDER-OR-NAME.",
            default="the recipe's",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, _option(TRAINING, "Samples per optimizer step, on all ranks together.", default="the recipe's")
    ] = None,
    optimizer: Annotated[str | None, _option(TRAINING, "sgd or lars; for texts adamw.", default="the recipe's")] = None,
    max_lr: Annotated[float | None, _option(TRAINING, "Peak of the learning rate.", default="the recipe's")] = None,
    schedule: Annotated[
        str | None,
        _option(
            TRAINING,
            "Of the learning rate: one-cycle, or cosine with a warm-up; for texts linear, a rise and a fall.",
            default="the recipe's",
        ),
    ] = None,
    ema: Annotated[
        float | None,
        _option(TRAINING, "Score a running average of the weights, of this decay per step.", default="0, none"),
    ] = None,
    recalibrate_bn: Annotated[
        bool,
        _option(
            TRAINING,
            "Score once more at the end, with the batch-norm statistics estimated anew on random training images.",
            "--recalibrate-bn",
        ),
    ] = False,
    device: Annotated[str | None, _option(MACHINE, "auto, cpu or cuda.", default="auto")] = None,
    precision: Annotated[
        str | None,
        _option(MACHINE, "auto, fp32 or bf16; auto is bf16 where the hardware computes it.", default="auto"),
    ] = None,
    compile: Annotated[
        bool,
        _option(
            MACHINE,
            "Train through torch.compile: faster from the second minute on; on a CPU it needs a C++ compiler.",
            "--compile",
        ),
    ] = False,
) -> None:
    """Declare the settings; None, or False, is what the recipe, the method or the machine says."""


PARAMETERS = tuple(
    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for parameter in inspect.signature(_settings).parameters.values()
)


def takes_settings(
    command: Callable[..., None], *, unless_given: Mapping[str, Any] | None = None
) -> Callable[..., None]:
    """Give a command an option for each setting, in the place of its parameter `settings`, a dictionary.

    Args:
        command: The command.
        unless_given: The settings that it makes itself where they are not given, for its help to say.
    """

    @functools.wraps(command)
    def with_settings(**values: Any) -> None:
        settings = {parameter.name: values.pop(parameter.name) for parameter in PARAMETERS}
        given = {name: value for name, value in settings.items() if value is not None and value is not False}
        command(settings=given, **values)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
    shared = [_with_default(parameter, unless_given or {}) for parameter in PARAMETERS]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_settings


def _with_default(parameter: inspect.Parameter, defaults: Mapping[str, Any]) -> inspect.Parameter:
    """Return a setting's option whose help names the command's own default, where it has one."""
    if parameter.name not in defaults:
        return parameter
    kind, option = get_args(parameter.annotation)
    value = defaults[parameter.name]
    option = copy.copy(option)
    option.show_default = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return parameter.replace(annotation=Annotated[kind, option])


def refuse_settings(settings: Mapping[str, Any], *, because: str) -> None:
    """Raise ConfigError if any setting was given where none can be; an argument has its name in capitals."""
    if settings:
        given = ", ".join(name if name.isupper() else f"--{name.replace('_', '-')}" for name in settings)
        raise ConfigError(f"{because} Leave out {given}.")
