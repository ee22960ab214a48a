"""Methods by name."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

import emprune
from emprune.methods import registry
from emprune.methods.options import options_of, parse_options
from tests.messages import Raises

ALL = (
    "full, random, random-permutation, static-random, static-subset, greedy, epsilon-greedy, ucb, infobatch, order-dp, "
    "soft, reducible-loss, kakurenbo, seta, emp"
)


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


@dataclass(frozen=True)
class SelectsNothing(emprune.Method):
    name: ClassVar[str] = "selects-nothing"


class OwnConstructor(emprune.Greedy):
    name: ClassVar[str] = "own-constructor"

    def __init__(self, power: float) -> None:
        self.power = power


def make_thawed() -> type[emprune.Method]:
    namespace = {"name": "thawed", "__annotations__": {"name": ClassVar[str]}, "select": emprune.Random.select}
    return dataclass(type("Thawed", (emprune.Method,), namespace))


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


def test_a_taken_name_is_refused_and_leaves_the_method_in_place(raises: Raises) -> None:
    with raises(emprune.ConfigError, value="emp"):
        emprune.methods.register_method(Pretender)
    assert emprune.methods.method_class("emp") is emprune.EMP


def test_a_method_without_select_is_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, value="SelectsNothing"):
        emprune.methods.register_method(SelectsNothing)


def test_a_method_that_is_defined_again_takes_the_place_of_the_first() -> None:
    def define() -> type[emprune.Method]:
        @dataclass(frozen=True)
        class Again(emprune.Greedy):
            name: ClassVar[str] = "again"

        return Again

    try:
        first, second = (emprune.methods.register_method(define()) for _ in range(2))
        assert emprune.methods.method_class("again") is second is not first
    finally:
        del registry._METHODS["again"]


@pytest.mark.parametrize("cls", [OwnConstructor, make_thawed()])
def test_a_method_with_options_that_no_state_keeps_is_refused(cls: type[emprune.Method], raises: Raises) -> None:
    with raises(emprune.ConfigError, value=cls.__name__):
        emprune.methods.register_method(cls)
    with raises(emprune.ConfigError, value=cls.__name__):
        emprune.DataPruner(object.__new__(cls), num_samples=10, num_epochs=4, keep=0.5)


@dataclass(frozen=True)
class Chosen(emprune.Greedy):
    file: str = "none-yet"
    mode: Literal["top_k", "bottom_k"] | None = "top_k"
    dim: Literal[1, -1] = 1
    wide: Literal["narrow"] | str = "narrow"
    name: ClassVar[str] = "chosen"


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ({"mode": "bottom-k"}, {"mode": "bottom_k"}),
        ({"mode": "bottom_k"}, {"mode": "bottom_k"}),
        ({"mode": "none"}, {"mode": None}),
        ({"file": "my-file_1.txt"}, {"file": "my-file_1.txt"}),
        ({"dim": "-1"}, {"dim": -1}),
        ({"wide": "a-b"}, {"wide": "a-b"}),
    ],
)
def test_words_have_hyphens_and_other_texts_stay_as_they_are(texts: dict[str, str], values: dict[str, Any]) -> None:
    assert parse_options(Chosen, texts) == values
    declared = options_of(Chosen)
    written = {option: declared[option].text_of(value) for option, value in values.items()}
    assert parse_options(Chosen, written) == values


def test_another_word_is_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="chosen:mode", value="top"):
        parse_options(Chosen, {"mode": "top"})


@pytest.mark.parametrize("cls", [NoDataclass, Nameless])
def test_a_method_without_a_name_or_fields_is_refused(cls: type[emprune.Method], raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="name", value=cls.__name__):
        emprune.methods.register_method(cls)
    with raises(emprune.ConfigError, parameter="name", value=cls.__name__):  # not when it saves
        emprune.DataPruner(cls(), num_samples=10, num_epochs=4, keep=0.5)
    assert ", ".join(registry.method_names()) == ALL


def test_an_unknown_method_lists_what_exists_and_guesses_what_was_meant(raises: Raises) -> None:
    with raises(emprune.ConfigError, value="infobach"):
        emprune.methods.make_method("infobach")
    with raises(emprune.ConfigError, value="xyz"):
        emprune.methods.method_class("xyz")


def test_an_unknown_option_lists_what_exists(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="emp", value="gamma"):
        emprune.methods.make_method("emp", gamma=1)
    with raises(emprune.ConfigError, parameter="emp", value="gamma"):
        emprune.methods.make_method("emp:gamma=1")
    with raises(emprune.ConfigError, parameter="random", value="beta"):
        emprune.methods.make_method("random", beta=1)


def test_an_option_is_given_once_and_a_required_one_is_given(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="beta", value="emp:beta=1"):
        emprune.methods.make_method("emp:beta=1", beta=2)
    with raises(emprune.ConfigError, parameter="ranking", value="static-subset"):
        emprune.methods.make_method("static-subset")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("emp:beta=5:pool=none", emprune.EMP(beta=5.0, pool=None)),
        (" emp:memory=view-alignment ", emprune.EMP(memory="view_alignment")),
        ("infobatch:normalize=true", emprune.InfoBatch(normalize=True)),
        ("ucb:replan_every=3", emprune.methods.UCB(replan_every=3)),
        ("kakurenbo:confidence=0.9", emprune.methods.Kakurenbo(confidence=0.9)),
        ("seta:num_groups=5:window=0.4", emprune.methods.SeTa(num_groups=5, window=0.4)),
        ("order-dp:pool=4", emprune.methods.OrderDP(pool=4)),
        ("soft:by=softmax:final_strength=2", emprune.methods.SoftSelection(by="softmax", final_strength=2)),
    ],
)
def test_options_may_stand_in_the_text(spec: str, expected: emprune.Method) -> None:
    assert emprune.methods.make_method(spec) == expected


@dataclass(frozen=True)
class Unreadable(emprune.Greedy):
    unknown: "NoSuchType" = None  # type: ignore[name-defined]  # noqa: F821
    name: ClassVar[str] = "unreadable"


def test_option_types_that_do_not_exist_break_the_contract(raises: Raises) -> None:
    with raises(emprune.errors.MethodError, value="name 'NoSuchType' is not defined"):
        options_of(Unreadable)


def test_registering_a_class_again_changes_nothing() -> None:
    assert emprune.methods.register_method(emprune.EMP) is emprune.EMP
