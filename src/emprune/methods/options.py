"""A method's options, and how they are written as text: `emp:beta=5:pool=none`."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from emprune.errors import ConfigError, MethodError
from emprune.methods.base import Method
from emprune.names import unknown_name

__all__ = ["Option", "Value", "options_of", "parse_options", "split_spec"]

Value: TypeAlias = bool | int | float | str | None
"""What can be written as text."""
_WORDS = {bool: "true or false", int: "an integer", float: "a number", types.NoneType: "none"}


@dataclass(frozen=True)
class Option:
    """What a method's option may be.

    Args:
        types: Those of its types that can be written as text; none for a tensor or a function.
        choices: The words that it may be; none where any text will do.
        default: Its default.
        required: Whether it has none.
    """

    types: tuple[type, ...]
    choices: tuple[str, ...]
    default: Any
    required: bool

    def text_of(self, value: Value) -> str:
        """Return a value as it is written, in lower case and words with hyphens."""
        if isinstance(value, str):
            return value.replace("_", "-") if value in self.choices else value
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value).lower()


@functools.cache  # a report asks hundreds of times
def options_of(cls: type[Method]) -> Mapping[str, Option]:
    """Return a method's options by name, in the order they are declared.

    Raises:
        MethodError: If the types of its fields are names that its module does not have.
    """
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise MethodError(
            f"The types of {cls.__name__}'s options must be known when the program runs; got {error}. Import them "
            "outside `if TYPE_CHECKING`."
        ) from error
    options = {
        entry.name: Option(
            *_written(hints[entry.name]),
            entry.default,
            entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING,
        )
        for entry in dataclasses.fields(cls)  # type: ignore[arg-type]
        if entry.init
    }
    return types.MappingProxyType(options)


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Return the name and the options, as they are written, of `name:option=value:...`.

    Raises:
        ConfigError: If it is not of that form, or gives an option twice.

    Example:
        >>> split_spec("emp:beta=5:pool=none")
        ('emp', {'beta': '5', 'pool': 'none'})
    """
    name, *parts = spec.strip().split(":")
    texts: dict[str, str] = {}
    for part in parts:
        option, equals, text = part.partition("=")
        if not equals:
            raise ConfigError(f"A method's options are written `name:option=value:...`; got {spec!r}.")
        if option in texts:
            raise ConfigError(f"`{option}` is given twice; got {spec!r}.")
        texts[option] = text
    return name, texts


def parse_options(cls: type[Method], texts: Mapping[str, str]) -> dict[str, Value]:
    """Return the values that texts spell, by option.

    Raises:
        ConfigError: If the method has no such option, or a text is not of the option's type.
    """
    known = {name: option for name, option in options_of(cls).items() if option.types}
    for name in texts:
        if name not in known:
            raise unknown_name(f"option of `{cls.name}`", name, known)
    return {name: _parse(f"{cls.name}:{name}", text, known[name]) for name, text in texts.items()}


def _parse(name: str, text: str, option: Option) -> Value:
    allowed = option.types
    if types.NoneType in allowed and text.lower() == "none":
        return None
    if bool in allowed and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        if number in allowed:
            try:
                return number(text)
            except ValueError:
                continue
    if str in allowed and not option.choices:
        return text
    for choice in option.choices:
        if choice.replace("_", "-") == text.replace("_", "-"):
            return choice
    possible = [*map(option.text_of, option.choices), *(_WORDS[kind] for kind in allowed if kind is not str)]
    raise ConfigError(f"`{name}` must be {' or '.join(possible)}; got {text!r}.")


def _written(hint: object) -> tuple[tuple[type, ...], tuple[str, ...]]:
    """The types and the words among a hint's alternatives that can be written; None counts only beside another."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    kinds: dict[type, None] = {}
    choices: list[str] = []
    any_text = False
    for alternative in typing.get_args(hint) if union else (hint,):
        if typing.get_origin(alternative) is typing.Literal:
            values = typing.get_args(alternative)
            kinds.update(dict.fromkeys(map(type, values)))
            choices += [value for value in values if isinstance(value, str)]
        elif alternative in (bool, int, float, str, types.NoneType):
            kinds[typing.cast(type, alternative)] = None
            any_text = any_text or alternative is str
    return (tuple(kinds) if set(kinds) - {types.NoneType} else ()), () if any_text else tuple(choices)
