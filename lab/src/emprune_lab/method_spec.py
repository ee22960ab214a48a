"""A method and its options as typed values, and how people write them: `emp:beta=3:pool=2@equal`.

What follows the `@` is asked of the plans, and not of the method: quotas of the classes, and a guard.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from emprune.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from emprune.groups import Groups
    from emprune.methods import Method
    from emprune.methods.options import Option

# The library's methods are imported where they are asked for: they bring torch, which no --help and no file needs.

__all__ = [
    "DEFAULT_BASELINE",
    "DEFAULT_METHODS",
    "DEFAULT_SEEDS",
    "MEMORY_TERMS",
    "MethodSpec",
    "expanded_methods",
    "listed_methods",
    "method_options",
    "usable_as_text",
]

DEFAULT_METHODS = "full,random,random-permutation,infobatch,ucb,epsilon-greedy,greedy,emp"
DEFAULT_BASELINE = "random-permutation"
DEFAULT_SEEDS = "5"
"""What a comparison is made of unless it says otherwise."""

ALL = "all"
"""What stands in a list for every method that a command can run."""

MEMORY_TERMS: dict[str, Sequence[str]] = {
    "classification": ("prediction_entropy",),
    "contrastive": ("instance_entropy", "view_alignment"),
    "language-model": ("prediction_entropy",),
}
"""The memory terms that what is trained for can have; the first is what is meant where none is named."""

ALWAYS_WRITTEN: dict[str, Sequence[str]] = {"emp": ("pool",)}
"""Options that had another default in version 0.1. They are always written, so that `emp` is never misread."""

Value = bool | int | float | str | None


Quota = Literal["free", "proportional", "equal", "rcap"]


class MethodSpec(BaseModel):
    """A method's name, the values of all its options that can be written as text, and its quotas of the classes.

    Args:
        name: As registered.
        options: Values by option name, those at their defaults too. A default that changes later changes no stored run.
        quota: How many samples of each class an epoch has; "free" is as the method chooses.
        floor: At least this share of each class is visited in every pruned epoch.
        guard: Wrong predictions in a row after which a sample is set aside; None for no guard.

    Example:
        >>> str(MethodSpec.parse("emp:pool=2:beta=10"))
        'emp:beta=10:pool=2'
        >>> str(MethodSpec.parse("emp"))
        'emp:pool=2'
        >>> MethodSpec.parse("greedy").make()
        Greedy()
        >>> MethodSpec.parse("random-permutation@equal").quota
        'equal'
        >>> MethodSpec.parse("emp@guard=3").guard
        3
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    options: dict[str, Value] = {}
    quota: Quota = "free"
    floor: float = 0.0
    guard: int | None = None

    @classmethod
    def parse(cls, text: str, *, objective: str = "classification") -> "MethodSpec":
        """Return the method that `name:option=value:...` spells, with quotas after an `@`.

        Args:
            text: The method and its options. `@equal`, `@proportional` or `@rcap` is a quota of each class,
                `@floor=0.1` the least share of each, and `@equal:floor=0.1` both. `@guard=3` is a guard.
            objective: What is trained for. It decides which memory term is meant where none is named.

        Raises:
            ConfigError: If the method or an option does not exist. If a value is not of the option's type, or the
                memory term is one of another objective.
        """
        from emprune.methods import method_class
        from emprune.methods.options import parse_options, split_spec

        text, _, quotas = text.partition("@")
        name, texts = split_spec(text)
        given = parse_options(method_class(name), texts)
        declared = method_options(name)
        if "memory" in declared and MEMORY_TERMS[objective][0] in declared["memory"].choices:
            given["memory"] = _memory_term(given.get("memory"), text, objective, declared["memory"])
        return cls(
            name=name,
            options={
                o: given.get(o, option.default) for o, option in declared.items() if not option.required or o in given
            },
            **_quotas(quotas),
        )

    @classmethod
    def stored(cls, text: str, defaults: Mapping[str, str], *, objective: str = "classification") -> "MethodSpec":
        """Return the method of a stored run that has it as text.

        Args:
            text: As `parse` takes it. A method of another package, which is not here, keeps its options as text.
            defaults: Options that the text leaves out, and what they were when it was written.
            objective: As `parse` takes it.
        """
        name, *options = text.split(":")
        written = dict(option.partition("=")[::2] for option in options)
        spelled = ":".join([name, *(f"{o}={value}" for o, value in {**defaults, **written}.items())])
        try:
            return cls.parse(spelled, objective=objective)
        except ConfigError:
            return cls(name=name, options=dict(written))

    def make(self) -> "Method":
        """Return the method itself.

        Raises:
            ConfigError: If a value is outside what the method allows, or it needs something that cannot be written.
        """
        from emprune.methods import make_method, method_class
        from emprune.methods.options import options_of

        declared = options_of(method_class(self.name))
        missing = [o for o, option in declared.items() if option.required and o not in self.options]
        if missing:
            where = "" if usable_as_text(self.name) else " cannot be used from the command line: it"
            raise ConfigError(f"`{self.name}`{where} needs {', '.join(missing)}.")
        return make_method(self.name, **self.options)

    def groups(self, labels: "Tensor") -> "Groups | None":
        """Return the classes' quotas over samples with these labels, (N,); None where the method chooses freely."""
        from emprune.groups import Groups

        if self.quota == "free" and not self.floor:
            return None
        return Groups(labels, quota=self.quota, floor=self.floor)

    def __str__(self) -> str:
        """Return the method as people write it: options at their defaults are left out."""
        try:
            declared: Mapping[str, Option] = method_options(self.name) if self.options else {}
        except ConfigError:  # of another package, which is not here
            declared = {}
        kept = ALWAYS_WRITTEN.get(self.name, ())
        parts = [self.name]
        for option, value in self.options.items():
            known = declared.get(option)
            if known is None:
                parts.append(f"{option}={value}")
            elif option in kept or value != known.default:
                parts.append(f"{option}={known.text_of(value)}")
        return "@".join(filter(None, (":".join(parts), self.behind_at)))

    @property
    def behind_at(self) -> str:
        """The quota, the floor and the guard as people write them after `@`; empty without any."""
        written: list[str] = [] if self.quota == "free" else [self.quota]
        written += [f"floor={self.floor:g}"] if self.floor else []
        written += [f"guard={self.guard}"] if self.guard is not None else []
        return ":".join(written)


def method_options(name: str) -> "dict[str, Option]":
    """Return the options of a method that can be written as text, by name, in the order they are declared."""
    from emprune.methods import method_class
    from emprune.methods.options import options_of

    return {option: value for option, value in options_of(method_class(name)).items() if value.types}


def listed_methods(text: str) -> list[str]:
    """Return the methods that are listed with commas; `all` stands for every method that a command can run.

    Example:
        >>> listed_methods("full, emp:pool=none")
        ['full', 'emp:pool=none']
        >>> "seta" in listed_methods("all"), "static-subset" in listed_methods("all")
        (True, False)
    """
    return expanded_methods([method.strip() for method in text.split(",") if method.strip()])


def expanded_methods(listed: Sequence[str]) -> list[str]:
    """Return the methods of a list; `all` in it stands for every method that a command can run."""
    from emprune.methods import method_names

    runnable = filter(usable_as_text, method_names()) if ALL in listed else ()
    return [name for method in listed for name in (runnable if method == ALL else (method,))]


def usable_as_text(name: str) -> bool:
    """Return whether all that a method needs can be written as text."""
    from emprune.methods import method_class
    from emprune.methods.options import options_of

    return all(option.types for option in options_of(method_class(name)).values() if option.required)


def _quotas(text: str) -> dict[str, Any]:
    """Return the quota, the floor and the guard that are written after a method's `@`.

    Raises:
        ConfigError: If they are none.
    """
    found: dict[str, Any] = {}
    for part in text.split(":") if text else ():
        name, equals, value = part.partition("=")
        if not equals and name in get_args(Quota)[1:] and "quota" not in found:
            found["quota"] = name
        elif name == "floor" and _is_share(value) and "floor" not in found:
            found["floor"] = float(value)
        elif name == "guard" and value.isdecimal() and int(value) and "guard" not in found:
            found["guard"] = int(value)
        else:
            raise ConfigError(
                f"What follows `@` must be {', '.join(get_args(Quota)[1:])}, floor=SHARE in (0, 1), or guard=VISITS of "
                f"at least 1; got {part!r}. Write emp@equal, emp@equal:floor=0.1 or emp@guard=3."
            )
    return found


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def _memory_term(chosen: Value, text: str, objective: str, memory: "Option") -> Value:
    terms = MEMORY_TERMS[objective]
    chosen = terms[0] if chosen is None else chosen
    known = {term for others in MEMORY_TERMS.values() for term in others}
    if chosen in known and chosen not in terms:
        raise ConfigError(
            f"`memory` must be a term for {objective}, {' or '.join(map(memory.text_of, terms))}; got {text!r}. "
            f"Leave it out for {memory.text_of(terms[0])}."
        )
    return chosen
