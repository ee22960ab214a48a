"""Groups, weights and pinned samples: which part of the data an epoch comes from, at exactly its cost."""

import copy
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import emprune
from emprune import Groups
from emprune.errors import ConfigError, StateError
from emprune.groups import by_group
from emprune.plan import EpochPlan
from emprune.quotas import shared_out
from emprune.selection import sample_weighted
from emprune.testing import assert_same_state
from tests.messages import Raises
from tests.unit.support import chosen

NUM_SAMPLES = 110
LABELS = torch.tensor([0] * 60 + [1] * 40 + [2] * 10)


def make_pruner(
    method: str = "greedy", *, keep: float = 0.4, num_epochs: int = 6, **options: Any
) -> emprune.DataPruner:
    return emprune.DataPruner(
        method, num_samples=NUM_SAMPLES, num_epochs=num_epochs, keep=keep, tail_epochs=0, **options
    )


def run(pruner: emprune.DataPruner, losses: Tensor, *, epochs: range | None = None) -> list[EpochPlan]:
    """Plan and observe epochs, with the same loss of a sample in each."""
    plans = []
    for epoch in epochs or range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=2)
        index = plan.index
        pruner.observe(index, losses[index], torch.zeros(len(index), 3))
        plans.append(plan)
    return plans


def counts_of(plan: EpochPlan) -> list[int]:
    return torch.bincount(LABELS[plan.index], minlength=3).tolist()


# Quotas.


@given(data=st.data())
def test_quotas_add_up_and_stay_within_bounds(data: st.DataObject) -> None:
    num_groups = data.draw(st.integers(1, 8))
    most = [data.draw(st.integers(0, 30)) for _ in range(num_groups)]
    least = [data.draw(st.integers(0, bound)) for bound in most]
    size = data.draw(st.integers(sum(least), sum(most)))
    shares = [data.draw(st.floats(1e-6, 1e6)) for _ in range(num_groups)]
    quotas = shared_out(
        size,
        torch.tensor(shares, dtype=torch.float64),
        least=torch.tensor(least),
        most=torch.tensor(most),
        generator=torch.Generator().manual_seed(data.draw(st.integers(0, 3))),
    ).tolist()
    assert sum(quotas) == size
    assert all(low <= quota <= high for low, quota, high in zip(least, quotas, most, strict=True))
    free = [g for g in range(num_groups) if least[g] < quotas[g] < most[g]]
    for one, other in itertools.permutations(free, 2):  # in proportion, but for the rounding
        assert (quotas[one] - 1) / shares[one] <= (quotas[other] + 1) / shares[other] * (1 + 1e-9)


def test_quotas_are_rounded_without_bias() -> None:
    shares, num_draws = torch.tensor([1.0, 2.0, 4.0, 0.3], dtype=torch.float64), 4000
    generator = torch.Generator().manual_seed(0)
    bounds = {"least": torch.zeros(4, dtype=torch.int64), "most": torch.full((4,), 9)}
    total = sum(shared_out(5, shares, **bounds, generator=generator) for _ in range(num_draws))
    assert isinstance(total, Tensor)
    real = shares / shares.sum() * 5
    assert (total / num_draws - real).abs().max() < 4 * 0.5 / num_draws**0.5


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("proportional", [24, 16, 4]),
        ("equal", [17, 17, 10]),
        ({0: 1, 1: 3, 2: 0.5}, [10, 29, 5]),
    ],
)
def test_an_epoch_has_each_groups_quota(quota: Any, expected: list[int]) -> None:
    for plan in run(make_pruner(groups=Groups(LABELS, quota=quota)), torch.rand(NUM_SAMPLES)):
        assert len(plan) == 44
        assert max(abs(mine - theirs) for mine, theirs in zip(counts_of(plan), expected, strict=True)) <= 1


def test_labels_alone_keep_the_shares_of_the_data() -> None:
    plan = make_pruner(groups=LABELS.numpy()).begin_epoch(0)
    assert counts_of(plan) == [24, 16, 4]
    words = np.array(["cat", "dog", "eel"])[LABELS].tolist()
    assert counts_of(make_pruner(groups=words).begin_epoch(0)) == [24, 16, 4]


def test_within_a_group_the_method_chooses_as_on_that_group_alone() -> None:
    losses = torch.rand(NUM_SAMPLES)
    pruner = make_pruner(num_epochs=8, groups=Groups(LABELS, quota={0: 30, 1: 10, 2: 4}))
    plan = run(pruner, losses)[-1]
    for group, quota in enumerate([30, 10, 4]):
        members = LABELS.eq(group).nonzero().flatten()
        best = members[losses[members].argsort(descending=True)[:quota]]
        assert set(best.tolist()) == chosen(plan) & set(members.tolist())


def test_rcap_gives_in_proportion_to_the_root_of_mean_loss_times_share() -> None:
    losses = torch.tensor([0.1, 0.9, 3.6])[LABELS]
    plans = run(make_pruner(num_epochs=10, keep=0.2, groups=Groups(LABELS, quota="rcap")), losses)
    roots = (torch.tensor([0.1 * 60, 0.9 * 40, 3.6 * 10])).sqrt()
    expected = roots / roots.sum() * 22  # 4.2, 8.9 and 8.9
    assert all(abs(mine - float(real)) < 1 for mine, real in zip(counts_of(plans[-1]), expected, strict=True))


def test_a_floor_holds_and_the_method_fills_the_rest() -> None:
    losses = LABELS.float() * 10 + torch.rand(NUM_SAMPLES)
    pruner = make_pruner(num_epochs=8, groups=Groups(LABELS, quota="free", floor=0.1))
    last = run(pruner, losses)[-1]
    assert counts_of(last) == [6, 28, 10]  # what the losses alone would give: 0, 34 and 10


@pytest.mark.parametrize("method", ["emp:pool=2", "infobatch", "random-permutation", "soft"])
def test_a_floor_that_the_method_keeps_by_itself_changes_no_plan(method: str) -> None:
    losses = torch.rand(NUM_SAMPLES)
    with_floor = run(make_pruner(method, keep=0.9, groups=Groups(LABELS, quota="free", floor=0.05)), losses)
    assert with_floor == run(make_pruner(method, keep=0.9), losses)


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.3, 0.35]))
def test_with_floors_the_highest_losses_are_the_floors_of_each_group_and_then_the_highest_of_all(
    seed: int, floor: float
) -> None:
    draws = torch.Generator().manual_seed(seed)
    losses = torch.rand(NUM_SAMPLES, generator=draws) + LABELS * torch.rand(1, generator=draws) * 2
    groups, pinned = Groups(LABELS, quota="free", floor=floor), [0, 70, 105]
    plan = run(make_pruner(num_epochs=8, groups=groups, pinned=pinned), losses)[-1]

    expected = set(pinned)
    by_loss = losses.argsort(descending=True).tolist()
    for group, least in enumerate(groups.least.tolist()):
        own = [sample for sample in by_loss if LABELS[sample] == group and sample not in pinned]
        expected |= set(own[: least - 1])  # one of each group is pinned
    others = [sample for sample in by_loss if sample not in expected]
    assert chosen(plan) == expected | set(others[: len(plan) - len(expected)])
    assert len(plan) == 44


def test_floors_may_fill_the_whole_epoch() -> None:
    floors = Groups(LABELS, quota="free", floor=0.4)  # 24, 16 and 4: all of 44
    assert counts_of(run(make_pruner(groups=floors), LABELS + torch.rand(NUM_SAMPLES))[-1]) == [24, 16, 4]


def test_pinned_samples_are_in_every_epoch_and_part_of_its_cost() -> None:
    for groups in (None, Groups(LABELS, quota="equal")):
        for plan in run(make_pruner(pinned=[0, 109, 50], groups=groups), torch.rand(NUM_SAMPLES)):
            assert {0, 50, 109} <= chosen(plan)
            assert len(plan) == len(chosen(plan)) == 44
    mask = torch.zeros(NUM_SAMPLES, dtype=torch.bool).index_fill_(0, torch.tensor([0, 50, 109]), True)
    assert make_pruner(pinned=mask).begin_epoch(0) == make_pruner(pinned=[0, 109, 50]).begin_epoch(0)


def test_a_static_subset_is_the_best_of_each_group() -> None:
    ranking = torch.arange(NUM_SAMPLES).float()
    pruner = emprune.DataPruner(
        emprune.methods.StaticSubset(ranking), num_samples=NUM_SAMPLES, num_epochs=2, keep=0.2, groups=LABELS
    )
    assert chosen(pruner.begin_epoch(0)) == {*range(48, 60), *range(92, 100), 108, 109}


# Weights.


def test_a_weighted_draw_has_the_exact_frequencies() -> None:
    weights, num_draws = torch.tensor([1.0, 2.0, 3.0, 6.0]), 6000
    generator = torch.Generator().manual_seed(1)
    found = Counter(
        position for _ in range(num_draws) for position in sample_weighted(weights, 2, generator=generator).tolist()
    )
    total = float(weights.sum())
    for own in range(4):  # first, or second after another
        exact = float(weights[own]) / total + sum(
            float(weights[first]) / total * float(weights[own]) / (total - float(weights[first]))
            for first in range(4)
            if first != own
        )
        assert abs(found[own] / num_draws - exact) < 4 * 0.5 / num_draws**0.5


def test_random_with_weights_visits_by_them() -> None:
    weights = torch.tensor([1.0, 1.0, 8.0])[LABELS]
    plans = run(make_pruner("random", keep=0.1, num_epochs=200, weights=weights), torch.rand(NUM_SAMPLES))
    visits = torch.bincount(torch.cat([plan.index for plan in plans]), minlength=NUM_SAMPLES)
    rare, common = visits[LABELS == 2].double().mean(), visits[LABELS < 2].double().mean()
    assert 4 < rare / common < 8  # below 8, because a sample comes at most once in an epoch


def test_a_method_chooses_among_candidates_that_are_drawn_by_the_weights() -> None:
    losses = torch.rand(NUM_SAMPLES)
    weights = torch.where(torch.arange(NUM_SAMPLES) < 100, 1e-9, 1.0)
    last = run(make_pruner("greedy", keep=0.05, num_epochs=40, weights=weights), losses)[-1]
    members = torch.arange(100, 110)  # 10 candidates for 5 of 6 that are kept
    assert len(last) in (5, 6)
    best = members[losses[members].argsort(descending=True)[: len(last) - 2]]
    assert set(best.tolist()) <= chosen(last)


def test_a_weighted_sampler_gives_its_weights() -> None:
    weights = torch.rand(NUM_SAMPLES).double() + 0.1
    dataset = TensorDataset(torch.arange(NUM_SAMPLES))
    sampled = DataLoader(dataset, batch_size=4, sampler=WeightedRandomSampler(weights.tolist(), NUM_SAMPLES))
    shuffled = DataLoader(dataset, batch_size=4, shuffle=True)
    mine = emprune.PrunedLoader(sampled, "random", num_epochs=2, keep=0.2)
    theirs = emprune.PrunedLoader(shuffled, "random", num_epochs=2, keep=0.2, weights=weights)
    for loader in (mine, theirs):
        loader.set_epoch(0)
    assert mine.pruner.plan == theirs.pruner.plan
    emprune.PrunedLoader(sampled, make_pruner(weights=weights))


def test_a_weighted_sampler_says_the_same_as_the_weights(raises: Raises) -> None:
    dataset = TensorDataset(torch.arange(NUM_SAMPLES))
    sampled = DataLoader(dataset, batch_size=4, sampler=WeightedRandomSampler([1.0] * NUM_SAMPLES, NUM_SAMPLES))
    with raises(ConfigError, parameter="weights"):
        emprune.PrunedLoader(sampled, "random", num_epochs=2, keep=0.2, weights=[1.0] * NUM_SAMPLES)
    with raises(ConfigError, parameter="weights"):
        emprune.PrunedLoader(sampled, make_pruner())


# Batches.


@given(seed=st.integers(0, 20), run_length=st.integers(1, 7), num_groups=st.integers(1, 6))
def test_runs_are_of_one_group_and_the_samples_stay(seed: int, run_length: int, num_groups: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_groups, (90,), generator=generator)
    index = torch.randperm(90, generator=generator)[:60]
    plan = EpochPlan(1, index, index.float(), 90)
    groups = Groups(labels, per_batch=run_length)
    ordered = by_group(plan, groups, run=run_length, seed=seed)
    assert ordered.index.sort().values.equal(index.sort().values)
    assert ordered.weight is not None
    assert ordered.weight.equal(ordered.index.float())
    num_whole = sum(count // run_length for count in torch.bincount(labels[index]).tolist())
    runs = labels[ordered.index[: num_whole * run_length]].view(num_whole, run_length)
    assert bool((runs == runs[:, :1]).all())


def test_batches_hold_m_of_each_group_on_every_rank() -> None:
    labels = torch.arange(400) % 4
    groups = Groups(labels, quota="equal", per_batch=2)
    pruner = emprune.DataPruner("random", num_samples=400, num_epochs=2, keep=0.4, groups=groups)
    plan = pruner.begin_epoch(0, multiple_of=8)
    batches = labels[plan.index].view(-1, 8)
    assert all(torch.bincount(batch, minlength=4).tolist() == [2, 2, 2, 2] for batch in batches[:2])
    assert all(count % 2 == 0 for batch in batches for count in torch.bincount(batch).tolist())


# A run stops and goes on; what was asked for is part of what it is.


@pytest.mark.parametrize(
    "options",
    [
        {"groups": Groups(LABELS, quota="equal", per_batch=2)},
        {"groups": Groups(LABELS, quota="rcap", floor=0.1), "pinned": [4, 7]},
        {"weights": LABELS + 1.0, "lengths": list(range(NUM_SAMPLES))},
        {"weights": LABELS + 1.0, "groups": Groups(LABELS, quota="free", floor=0.2), "pinned": [4]},
    ],
    ids=["balanced batches", "rcap and pinned", "weights and lengths", "weights, floors and pinned"],
)
@pytest.mark.parametrize("method", ["emp", "ucb", "infobatch", "soft"])
def test_a_run_goes_on_exactly(method: str, options: dict[str, Any]) -> None:
    losses = torch.rand(NUM_SAMPLES)
    whole = make_pruner(method, **options)
    plans = run(whole, losses)
    for stop in (1, 4):
        first, second = make_pruner(method, **options), make_pruner(method, **options)
        run(first, losses, epochs=range(stop))
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        assert run(second, losses, epochs=range(stop, 6)) == plans[stop:]
        whole_state, state = whole.state_dict(), second.state_dict()
        whole_state["history"]["planning_seconds"] = state["history"]["planning_seconds"] = []
        assert_same_state(state, whole_state)


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("groups", Groups(LABELS), Groups(LABELS, quota="equal")),
        ("groups", Groups(LABELS), Groups(LABELS.flip(0))),
        ("weights", LABELS + 1.0, LABELS + 2.0),
        ("pinned", [1], [2]),
        ("pinned", [1], None),
    ],
)
def test_a_state_of_other_options_is_refused(name: str, value: Any, other: Any, raises: Raises) -> None:
    state = make_pruner(**{name: value}).state_dict()
    with raises(StateError):
        make_pruner(**{name: other}).load_state_dict(state)


# Errors.


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"groups": [0, 1]}, "groups"),
        ({"weights": [1.0, 2.0]}, "weights"),
        ({"weights": torch.zeros(NUM_SAMPLES)}, "weights"),
        ({"weights": "ten"}, "weights"),
        ({"pinned": [NUM_SAMPLES]}, "pinned"),
        ({"pinned": [1, 1]}, "pinned"),
        ({"pinned": [0.5]}, "pinned"),
        ({"groups": Groups(LABELS, per_batch=2), "lengths": list(range(NUM_SAMPLES))}, "lengths"),
        ({"method": "random-permutation", "weights": LABELS + 1.0}, "weights"),
        ({"method": "static-random", "weights": LABELS + 1.0}, "weights"),
        ({"method": "full", "keep": 1.0, "groups": LABELS}, "groups"),
        ({"keep": 1.0, "weights": LABELS + 1.0}, "weights"),
        ({"keep": 1.0, "pinned": [3]}, "pinned"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], parameter: str, raises: Raises) -> None:
    with raises(ConfigError, parameter=parameter):
        make_pruner(**options)


@pytest.mark.parametrize(
    ("labels", "options", "parameter"),
    [
        ([0.5, 1.5], {}, "labels"),
        ([], {}, "labels"),
        (torch.zeros(2, 2), {}, "labels"),
        ([0, 1], {"quota": "same"}, "quota"),
        ([0, 1], {"quota": {0: 1}}, "quota"),
        ([0, 1], {"quota": {0: 1, 1: 0}}, "quota"),
        ([0, 1], {"quota": "free"}, "quota"),
        ([0, 1], {"floor": 1.5}, "floor"),
        ([0, 1], {"per_batch": 0}, "per_batch"),
    ],
)
def test_malformed_groups_are_refused(labels: Any, options: dict[str, Any], parameter: str, raises: Raises) -> None:
    with raises(ConfigError, parameter=parameter):
        Groups(labels, **options)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"pinned": list(range(45))}, "pinned"),
        ({"groups": Groups(LABELS, floor=0.5)}, "floor"),
        ({"groups": Groups(LABELS, per_batch=3)}, "per_batch"),
    ],
)
def test_an_epoch_without_room_is_refused_before_the_first(
    options: dict[str, Any], parameter: str, raises: Raises
) -> None:
    with raises(ConfigError, parameter=parameter):
        make_pruner(**options).begin_epoch(0, multiple_of=4)
