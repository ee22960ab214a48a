"""Methods as they are written on a command line: `emp:beta=3:pool=2`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emprune.errors import ConfigError
from emprune.methods import Method, make_method, method_class
from emprune.methods.emp import EMP
from emprune.methods.infobatch import InfoBatch
from emprune.methods.options import Option, Value, options_of, parse_options, split_spec

__all__ = ["MethodSpec", "method_options", "stored_method", "usable_as_text"]

MEMORY_TERMS: dict[str, Sequence[str]] = {
    "classification": ("prediction_entropy",),
    "contrastive": ("instance_entropy", "view_alignment"),
}
"""The memory terms that what is trained for can have; the first is what is meant where none is named."""

EARLIER_DEFAULTS: dict[str, Mapping[str, str]] = {"emp": {"pool": "none"}}
"""Options that had another default once, and which: names spell them, and a stored one without them means it."""


@dataclass(frozen=True)
class MethodSpec:
    """A method's name and, as declared, its options that differ from their defaults or had another default once.

    Args:
        name: As registered.
        options: Values by option name.

    Example:
        >>> str(MethodSpec.parse("emp:pool=2:beta=10"))
        'emp:beta=10:pool=2'
        >>> str(MethodSpec.parse("emp"))
        'emp:pool=2'
        >>> MethodSpec.parse("greedy").make()
        Greedy()
    """

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, *, objective: str = "classification") -> "MethodSpec":
        """Return the specification that `name:option=value:...` spells.

        Args:
            text: The method and its options.
            objective: What is trained for. It decides which memory term is meant where none is named.

        Raises:
            ConfigError: If the method or an option does not exist, a value is not of the option's type, or the memory
                term is one of another objective.
        """
        name, texts = split_spec(text)
        given = parse_options(method_class(name), texts)
        declared = method_options(name)
        if "memory" in declared and MEMORY_TERMS[objective][0] in declared["memory"].choices:
            _choose_memory_term(given, text, objective, declared["memory"])
        values = {o: given.get(o, option.default) for o, option in declared.items()}
        spelled = EARLIER_DEFAULTS.get(name, {})
        return cls(name, {o: value for o, value in values.items() if o in spelled or value != declared[o].default})

    def make(self) -> Method:
        """Return the method itself.

        Raises:
            ConfigError: If a value is outside what the method allows, or it needs something that cannot be written.
        """
        declared = options_of(method_class(self.name))
        missing = [o for o, option in declared.items() if option.required and o not in self.options]
        if missing:
            where = "" if usable_as_text(self.name) else " cannot be used from the command line: it"
            raise ConfigError(f"`{self.name}`{where} needs {', '.join(missing)}.")
        return make_method(self.name, **self.options)

    def ranks_as_greedy(self, num_classes: int) -> bool:
        """Return whether the method is EMP with a memory term that cannot change the order, as on two classes."""
        method = self.make()
        return isinstance(method, EMP) and method.ranks_as_greedy(num_classes)

    def prefers_nothing(self, keep: float) -> bool:
        """Return whether the method is InfoBatch at so low a keep that it keeps a uniform subset."""
        method = self.make()
        return isinstance(method, InfoBatch) and method.prefers_nothing(keep)

    def __str__(self) -> str:
        declared = options_of(method_class(self.name)) if self.options else {}
        return ":".join([self.name, *(f"{o}={declared[o].text_of(value)}" for o, value in self.options.items())])

    @property
    def slug(self) -> str:
        """The specification as a folder name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", str(self))


def method_options(name: str) -> dict[str, Option]:
    """Return the options of a method that can be written as text, by name, in the order they are declared."""
    return {option: value for option, value in options_of(method_class(name)).items() if value.types}


def stored_method(text: str) -> str:
    """Return what a stored name means: `emp` without a pool is of the time when that was the default.

    Example:
        >>> stored_method("emp:beta=5")
        'emp:beta=5:pool=none'
        >>> stored_method("emp:pool=2")
        'emp:pool=2'
    """
    name, *options = text.split(":")
    named = {option.partition("=")[0] for option in options}
    meant = [f"{o}={value}" for o, value in EARLIER_DEFAULTS.get(name, {}).items() if o not in named]
    return ":".join([text, *meant])


def usable_as_text(name: str) -> bool:
    """Return whether all that a method needs can be written as text."""
    return all(option.types for option in options_of(method_class(name)).values() if option.required)


def _choose_memory_term(given: dict[str, Value], text: str, objective: str, memory: Option) -> None:
    terms = MEMORY_TERMS[objective]
    chosen = given.setdefault("memory", terms[0])
    known = {term for others in MEMORY_TERMS.values() for term in others}
    if chosen in known and chosen not in terms:
        raise ConfigError(
            f"`memory` must be a term for {objective}, {' or '.join(map(memory.text_of, terms))}; got {text!r}. "
            f"Leave it out for {memory.text_of(terms[0])}."
        )
