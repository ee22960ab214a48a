"""The options that `run`, `compare`, `estimate` and `analyze` share, made from the declaration of the settings."""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from emprune.errors import ConfigError
from emprune_lab.commands.completion import values_of
from emprune_lab.declaration import FIELDS, GROUP_OF, OPTIONS, extra_of, kind_of
from emprune_lab.files import home_expanded

__all__ = ["NUMERIC", "DataDir", "path_argument", "path_option", "refuse_settings", "takes_settings"]

OF_VERSION_0_1 = ("warmup_fraction", "tail_fraction")
"""Taken, so that they can be refused with what to write now."""

NUMERIC = tuple(name for name in OPTIONS if kind_of(name) in (int, float))
NUMBERS = {int: "<int>", float: "<float>"}
"""How the help shows an option that takes a number."""
PERCENT = re.compile(r"\d+(\.\d+)?%")
NAMES = {int: "a whole number", float: "a number"}


def _path(text: str) -> Path:
    try:
        return home_expanded(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def path_option(*names: str, **options: Any) -> Any:
    """Return an option that takes a path, in which ~ is the home folder; `options` are typer's."""
    return typer.Option(*names, parser=_path, metavar="PATH", **options)


def path_argument(**options: Any) -> Any:
    """Return an argument that takes a path, in which ~ is the home folder; `options` are typer's."""
    return typer.Argument(parser=_path, **options)


DataDir = Annotated[
    Path | None,
    path_option(help="Where data sets are cached.", show_default="the user's cache folder", rich_help_panel="Data"),
]


def _parameter(name: str, panel: str, shown: str | bool, *, varied: bool) -> inspect.Parameter:
    """Return the option of a setting; None, or False, is what the recipe, the method or the machine says.

    Args:
        name: The setting's.
        panel: Of the help.
        shown: Its default in the help.
        varied: Whether it may be several numbers, separated by commas.
    """
    field = FIELDS[name]
    is_flag = field.annotation is bool
    kind: Any = bool if is_flag else Optional[kind_of(name)]  # noqa: UP045 - of a value, not of a type
    options: dict[str, Any] = {"autocompletion": lambda: values_of(name)}
    if name in NUMERIC:
        number = kind_of(name)
        metavar = f"{NUMBERS[number]},..." if varied else NUMBERS[number]
        options = {"parser": _number_parser(number, varied), "metavar": metavar}
        kind = Any
    option = typer.Option(
        *([f"--{name.replace('_', '-')}"] if is_flag else []),
        help=field.description,
        show_default=shown,
        rich_help_panel=panel,
        **options,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False if is_flag else None, annotation=Annotated[kind, option]
    )


def _hidden(name: str) -> inspect.Parameter:
    annotation = Annotated[float | None, typer.Option(hidden=True)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _number_parser(kind: type[int] | type[float], several: bool) -> Callable[[str], Any]:
    """Return what reads the number that a text spells, or, if `several` may be, a list of those between commas."""

    def number(text: str) -> Any:
        try:
            found = [kind(part) for part in (text.split(",") if several else [text])]
        except ValueError:
            more = ", or several separated by commas." if several else "."
            advice = " `compare` takes several, separated by commas." if "," in text and not several else ""
            advice += f" {text} is {float(text[:-1]) / 100:g}." if PERCENT.fullmatch(text) else ""
            raise typer.BadParameter(f"{text!r} must be {NAMES[kind]}{more}{advice}") from None
        return found if len(found) > 1 else found[0]

    return number


def _parameters(defaults: Mapping[str, Any], *, varied: Collection[str]) -> list[inspect.Parameter]:
    """Return the options of all settings that can be given on a command line.

    Args:
        defaults: Those that a command makes itself where they are not given, for its help to say.
        varied: Those that may be several numbers.
    """
    parameters = [
        _parameter(name, GROUP_OF[name].capitalize(), _shown(name, defaults), varied=name in varied) for name in OPTIONS
    ]
    text = "Named defaults for the training; `emprune tasks` lists them."
    recipe = typer.Option(help=text, show_default="default", rich_help_panel="Training")
    annotation = Annotated[str | None, recipe]
    parameters.append(inspect.Parameter("recipe", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return [*parameters, *map(_hidden, OF_VERSION_0_1)]


def _shown(name: str, defaults: Mapping[str, Any]) -> str | bool:
    if name in defaults:
        value = defaults[name]
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return str(extra_of(name)["shown"]) or False


def takes_settings(
    command: Callable[..., None], *, unless_given: Mapping[str, Any] | None = None, varied: Collection[str] = ()
) -> Callable[..., None]:
    """Give a command an option for each setting, instead of its parameter `settings`, a dictionary.

    Args:
        command: The command.
        unless_given: The settings that it makes itself where they are not given, for its help to say.
        varied: The settings that may be several numbers, separated by commas.
    """
    shared = _parameters(unless_given or {}, varied=varied)

    @functools.wraps(command)
    def with_settings(**values: Any) -> None:
        settings = {parameter.name: values.pop(parameter.name) for parameter in shared}
        given = {name: value for name, value in settings.items() if value is not None and value is not False}
        command(settings=given, **values)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
    parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *shared]
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_settings


def refuse_settings(settings: Mapping[str, Any], *, because: str) -> None:
    """Raise ConfigError if any setting was given where none can be; an argument has its name in capitals."""
    if settings:
        given = ", ".join(name if name.isupper() else f"--{name.replace('_', '-')}" for name in settings)
        raise ConfigError(f"{because} Leave out {given}.")
