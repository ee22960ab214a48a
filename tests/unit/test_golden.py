"""Ten samples, worked out by hand: each method's score and what it selects."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import emprune
from emprune.randomness import derive_generator, derive_seed
from tests.unit.support import after_full_epoch, as_memory, chosen, observe, weights_of

LOSS = torch.tensor([0.1, 2.0, 0.7, 1.5, 0.05, 3.0, 1.0, 0.4, 2.5, 0.9])  # mean 1.215
NEXT_LOSS = torch.tensor([0.6, 2.0, 0.2, 1.0, 0.55, 2.0, 3.0, 0.4, 1.5, 1.9])
MEMORY = torch.tensor([0.9, 0.1, 0.6, 0.0, 1.0, 0.1, 0.3, 0.5, 0.2, 0.2])


def test_greedy() -> None:
    pruner = after_full_epoch(emprune.Greedy(), LOSS, num_kept=3)
    plan = pruner.begin_epoch(1)
    assert pruner.method.score(pruner.stats).equal(LOSS)
    assert chosen(plan) == {5, 8, 1}
    assert plan.weight is None


def test_emp() -> None:
    pruner = after_full_epoch(emprune.EMP(beta=3.0, memory=as_memory, pool=None), LOSS, MEMORY, num_kept=3)
    plan = pruner.begin_epoch(1)
    expected = [2.8, 2.3, 2.5, 1.5, 3.05, 3.3, 1.9, 1.9, 3.1, 1.5]
    assert pruner.method.score(pruner.stats).tolist() == pytest.approx(expected)
    assert chosen(plan) == {5, 8, 4}
    assert plan.weight is None


def test_emp_takes_the_entropy_of_the_logits() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, -50.0]])
    pruner = after_full_epoch(emprune.EMP(beta=2.0, pool=None), torch.tensor([1.0, 3.0, 2.0]), logits, num_kept=2)
    plan = pruner.begin_epoch(1)
    scores = pruner.method.score(pruner.stats)
    assert scores.tolist() == pytest.approx([1 + 2 * 1.0986123, 3.0, 2 + 2 * 0.6931472])
    assert chosen(plan) == {0, 2}


def test_emp_with_its_pool_of_two() -> None:
    pruner = after_full_epoch(emprune.EMP(memory=as_memory), LOSS, MEMORY, num_kept=3)
    plan = pruner.begin_epoch(1)
    keys = torch.rand(10, generator=derive_generator(0, "pool", 1)).tolist()
    pool = sorted(range(10), key=keys.__getitem__)[-6:]
    scores = pruner.method.score(pruner.stats).tolist()
    assert chosen(plan) == set(sorted(pool, key=scores.__getitem__)[-3:])
    assert chosen(plan) != {5, 8, 4}  # here the pool matters


@pytest.mark.parametrize(
    ("gap", "num_candidates"),
    [(-0.5, 8), (0.0, 8), (0.1, 5), (0.05, 6), (1.0, 4)],  # 4 kept of 1 + exp(-gap / 0.1) times as many
)
def test_emp_with_a_pool_that_follows_the_gap(gap: float, num_candidates: int) -> None:
    pruner = after_full_epoch(emprune.EMP(memory=as_memory, pool="gap"), LOSS, MEMORY, num_kept=4)
    pruner.observe_validation(0.75 + gap, train_loss=0.75)
    plan = pruner.begin_epoch(1)
    keys = torch.rand(10, generator=derive_generator(0, "pool", 1)).tolist()
    pool = sorted(range(10), key=keys.__getitem__)[-num_candidates:]
    scores = pruner.method.score(pruner.stats).tolist()
    assert chosen(plan) == set(sorted(pool, key=scores.__getitem__)[-4:])
    assert plan.weight is None


def test_order_dp_with_its_pool_of_two() -> None:
    pruner = after_full_epoch(emprune.methods.OrderDP(), LOSS, num_kept=3)
    plan = pruner.begin_epoch(1)
    keys = torch.rand(10, generator=derive_generator(0, "pool", 1)).tolist()
    pool = sorted(range(10), key=keys.__getitem__)[-6:]
    assert chosen(plan) == set(sorted(pool, key=LOSS.tolist().__getitem__)[-3:])
    assert chosen(plan) != {5, 8, 1}  # here the pool matters
    assert plan.weight is None


@pytest.mark.parametrize(
    ("by", "strength", "weigh"),
    [
        ("power", 1.5, lambda loss: loss**1.5),
        ("softmax", 0.7, lambda loss: math.exp(0.7 * loss)),
        ("percentile", 2.0, lambda loss: (sum(other < loss for other in LOSS.tolist()) / 10 + 0.05) ** 2),
    ],
)
def test_soft_selection(by: Any, strength: float, weigh: Callable[[float], float]) -> None:
    """The k smallest of ten exponential times, each divided by the sample's weight."""
    plan = after_full_epoch(emprune.methods.SoftSelection(by=by, strength=strength), LOSS, num_kept=4).begin_epoch(1)
    draws = torch.rand(10, generator=derive_generator(0, "soft", 1)).tolist()
    times = [-math.log(1 - draw) / weigh(loss) for draw, loss in zip(draws, LOSS.tolist(), strict=True)]
    assert chosen(plan) == set(sorted(range(10), key=times.__getitem__)[:4])
    assert plan.weight is None


def test_reducible_loss() -> None:
    irreducible = torch.tensor([0.0, 0.5, 0.1, 0.2, 0.0, 2.5, 0.3, 0.4, 1.5, -0.5])
    pruner = after_full_epoch(emprune.methods.ReducibleLoss(irreducible), LOSS, num_kept=3)
    plan = pruner.begin_epoch(1)
    expected = [0.1, 1.5, 0.6, 1.3, 0.05, 0.5, 0.7, 0.0, 1.0, 1.4]
    assert pruner.method.score(pruner.stats).tolist() == pytest.approx(expected)
    assert chosen(plan) == {1, 9, 3}
    assert plan.weight is None


def test_kakurenbo_keeps_what_is_not_confident_and_then_the_highest_losses() -> None:
    plan = after_full_epoch(emprune.methods.Kakurenbo(), LOSS, num_kept=9).begin_epoch(1)
    assert chosen(plan) == set(range(10)) - {4}  # 0 and 4 are below -log 0.7 = 0.357
    assert plan.weight is None


def test_kakurenbo_draws_from_what_is_not_confident_where_it_is_more_than_k() -> None:
    plan = after_full_epoch(emprune.methods.Kakurenbo(), LOSS, num_kept=3).begin_epoch(1)
    keys = torch.rand(10, generator=derive_generator(0, "hide", 1)).tolist()
    assert chosen(plan) == set(sorted(set(range(10)) - {0, 4}, key=keys.__getitem__)[-3:])
    assert chosen(plan) != {5, 8, 1}


@pytest.mark.parametrize(
    ("epoch", "window"),
    [
        (1, [7, 2, 9, 6]),  # of five pairs, 4 0 | 7 2 | 9 6 | 3 1 | 8 5, the window of two starts at 1 mod 4
        (2, [9, 6, 3, 1]),
        (3, [3, 1, 8, 5]),
        (4, [4, 0, 7, 2]),
    ],
)
def test_seta(epoch: int, window: list[int]) -> None:
    pruner = after_full_epoch(emprune.methods.SeTa(num_groups=5, window=0.4, delta=1), LOSS, num_kept=3, later=4)
    for earlier in range(1, epoch):
        pruner.begin_epoch(earlier)
        observe(pruner, LOSS)
    keys = torch.rand(10, generator=derive_generator(0, "subset", epoch)).tolist()
    assert chosen(pruner.begin_epoch(epoch)) == set(sorted(window, key=keys.__getitem__)[-3:])


def test_seta_ends_with_a_draw_from_all() -> None:
    plan = after_full_epoch(emprune.methods.SeTa(window=0.3), LOSS, num_kept=3).begin_epoch(1)
    keys = torch.rand(10, generator=derive_generator(0, "subset", 1)).tolist()
    assert chosen(plan) == set(sorted(range(10), key=keys.__getitem__)[-3:])


def test_epsilon_greedy() -> None:
    method = emprune.methods.EpsilonGreedy(epsilon=0.4, replan_every=1)
    pruner = after_full_epoch(method, LOSS, num_kept=5, later=2)
    plan = pruner.begin_epoch(1)
    assert method.score(pruner.stats).equal(LOSS)
    assert chosen(plan) > {5, 8, 1}  # the other two of five at random
    observe(pruner, NEXT_LOSS)
    pruner.begin_epoch(2)
    scores = method.score(pruner.stats).tolist()
    assert [scores[i] for i in (5, 8, 1)] == pytest.approx([0.6 + 1.6, 0.5 + 1.2, 0.4 + 1.6])
    unvisited = set(range(10)) - chosen(plan)
    assert all(scores[i] == LOSS[i] for i in unvisited)


def test_ucb() -> None:
    method = emprune.methods.UCB(c=1.0, replan_every=1)
    pruner = after_full_epoch(method, LOSS, num_kept=3, later=2)
    plan = pruner.begin_epoch(1)
    assert method.score(pruner.stats).equal(LOSS)  # the variance starts at 0
    assert chosen(plan) == {5, 8, 1}
    observe(pruner, NEXT_LOSS)
    plan = pruner.begin_epoch(2)
    # mean 0.2 m + 0.8 L, variance 0.8 (L - m)²: 5 fell from 3 to 2, 8 from 2.5 to 1.5, 1 stayed at 2
    expected = {5: 2.2 + 0.8, 8: 1.7 + 0.8, 1: 2.0, 3: 1.5}
    scores = method.score(pruner.stats)
    assert {i: float(scores[i]) for i in expected} == pytest.approx(expected)
    assert pruner.stats["variance"][[5, 8, 1, 3]].tolist() == pytest.approx([0.8, 0.8, 0.0, 0.0])
    assert chosen(plan) == {5, 8, 1}


@pytest.mark.parametrize(
    ("num_kept", "always", "heavy"),
    [
        (9, {1, 3, 5, 8}, 6 / 5),  # six are below the mean; one of them goes
        (7, {1, 3, 5, 8}, 6 / 3),
        (5, {1, 3, 5, 8}, 6 / 1),  # r = 5/6, still under 0.9
        (3, {5, 8}, 8 / 1),  # r = 7/6 is not possible: the lowest eight, of which 7/8 go
        (2, {5}, 9 / 1),
        (1, set(), 10 / 1),  # no threshold makes it possible: uniform
    ],
)
def test_infobatch_at_an_exact_cost(num_kept: int, always: set[int], heavy: float) -> None:
    plan = after_full_epoch(emprune.InfoBatch(), LOSS, num_kept=num_kept).begin_epoch(1)
    weights = weights_of(plan)
    assert len(weights) == num_kept
    assert {i for i, weight in weights.items() if weight == 1} == always
    assert [weights[i] for i in weights if i not in always] == pytest.approx([heavy] * (num_kept - len(always)))


def test_infobatch_normalised() -> None:
    plan = after_full_epoch(emprune.InfoBatch(normalize=True), LOSS, num_kept=7).begin_epoch(1)
    assert sorted(weights_of(plan).values()) == pytest.approx([0.7] * 4 + [1.4] * 3)


def test_random() -> None:
    plan = after_full_epoch(emprune.Random(), LOSS, num_kept=3).begin_epoch(1)
    keys = torch.rand(10, generator=derive_generator(0, "subset", 1)).tolist()
    assert chosen(plan) == set(sorted(range(10), key=keys.__getitem__)[-3:])


def test_static_random() -> None:
    pruner = after_full_epoch(emprune.methods.StaticRandom(), LOSS, num_kept=3, later=2)
    order = torch.randperm(10, generator=derive_generator(0, "subset")).tolist()
    assert chosen(pruner.begin_epoch(1)) == chosen(pruner.begin_epoch(2)) == set(order[:3])


def test_static_subset() -> None:
    pruner = after_full_epoch(emprune.methods.StaticSubset(MEMORY), LOSS, num_kept=3, later=2)
    assert chosen(pruner.begin_epoch(1)) == chosen(pruner.begin_epoch(2)) == {4, 0, 2}


def test_random_permutation() -> None:
    pruner = after_full_epoch(emprune.RandomPermutation(), LOSS, num_kept=4, later=3)
    seen: list[int] = []
    for epoch in (1, 2, 3):
        seen += pruner.begin_epoch(epoch).index.tolist()
        observe(pruner, LOSS)
    assert set(seen[:8]) | set(seen[8:]) == set(range(10))
    assert len(set(seen[:8])) == 8
    assert set(seen[8:]) >= set(range(10)) - set(seen[:8])  # the two left over, and two of the next permutation


def test_full() -> None:
    pruner = emprune.DataPruner(emprune.Full(), num_samples=10, num_epochs=2, keep=1)
    assert chosen(pruner.begin_epoch(0)) == set(range(10))
    assert chosen(pruner.begin_epoch(1)) == set(range(10))


def test_every_plan_is_in_the_order_its_epoch_draws() -> None:
    pruner = emprune.DataPruner(emprune.Full(), num_samples=10, num_epochs=2, keep=1, seed=5)
    for epoch in (0, 1):
        expected = torch.randperm(10, generator=derive_generator(5, "order", epoch))
        assert pruner.begin_epoch(epoch).index.equal(expected)


def test_derived_seeds_never_change() -> None:
    # Another value here, and no saved run resumes under the new version.
    assert derive_seed(0, "order", 1) == 4473484566461243327
    assert derive_seed(7, "subset") == 6215699718569543507
