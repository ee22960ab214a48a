"""`emprune methods NAME`: a method in full, for a reader who is at the terminal."""

import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
from emprune_lab.commands import consoles

import emprune
from emprune.methods import method_class, method_names, registry
from emprune.methods.options import options_of
from tests.lab.reports import call


@pytest.fixture(autouse=True)
def terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles.out, "_width", 80)


@pytest.mark.parametrize("name", method_names())
def test_a_method_is_explained_with_every_option_its_default_and_its_source(name: str) -> None:
    summary, _, rest = (method_class(name).__doc__ or "").partition("\n")
    code, shown, _ = call("methods", name)
    assert code == 0
    assert " ".join(shown.split()).startswith(f"{name}: {summary}")
    for option, value in options_of(method_class(name)).items():
        default = "none; needed" if value.required else value.text_of(value.default)
        (meaning,) = re.findall(rf"^{option} +{re.escape(default)} +(\S.*)", shown, re.MULTILINE)
        assert meaning.strip()
    assert ("References:" in rest) == ("\nFrom " in shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_method_that_does_not_exist_cannot_be_explained() -> None:
    code, _, said = call("methods", "empp")
    assert code == 2
    assert "got 'empp'. Did you mean 'emp'?" in said


def test_a_method_without_a_docstring_is_explained_by_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Bare(emprune.methods.Random):
        temperature: float = 0.5
        name: ClassVar[str] = "bare"

    Bare.__doc__ = None
    monkeypatch.setitem(registry._METHODS, "bare", Bare)
    shown = call("methods", "bare")[1]
    assert shown.startswith("bare: ")
    assert "temperature  0.5" in shown
