"""With the same observations, the plan on any number of ranks is the plan on one, and so is what is remembered."""

from typing import Any

import pytest
import torch

import emprune
from emprune.testing import assert_same_state
from tests.distributed.pool import RankPool
from tests.distributed.runs import METHODS, NUM_EPOCHS, NUM_SAMPLES, QUANTUM, make_pruner, observe

pytestmark = pytest.mark.distributed
Result = tuple[list[str], dict[str, Any]]


def train(name: str, options: dict[str, Any], bad: tuple[int, ...], idle: bool) -> Result:
    """Return the fingerprints of all plans and the state at the end; each epoch is merged in its middle, too.

    If `idle`, rank 0 observes the shares of all ranks and the others nothing.
    """
    pruner = make_pruner(name, **options)
    fingerprints = []
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        assert pruner.begin_epoch(epoch) is plan
        fingerprints.append(plan.fingerprint)
        for number, whole in enumerate(plan.index.split(QUANTUM)):
            index = whole[pruner.rank :: pruner.world_size]
            if idle:
                index = whole if pruner.rank == 0 else whole[:0]
            if len(index):
                observe(pruner, index.flip(0) if epoch % 2 else index, bad=bad)
            if number == 0:
                pruner.sync()
    pruner.sync()
    return fingerprints, pruner.state_dict()


def train_all() -> dict[str, Result]:
    """A run of every method."""
    return {name: train(name, {}, (), False) for name in METHODS}


@pytest.fixture(scope="module")
def alone() -> dict[str, Result]:
    return train_all()


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def together(ranks: RankPool, request: pytest.FixtureRequest) -> list[dict[str, Result]]:
    return ranks.run(train_all, world_size=request.param)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_on_any_number_of_ranks(
    name: str, alone: dict[str, Result], together: list[dict[str, Result]]
) -> None:
    plans, state = alone[name]
    assert len(set(plans)) == NUM_EPOCHS
    for results in together:
        found, remembered = results[name]
        assert found == plans
        assert_same_state(remembered, state)


def test_no_method_is_forgotten() -> None:
    assert {method.name for method, _ in METHODS.values()} == set(emprune.methods.method_names())


@pytest.mark.parametrize("name", ["greedy", "ucb", "emp", "random"])
def test_a_rank_that_observed_nothing_takes_part(ranks: RankPool, name: str) -> None:
    plans, state = train(name, {}, (), False)
    for found, remembered in ranks.run(train, name, {}, (), True, world_size=3):
        assert found == plans
        assert_same_state(remembered, state)


@pytest.mark.parametrize("nonfinite", ["skip", "revisit"])
def test_samples_without_a_valid_loss(ranks: RankPool, nonfinite: str) -> None:
    bad = tuple(range(0, NUM_SAMPLES, 5))
    plans, state = train("ucb", {"nonfinite": nonfinite}, bad, False)
    for found, remembered in ranks.run(train, "ucb", {"nonfinite": nonfinite}, bad, False, world_size=3):
        assert found == plans
        assert_same_state(remembered, state)


def observe_twice() -> list[float]:
    """Both ranks observe the same samples, and rank 0 one of them without a valid loss."""
    pruner = make_pruner("greedy")
    index = pruner.begin_epoch(0, multiple_of=QUANTUM).index[:3]
    losses = torch.tensor([[1.0, 2.0, 3.0], [4.0, torch.nan, 6.0]])[pruner.rank]
    pruner.observe(index, losses)
    pruner.sync()
    assert pruner.visits[index].tolist() == [1, 1, 1]
    remembered: list[float] = pruner.stats["loss"][index].tolist()
    return remembered


def test_a_sample_that_several_ranks_observed_counts_once(ranks: RankPool) -> None:
    assert ranks.run(observe_twice) == [[4.0, 2.0, 6.0]] * 2
