"""A third party's method in one file, as the docs show it: it is registered, and it passes the contract."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import emprune
from emprune.errors import MethodError, StateError
from emprune.methods import registry
from emprune.selection import top_k
from emprune.testing import MethodContract, through_disk
from tests.messages import Raises


@dataclass(frozen=True)
class StaleFirst(emprune.Method):
    """Keep the highest loss · (1 + patience · epochs since the sample was visited): nobody waits forever."""

    patience: float = 1.0
    name: ClassVar[str] = "stale-first"

    def score(self, stats: emprune.methods.SampleStats) -> Tensor:
        """Return the loss, raised by its age."""
        age = stats["last_visit"].max() - stats["last_visit"]
        return stats["loss"] * (1 + self.patience * age)

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        """Choose the top k."""
        generator = context.generator("ties", context.epoch)
        return emprune.methods.Selection(
            top_k(context.scores, context.num_kept, generator=generator, among=context.seen)
        )


class TestStaleFirst(MethodContract):
    def make_method(self, num_samples: int) -> emprune.Method:
        return StaleFirst(patience=0.5)


@pytest.fixture
def registered() -> Iterator[type[StaleFirst]]:
    yield emprune.methods.register_method(StaleFirst)
    del registry._METHODS["stale-first"]


def test_a_registered_method_is_made_by_name(registered: type[StaleFirst]) -> None:
    assert registered is StaleFirst  # so that it serves as a decorator
    assert emprune.methods.method_class("stale-first") is StaleFirst
    assert emprune.methods.method_names()[-1] == "stale-first"
    assert emprune.methods.make_method("stale-first", patience=2) == StaleFirst(patience=2)


def test_it_does_what_it_says() -> None:
    pruner = emprune.DataPruner(StaleFirst(patience=10.0), num_samples=4, num_epochs=4, keep=0.5)
    losses = torch.tensor([1.0, 0.4, 0.5, 0.9])
    first = set(pruner.begin_epoch(0).index.tolist())
    pruner.observe(pruner.plan.index, losses[pruner.plan.index])
    second = set(pruner.begin_epoch(1).index.tolist())
    assert second == {0, 1, 2, 3} - first
    pruner.observe(pruner.plan.index, losses[pruner.plan.index])
    assert set(pruner.begin_epoch(2).index.tolist()) == first  # eleven times their loss beats any loss here


class LowestFirst(emprune.Greedy):
    """Greedy the other way round, without a name of its own."""

    def score(self, stats: emprune.methods.SampleStats) -> Tensor:
        """Return the loss, negated."""
        return -stats["loss"]


@pytest.mark.parametrize(("saved", "other"), [(LowestFirst, emprune.Greedy), (emprune.Greedy, LowestFirst)])
def test_a_state_of_a_subclass_without_a_name_of_its_own_is_not_that_of_its_base(
    saved: type[emprune.Method], other: type[emprune.Method], raises: Raises
) -> None:
    first, second, same = (
        emprune.DataPruner(cls(), num_samples=8, num_epochs=3, keep=0.5) for cls in (saved, other, saved)
    )
    first.begin_epoch(0)
    same.load_state_dict(through_disk(first.state_dict()))
    assert same.plan == first.plan
    with raises(StateError):
        second.load_state_dict(first.state_dict())


@dataclass(frozen=True)
class Shares(emprune.methods.Random):
    """Random, with an option of any kind."""

    shares: Any = (0.5, 0.25)
    name: ClassVar[str] = "shares"


def pruner_of(shares: Any) -> emprune.DataPruner:
    return emprune.DataPruner(Shares(shares), num_samples=8, num_epochs=3, keep=0.5)


SEQUENCES = [(0.5, 0.25), [1, "two", None], ((1, 2), [3]), (np.float64(0.5), np.int64(2)), {"low": (0.1, 0.2)}, ()]


@pytest.mark.parametrize("shares", SEQUENCES, ids=str)
def test_a_run_with_a_sequence_as_an_option_is_loaded_again(shares: Any) -> None:
    first, second = pruner_of(shares), pruner_of(shares)
    first.begin_epoch(0)
    second.load_state_dict(through_disk(first.state_dict()))
    assert second.plan == first.plan


@pytest.mark.parametrize("other", [(0.5,), (0.5, 0.3), (0.5, 0.25, 0.1), 0.5, "0.5"], ids=str)
def test_another_sequence_as_an_option_is_another_method(other: Any, raises: Raises) -> None:
    with raises(StateError):
        pruner_of(other).load_state_dict(pruner_of((0.5, 0.25)).state_dict())


@pytest.mark.parametrize("shares", [{0.5}, torch.ones(2), (print,)], ids=["a set", "a tensor", "a function"])
def test_an_option_that_no_state_can_keep_is_refused_before_the_first_epoch(shares: Any, raises: Raises) -> None:
    with raises(MethodError):
        pruner_of(shares).begin_epoch(0)
