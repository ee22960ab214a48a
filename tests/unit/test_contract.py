"""The contract suite catches methods that break it: each broken one fails the test that is about its fault."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import emprune
from emprune.testing import MethodContract, SyntheticTask, assert_same_state
from tests.messages import Raises


@dataclass(frozen=True)
class TiesByPosition(emprune.Greedy):
    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        scores = context.scores.masked_fill(~context.seen, -torch.inf)
        return emprune.methods.Selection(scores.argsort(descending=True, stable=True)[: context.num_kept])


@dataclass(frozen=True)
class GlobalDraws(emprune.Random):
    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        return emprune.methods.Selection(torch.randperm(context.num_samples)[: context.num_kept])


@dataclass(frozen=True)
class PythonDraws(emprune.Random):
    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        random.random()
        return super().select(context)


@dataclass(frozen=True)
class HiddenState(emprune.Greedy):
    calls: list[int] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        return {}

    def score(self, stats: emprune.methods.SampleStats) -> Tensor:
        return stats["loss"] * float((-1) ** len(self.calls))

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        self.calls.append(context.epoch)
        return super().select(context)


@dataclass(frozen=True)
class CountsObservations(emprune.Greedy):
    columns: ClassVar[tuple[emprune.methods.Column, ...]] = (
        emprune.methods.Column("place", "where in the epoch it was observed"),
    )

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        return {"place": torch.arange(len(first)).float()}


@dataclass(frozen=True)
class ZeroWeights(emprune.Greedy):
    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        return emprune.methods.Selection(super().select(context).index, torch.zeros(context.num_kept))


@dataclass(frozen=True)
class InfiniteScores(emprune.Greedy):
    def score(self, stats: emprune.methods.SampleStats) -> Tensor:
        return stats["loss"] / 0.0


@dataclass(frozen=True)
class WritesToScores(emprune.Greedy):
    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        context.scores.sub_(context.scores[context.seen].mean())
        return super().select(context)


@dataclass(frozen=True)
class NotPlain(emprune.Greedy):
    def settings(self) -> dict[str, Any]:
        return {"key": lambda loss: loss}


def contract_for(method: emprune.Method) -> MethodContract:
    contract = MethodContract()
    contract.make_method = lambda num_samples: method  # type: ignore[method-assign]
    return contract


@pytest.mark.parametrize(
    ("method", "test"),
    [
        (TiesByPosition(), "test_ties_are_not_broken_by_position"),
        (GlobalDraws(), "test_the_global_generators_are_neither_read_nor_changed"),
        (GlobalDraws(), "test_the_same_seed_gives_the_same_run"),
        (PythonDraws(), "test_the_global_generators_are_neither_read_nor_changed"),
        (HiddenState(), "test_resumes_bit_equal_after_every_batch"),
        (CountsObservations(), "test_the_order_of_observations_is_irrelevant"),
        (CountsObservations(), "test_sync_in_mid_epoch_changes_neither_the_plan_nor_the_outcome"),
        (WritesToScores(), "test_planning_changes_nothing_that_is_remembered"),
        (ZeroWeights(), "test_weights_are_finite_and_positive"),
        (NotPlain(), "test_settings_are_plain_values_that_say_what_the_method_is"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, emprune.Method) else "",
)
def test_a_broken_method_fails(method: emprune.Method, test: str) -> None:
    with pytest.raises((AssertionError, AttributeError)):
        getattr(contract_for(method), test)()
    getattr(contract_for(emprune.Greedy()), test)()  # which is not to blame


def test_infinite_scores_are_refused_by_the_engine(raises: Raises) -> None:
    with raises(emprune.errors.MethodError, value="InfiniteScores.score"):
        contract_for(InfiniteScores()).make_run()


def test_a_subclass_must_make_its_method(raises: Raises) -> None:
    with raises(NotImplementedError):
        MethodContract().make_run()


def test_states_are_compared_bit_by_bit() -> None:
    state = {"a": torch.tensor([1.0, torch.nan]), "b": [(1, "x"), None], "planning_seconds": 1.0}
    assert_same_state(state, {**state, "planning_seconds": 2.0})
    for other in (
        {**state, "a": torch.tensor([1.0, 2.0])},
        {**state, "a": state["a"].double()},  # type: ignore[attr-defined]
        {**state, "b": [(2, "x"), None]},
        {**state, "b": []},
        {**state, "b": ((1, "x"), None)},
        {"a": state["a"]},
    ):
        with pytest.raises(AssertionError):
            assert_same_state(state, other)


def test_the_synthetic_task_depends_on_sample_and_epoch_alone() -> None:
    task, index = SyntheticTask(num_samples=9), torch.tensor([4, 0, 7])
    losses, logits = task.batch(index, epoch=2)
    again, _ = SyntheticTask(num_samples=9).batch(index.flip(0), epoch=2)
    assert losses.equal(again.flip(0))
    assert not losses.equal(task.batch(index, epoch=3)[0])
    assert len(task.batch(torch.arange(9), epoch=0)[0].unique()) == 9  # no ties
    assert len(SyntheticTask(num_samples=9, constant=True).batch(torch.arange(9), epoch=0)[0].unique()) == 1
    assert logits.shape == (3, 5)
