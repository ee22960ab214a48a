"""Methods by name."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

import emprune
from emprune.methods import registry

ALL = "full, random, random-permutation, static-random, static-subset, greedy, epsilon-greedy, ucb, infobatch, emp"


@dataclass(frozen=True)
class Pretender(emprune.Greedy):
    name: ClassVar[str] = "emp"


class NoDataclass(emprune.Method):
    name: ClassVar[str] = "no-dataclass"

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        raise NotImplementedError


@dataclass(frozen=True)
class Nameless(emprune.Method):
    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        raise NotImplementedError


def test_every_method_is_listed() -> None:
    assert ", ".join(emprune.methods.method_names()) == ALL


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("full", {}, emprune.Full()),
        ("greedy", {}, emprune.Greedy()),
        ("emp", {"beta": 1.5, "pool": 2}, emprune.EMP(beta=1.5, pool=2)),
        ("epsilon-greedy", {"epsilon": 0.2}, emprune.methods.EpsilonGreedy(epsilon=0.2)),
        ("ucb", {"c": 2.0}, emprune.methods.UCB(c=2.0)),
        ("infobatch", {"normalize": True}, emprune.InfoBatch(normalize=True)),
    ],
)
def test_a_method_is_made_from_its_name_and_options(
    name: str, options: dict[str, Any], expected: emprune.Method
) -> None:
    assert emprune.methods.make_method(name, **options) == expected


def test_a_taken_name_is_refused_and_leaves_the_method_in_place() -> None:
    with pytest.raises(emprune.ConfigError) as caught:
        emprune.methods.register_method(Pretender)
    assert str(caught.value) == f"The method name 'emp' is taken by EMP; there are {ALL}."
    assert emprune.methods.method_class("emp") is emprune.EMP


@pytest.mark.parametrize("cls", [NoDataclass, Nameless])
def test_a_method_without_a_name_or_fields_is_refused(cls: type[emprune.Method]) -> None:
    with pytest.raises(
        emprune.ConfigError, match=f"frozen dataclass with a class attribute `name`: got {cls.__name__}"
    ):
        emprune.methods.register_method(cls)
    with pytest.raises(emprune.ConfigError, match=f"class attribute `name`: got {cls.__name__}"):  # not when it saves
        emprune.DataPruner(cls(), num_samples=10, num_epochs=4, keep=0.5)
    assert ", ".join(registry.method_names()) == ALL


def test_an_unknown_method_lists_what_exists_and_guesses_what_was_meant() -> None:
    with pytest.raises(emprune.ConfigError) as caught:
        emprune.methods.make_method("infobach")
    assert str(caught.value) == f"Unknown method 'infobach'; there are {ALL}. Did you mean 'infobatch'?"
    with pytest.raises(emprune.ConfigError) as caught:
        emprune.methods.method_class("xyz")
    assert str(caught.value) == f"Unknown method 'xyz'; there are {ALL}."


def test_an_unknown_option_lists_what_exists() -> None:
    with pytest.raises(emprune.ConfigError) as caught:
        emprune.methods.make_method("emp", gamma=1)
    assert str(caught.value) == "Method 'emp' has no option 'gamma'; its options are: beta, memory, pool."
    with pytest.raises(emprune.ConfigError) as caught:
        emprune.methods.make_method("random", beta=1)
    assert str(caught.value) == "Method 'random' has no option 'beta'; its options are: none."
