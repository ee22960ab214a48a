"""The public names and their signatures, as `public_api.txt` has them: none is removed or changed unseen.

Write the file anew after a change that is meant::

    python -m tests.unit.test_public_api
"""

import dis
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import emprune

SNAPSHOT = Path(__file__).with_name("public_api.txt")
MODULES = (
    "emprune",
    "emprune.data",
    "emprune.errors",
    "emprune.losses",
    "emprune.memory",
    "emprune.methods",
    "emprune.schedule",
    "emprune.selection",
    "emprune.summary",
    "emprune.suspects",
    "emprune.testing",
)
NEEDED = {
    "emprune.integrations.accelerate": "accelerate",
    "emprune.integrations.datasets": "datasets",
    "emprune.integrations.lightning": "lightning",
    "emprune.integrations.sentence_transformers": "sentence_transformers",
    "emprune.integrations.tracking": "torch",
    "emprune.integrations.transformers": "transformers",
    "emprune.integrations.trl": "trl",
    "emprune.integrations.webdataset": "webdataset",
}
"""The integrations, and the package that each cannot be imported without."""
PUBLIC_CLASSES = {
    name: {id(value) for value in vars(importlib.import_module(name)).values() if inspect.isclass(value)}
    for name in MODULES
}
OPERATORS = {"__call__", "__contains__", "__getitem__", "__iter__", "__len__", "__next__"}


def describe_module(name: str) -> list[str]:
    """Every public name of a module, a line each, with its signature."""
    module = importlib.import_module(name)
    values = {public: getattr(module, public) for public in sorted(module.__all__)}
    documented = set(map(id, values.values())).union(*(PUBLIC_CLASSES[other] for other in MODULES if other != name))
    return [line for public, value in values.items() for line in describe(public, value, name, documented)]


def describe(name: str, value: Any, module: str, documented: set[int]) -> Iterator[str]:
    if module == "emprune" and any(id(value) in PUBLIC_CLASSES[other] for other in MODULES[1:]):
        yield f"{name}, as {value.__module__} has it"
    elif inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})"
        if not issubclass(value, BaseException):
            yield f"{name}{signature(value)}"
        yield from (f"{name}.{describe_member(value, member)}" for member in members(value, documented))
    else:
        yield f"{name}{signature(value)}" if inspect.isfunction(value) else name


def members(cls: type, documented: set[int]) -> list[str]:
    """The public attributes that the library wrote and no public base has, instances' own among them."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.startswith("emprune") and (base is cls or id(base) not in documented):
            names.update(vars(base), inspect.get_annotations(base), assigned(vars(base).get("__init__")))
    return sorted(name for name in names if not name.startswith(("_", "test_")) or name in OPERATORS)


def assigned(constructor: Any) -> set[str]:
    """What a constructor stores as attributes."""
    if constructor is None:
        return set()
    steps = dis.get_instructions(inspect.unwrap(constructor))
    return {step.argval for step in steps if step.opname == "STORE_ATTR"}


def describe_member(cls: type, name: str) -> str:
    value = inspect.getattr_static(cls, name, None)
    if isinstance(value, (staticmethod, classmethod)):
        return f"{name}{signature(value.__func__)} {type(value).__name__}"
    return f"{name}{signature(value)}" if inspect.isfunction(value) else name


def signature(value: Any) -> str:
    """The parameters with their kinds and defaults; types are mypy's."""
    found = inspect.signature(value)
    plain = [one.replace(annotation=one.empty, default=by_name(one.default)) for one in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def by_name(default: Any) -> Any:
    """A function that is a default, without its address."""
    return Name(default.__qualname__) if inspect.isfunction(default) else default


class Name(str):
    """Shown without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


def recorded() -> dict[str, list[str]]:
    """The snapshot's lines by module."""
    modules: dict[str, list[str]] = {}
    for line in SNAPSHOT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = modules.setdefault(line.strip("[]"), [])
        elif line:
            lines.append(line)
    return modules


@pytest.mark.parametrize("module", [*MODULES, *NEEDED])
def test_no_public_name_and_no_argument_is_changed_unseen(module: str) -> None:
    if module in NEEDED:
        pytest.importorskip(NEEDED[module])
    assert describe_module(module) == recorded()[module]


def test_the_top_level_holds_its_public_names_and_modules_alone() -> None:
    assert len(emprune.__all__) <= 15
    found = {name: value for name, value in vars(emprune).items() if not name.startswith("_")}
    assert {name for name, value in found.items() if not isinstance(value, ModuleType)} == set(emprune.__all__)


def write() -> None:
    """Write the snapshot anew; an integration whose package is not installed keeps its lines."""
    sections = recorded() if SNAPSHOT.exists() else {}
    for name in (*MODULES, *NEEDED):
        if name in MODULES or importlib.util.find_spec(NEEDED[name]):
            sections[name] = describe_module(name)
    text = "\n\n".join("\n".join([f"[{name}]", *lines]) for name, lines in sections.items())
    SNAPSHOT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{SNAPSHOT}\n")
