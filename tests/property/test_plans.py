"""Every method, on any run: exact, unique, in range, reproducible; observing it in any way is the same."""

import itertools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from emprune.testing import SyntheticTask, assert_same_state, run_epochs
from tests.property.strategies import METHODS, Run, runs, tied, untied
from tests.unit.support import after_full_epoch, as_memory, chosen

pytestmark = pytest.mark.filterwarnings("ignore:InfoBatch at keep")  # drawn keeps may be that low

methods = st.sampled_from(sorted(METHODS))


def pruner_for(run: Run, name: str) -> emprune.DataPruner:
    pruner = emprune.DataPruner(
        METHODS[name](run.num_samples),
        num_samples=run.num_samples,
        num_epochs=run.num_epochs,
        keep=run.keep,
        tail_epochs=0,
        seed=run.seed,
    )
    pruner.schedule = run.schedule
    return pruner


@given(runs(), methods)
def test_plans_are_exact_unique_and_in_range(run: Run, name: str) -> None:
    plans = run_epochs(pruner_for(run, name), SyntheticTask(num_samples=run.num_samples), multiple_of=run.multiple_of)
    assert [len(plan) for plan in plans] == run.schedule.num_kept_per_epoch(multiple_of=run.multiple_of)
    for plan in plans:
        assert len(chosen(plan)) == len(plan)
        assert chosen(plan) <= set(range(run.num_samples))
        if plan.weight is not None:
            assert bool((plan.weight > 0).all() & plan.weight.isfinite().all())


@given(runs(), methods)
def test_the_same_seed_gives_the_same_plans(run: Run, name: str) -> None:
    task = SyntheticTask(num_samples=run.num_samples)
    one, other = (run_epochs(pruner_for(run, name), task, multiple_of=run.multiple_of) for _ in range(2))
    assert one == other


@given(runs(), methods, st.randoms(use_true_random=False))
def test_how_an_epoch_is_observed_does_not_matter(run: Run, name: str, chance: random.Random) -> None:
    """Any order, any batches, repeats before the last word, copies in between: the state is the same.

    A copy folds. What a method makes of old values, such as a running mean, then keeps what the epoch gave it first.
    """
    task = SyntheticTask(num_samples=run.num_samples)
    plain, wild = pruner_for(run, name), pruner_for(run, name)
    for epoch in range(run.num_epochs):
        plan = plain.begin_epoch(epoch, multiple_of=run.multiple_of)
        assert wild.begin_epoch(epoch, multiple_of=run.multiple_of) == plan
        plain.observe(plan.index, *task.batch(plan.index, epoch=epoch))
        for pruner in (plain, wild):
            pruner.observe_validation(**task.validation(epoch=epoch))
        order = plan.index.tolist()
        early = torch.tensor(chance.choices(order, k=len(order)))
        wild.observe(early, *task.batch(early, epoch=epoch + 100))
        may_copy = type(wild.method).fold is emprune.Method.fold
        chance.shuffle(order)
        while order:
            size = chance.randint(1, len(order))
            index, order = torch.tensor(order[:size]), order[size:]
            wild.observe(index, *task.batch(index, epoch=epoch))
            if (may_copy or not order) and chance.random() < 0.2:
                saved = wild.state_dict()
                wild = pruner_for(run, name)
                wild.load_state_dict(saved)
    plain.sync()
    wild.sync()
    assert_same_state(wild.state_dict(), plain.state_dict())


def sizes_for(losses: Tensor) -> st.SearchStrategy[int]:
    return st.integers(1, len(losses) - 1)


@given(untied(), st.data())
def test_relabelling_samples_relabels_the_plan(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(sizes_for(losses))
    order = torch.tensor(data.draw(st.permutations(range(len(losses)))))
    memory = losses.flip(0)
    methods = [emprune.Greedy(), emprune.methods.UCB(), emprune.methods.EpsilonGreedy(epsilon=0)]
    if len((losses + 0.5 * memory).unique()) == len(losses):
        methods.append(emprune.EMP(beta=0.5, memory=as_memory, pool=None))
    for method in methods:
        plan = chosen(after_full_epoch(method, losses, memory, num_kept=num_kept).begin_epoch(1))
        relabelled = chosen(after_full_epoch(method, losses[order], memory[order], num_kept=num_kept).begin_epoch(1))
        assert {int(order[i]) for i in relabelled} == plan


@given(untied(), st.data(), st.floats(0, 50, width=32))
def test_raising_a_score_never_drops_a_sample(losses: Tensor, data: st.DataObject, rise: float) -> None:
    num_kept = data.draw(sizes_for(losses))
    sample = data.draw(st.integers(0, len(losses) - 1))
    raised = losses.clone()
    raised[sample] += rise
    seed = data.draw(st.integers(0, 10))
    for method in (
        emprune.Greedy(),
        emprune.EMP(memory=as_memory, pool=None),
        emprune.EMP(memory=as_memory, pool=1.5),
        emprune.methods.UCB(),
    ):
        memory = torch.zeros_like(losses)
        plan = after_full_epoch(method, losses, memory, num_kept=num_kept, seed=seed).begin_epoch(1)
        if sample in chosen(plan):
            higher = after_full_epoch(method, raised, memory, num_kept=num_kept, seed=seed).begin_epoch(1)
            assert sample in chosen(higher) or int((raised == raised[sample]).sum()) > 1


@given(tied(), st.data())
def test_no_sample_left_out_scores_above_one_that_was_taken(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(sizes_for(losses))
    index = after_full_epoch(emprune.Greedy(), losses, num_kept=num_kept).begin_epoch(1).index
    left = torch.ones(len(losses), dtype=torch.bool).index_fill_(0, index, False)
    assert float(losses[index].min()) >= float(losses[left].max())


@given(st.one_of(untied(), tied()), st.data())
def test_beta_0_is_greedy(losses: Tensor, data: st.DataObject) -> None:
    num_kept, seed = data.draw(sizes_for(losses)), data.draw(st.integers(0, 100))
    memory = torch.randn(len(losses), generator=torch.Generator().manual_seed(seed))
    emp = after_full_epoch(
        emprune.EMP(beta=0, memory=as_memory, pool=None), losses, memory, num_kept=num_kept, seed=seed
    )
    greedy = after_full_epoch(emprune.Greedy(), losses, num_kept=num_kept, seed=seed)
    assert emp.begin_epoch(1) == greedy.begin_epoch(1)  # ties and order included


@given(untied(), st.data())
def test_epsilon_0_is_greedy(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(sizes_for(losses))
    method = emprune.methods.EpsilonGreedy(epsilon=0, alpha=1, replan_every=1)
    plans = [after_full_epoch(m, losses, num_kept=num_kept).begin_epoch(1) for m in (method, emprune.Greedy())]
    assert chosen(plans[0]) == chosen(plans[1])


@given(untied(), st.data())
def test_a_pool_past_all_samples_is_no_pool(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(sizes_for(losses))
    pool = data.draw(st.floats(len(losses) / num_kept, 1e308))
    memory = torch.zeros_like(losses)
    plans = [
        after_full_epoch(emprune.EMP(memory=as_memory, pool=p), losses, memory, num_kept=num_kept).begin_epoch(1)
        for p in (pool, None)
    ]
    assert plans[0] == plans[1]


@given(untied(min_size=4), st.data())
def test_a_pooled_plan_is_the_top_of_its_candidates(losses: Tensor, data: st.DataObject) -> None:
    """Whoever was passed over for somebody lower was no candidate, and there are only so many of those."""
    num_kept = data.draw(sizes_for(losses))
    pool = data.draw(st.floats(1, 4))
    method = emprune.EMP(beta=0, memory=as_memory, pool=pool)
    index = after_full_epoch(method, losses, torch.zeros_like(losses), num_kept=num_kept).begin_epoch(1).index
    passed_over = int((losses > losses[index].min()).count_nonzero()) - (num_kept - 1)
    assert passed_over <= max(0, len(losses) - min(round(pool * num_kept), len(losses)))


def counts_over_seeds(method: emprune.Method, num_seeds: int = 300) -> Tensor:
    """How often each of 20 samples, of rising loss, is among the 6 kept."""
    losses, counts = torch.arange(20).float(), torch.zeros(20)
    for seed in range(num_seeds):
        index = after_full_epoch(method, losses, torch.zeros(20), num_kept=6, seed=seed).begin_epoch(1).index
        counts[index] += 1
    return counts


@pytest.mark.parametrize(
    "method",
    [
        emprune.Random(),
        emprune.methods.StaticRandom(),
        emprune.RandomPermutation(),
        emprune.methods.EpsilonGreedy(epsilon=1, replan_every=1),
        emprune.EMP(memory=as_memory, pool=1),
    ],
    ids=["random", "static-random", "random-permutation", "epsilon 1", "pool 1"],
)
def test_what_is_random_is_uniform(method: emprune.Method) -> None:
    counts = counts_over_seeds(method)
    assert bool(((counts - 90).abs() < 4.5 * (300 * 0.3 * 0.7) ** 0.5).all())
    ranks = torch.arange(20).float() - 9.5
    assert abs(float((ranks * counts).sum())) < 4.5 * (float((ranks**2).sum()) * 300 * 0.3 * 0.7 * 20 / 19) ** 0.5


@pytest.mark.parametrize(("method", "least"), [(emprune.Greedy(), 300), (emprune.EMP(memory=as_memory, pool=2), 110)])
def test_what_is_not_random_is_not(method: emprune.Method, least: int) -> None:
    assert bool((counts_over_seeds(method)[-6:] >= least).all())


@given(runs(max_samples=50, max_epochs=12))
def test_a_permutation_visits_all_before_any_again(run: Run) -> None:
    pruner = pruner_for(run, "random-permutation")
    task = SyntheticTask(num_samples=run.num_samples)
    for epoch in range(run.num_epochs):
        run_epochs(pruner, task, multiple_of=run.multiple_of, stop=epoch + 1)
        assert int(pruner.visits.max() - pruner.visits.min()) <= 1
    assert int(pruner.visits.sum()) == sum(run.schedule.num_kept_per_epoch(multiple_of=run.multiple_of))


@given(runs(), st.sampled_from(["static-random", "static-subset"]))
def test_static_subsets_are_nested(run: Run, name: str) -> None:
    plans = run_epochs(pruner_for(run, name), SyntheticTask(num_samples=run.num_samples), multiple_of=run.multiple_of)
    pruned = sorted((chosen(plan) for plan in plans if not run.schedule.is_full(plan.epoch)), key=len)
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(pruned))


@given(runs(), st.integers(1, 6))
def test_shards_partition_any_plan(run: Run, world_size: int) -> None:
    pruner = pruner_for(run, "random")
    plan = pruner.begin_epoch(0, multiple_of=world_size)
    if len(plan) % world_size:
        with pytest.raises(emprune.ConfigError, match="`world_size` must divide"):
            plan.shard(0, world_size)
        return
    shards = [plan.shard(rank, world_size) for rank in range(world_size)]
    assert torch.stack([shard.index for shard in shards], dim=1).flatten().equal(plan.index)
