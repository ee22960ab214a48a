"""The candidates for a better EMP: worked out by hand, at their ends, and where they are refused."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from emprune.methods.emp_sampled import inclusion_probabilities, systematic_sample
from emprune.randomness import derive_generator
from tests.property.strategies import untied
from tests.unit.support import after_full_epoch, as_memory, chosen, context_of, make_pruner, observe

LOSS = torch.tensor([0.1, 2.0, 0.7, 1.5, 0.05, 3.0, 1.0, 0.4, 2.5, 0.9])  # p is above 1/2 for 0, 4 and 7
MEMORY = torch.tensor([0.9, 0.1, 0.6, 0.0, 1.0, 0.1, 0.3, 0.5, 0.2, 0.2])
SCORE = [2.8, 2.3, 2.5, 1.5, 3.05, 3.3, 1.9, 1.9, 3.1, 1.5]


def plan_after(method: emprune.Method, losses: Tensor, *, num_kept: int, seed: int = 0) -> emprune.EpochPlan:
    """The plan after a full epoch of these losses, without memory."""
    return after_full_epoch(method, losses, torch.zeros_like(losses), num_kept=num_kept, seed=seed).begin_epoch(1)


# A: a pool by what is remembered.


def test_adaptive_in_ten_samples() -> None:
    method = emprune.AdaptiveEMP(memory=as_memory, max_pool=5)
    pruner = after_full_epoch(method, LOSS, MEMORY, num_kept=3)
    plan = pruner.begin_epoch(1)
    assert pruner.stats["confidence"].tolist() == pytest.approx([math.exp(-loss) for loss in LOSS.tolist()])
    assert pruner.summary().details == pytest.approx({"remembered": 0.3, "pool": 1 + 4 * 0.3})
    draws = torch.rand(10, generator=derive_generator(0, "pool", 1)).tolist()
    candidates = sorted(range(10), key=draws.__getitem__)[-round(2.2 * 3) :]
    assert chosen(plan) == set(sorted(candidates, key=SCORE.__getitem__)[-3:])


def test_confidence_is_a_running_mean_of_the_labels_probability() -> None:
    pruner = after_full_epoch(emprune.AdaptiveEMP(memory=as_memory), LOSS, MEMORY, num_kept=10, later=2)
    pruner.begin_epoch(1)
    observe(pruner, LOSS.flip(0), MEMORY)
    pruner.begin_epoch(2)
    expected = [(math.exp(-a) + math.exp(-b)) / 2 for a, b in zip(LOSS.tolist(), LOSS.flip(0).tolist(), strict=True)]
    assert pruner.stats["confidence"].tolist() == pytest.approx(expected)


@given(untied(min_size=4), st.data())
def test_adaptive_is_random_while_nothing_is_remembered(losses: Tensor, data: st.DataObject) -> None:
    losses = losses + 1  # p below exp(-1)
    num_kept, seed = data.draw(st.integers(1, len(losses) - 1)), data.draw(st.integers(0, 50))
    adaptive = plan_after(emprune.AdaptiveEMP(memory=as_memory), losses, num_kept=num_kept, seed=seed)
    assert adaptive == plan_after(emprune.EMP(memory=as_memory, pool=1), losses, num_kept=num_kept, seed=seed)


@given(untied(min_size=4), st.data())
def test_adaptive_takes_the_top_once_all_is_remembered(losses: Tensor, data: st.DataObject) -> None:
    losses = losses / 1000  # p above exp(-0.1)
    num_kept = data.draw(st.integers(1, len(losses) - 1))
    method = emprune.AdaptiveEMP(memory=as_memory, max_pool=1e6)
    adaptive = plan_after(method, losses, num_kept=num_kept)
    assert adaptive == plan_after(emprune.EMP(memory=as_memory), losses, num_kept=num_kept)


@given(untied(min_size=4), st.floats(1, 9), st.data())
def test_a_replayed_pool_of_one_width_is_emps(losses: Tensor, pool: float, data: st.DataObject) -> None:
    num_kept = data.draw(st.integers(1, len(losses) - 1))
    replayed = plan_after(emprune.AdaptiveEMP(memory=as_memory, replay=str(pool)), losses, num_kept=num_kept)
    assert replayed == plan_after(emprune.EMP(memory=as_memory, pool=pool), losses, num_kept=num_kept)


def test_a_replayed_pool_widens_over_the_visits() -> None:
    method = emprune.AdaptiveEMP(memory=as_memory, replay="1/3")
    pruner = after_full_epoch(
        method, LOSS, torch.zeros(10), num_kept=2, later=5
    )  # 10 visits, and then 2 in each of five epochs
    assert len(pruner.begin_epoch(0)) == 10
    for epoch, width in enumerate([2.2, 2.4, 2.6, 2.8, 3.0], start=1):
        plan = pruner.begin_epoch(epoch)
        draws = torch.rand(10, generator=derive_generator(0, "pool", epoch)).tolist()
        candidates = sorted(range(10), key=draws.__getitem__)[-round(width * 2) :]
        assert chosen(plan) == set(sorted(candidates, key=LOSS.tolist().__getitem__)[-2:])
        assert pruner.summary().details == {"remembered": 0.3}
        observe(pruner, LOSS, torch.zeros(10))


# B: spaced review.


def reviewing(**options: Any) -> emprune.ReviewEMP:
    return emprune.ReviewEMP(memory=as_memory, **options)


def test_review_in_ten_samples() -> None:
    pruner = after_full_epoch(reviewing(review_fraction=0.5, pool=None), LOSS, MEMORY, num_kept=4)
    plan = pruner.begin_epoch(1)
    assert pruner.stats["box"].tolist() == [1, 0, 0, 0, 1, 0, 0, 1, 0, 0]  # exp(-0.7) is just below 1/2
    # Two of the three that were right, all as overdue, and the best two of what is left.
    reviewed = chosen(plan) & {0, 4, 7}
    assert len(reviewed) >= 2
    assert chosen(plan) - reviewed <= {5, 8}


def test_boxes_and_lapses() -> None:
    right, wrong = 0.0, 5.0
    story = [wrong, right, right, right, wrong, wrong, right, wrong, wrong, right, wrong, right, wrong, *[right] * 8]
    boxes = [0, 1, 2, 3, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 2, 3, 4, 5, 6, 6, 6]
    lapses = [0, 0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    pruner = make_pruner(reviewing(), num_samples=1, num_epochs=len(story), keep=1.0)
    for epoch, loss in enumerate(story):
        pruner.begin_epoch(epoch)
        pruner.observe(torch.tensor([0]), torch.tensor([loss]), torch.zeros(1))
        pruner.sync()
        assert (int(pruner.stats["box"]), int(pruner.stats["lapses"])) == (boxes[epoch], lapses[epoch])


def test_the_longest_unvisited_and_the_lowest_boxes_are_reviewed_first() -> None:
    stats = emprune.SampleStats(6, emprune.ReviewEMP.columns)
    right, outputs = torch.full((6,), 0.1), torch.zeros(6)
    for epoch, index in enumerate([[0, 1, 2, 3, 4, 5], [1, 2, 3], [2]]):
        at = torch.tensor(index)
        stats.fold(epoch, at, {"loss": right[at], "memory": outputs[at]}, reviewing().fold)
    seen = torch.ones(6, dtype=torch.bool)
    context = emprune.SelectionContext(
        stats=stats, scores=torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 0.0]), seen=seen, num_seen=6, num_kept=4,
        epoch=4, seed=0, previous=None,
    )  # fmt: skip
    # Overdue: 4/1.6 for 0, 4 and 5; 3/1.6² for 1 and 3; 2/1.6³ for 2.
    method = reviewing(review_fraction=0.75, pool=None)
    assert set(method.select(context).index.tolist()) > {0, 4, 5}
    assert chosen_of(reviewing(review_fraction=1), context) > {0, 4, 5}
    unspaced = [
        chosen_of(reviewing(review_fraction=1, spaced=False), dataclasses.replace(context, seed=seed))
        for seed in range(40)
    ]
    counts = [sum(sample in one for one in unspaced) for sample in range(6)]
    assert all(count >= 15 for count in counts)  # of 40 · 4/6


def chosen_of(method: emprune.Method, context: emprune.SelectionContext) -> set[int]:
    return set(method.select(context).index.tolist())


@given(untied(min_size=4), st.data())
def test_without_reviews_it_is_emp(losses: Tensor, data: st.DataObject) -> None:
    losses = losses / 50
    num_kept, seed = data.draw(st.integers(1, len(losses) - 1)), data.draw(st.integers(0, 50))
    none = plan_after(reviewing(review_fraction=0), losses, num_kept=num_kept, seed=seed)
    assert none == plan_after(emprune.EMP(memory=as_memory, pool=2), losses, num_kept=num_kept, seed=seed)


def test_what_was_forgotten_four_times_is_not_reviewed() -> None:
    story = [0.0, 5.0] * 4 + [0.0]
    pruner = make_pruner(reviewing(review_fraction=1.0), num_samples=2, num_epochs=11, keep=1.0)
    for epoch, loss in enumerate(story):
        plan = pruner.begin_epoch(epoch)
        pruner.observe(plan.index, torch.where(plan.index == 0, loss, 0.0), torch.zeros(2))
    pruner.sync()
    assert pruner.stats["lapses"].tolist() == [4, 0]
    assert pruner.stats["box"].tolist() == [1, 6]
    scores = torch.tensor([0.0, -9.0])
    for seed in range(20):  # 1 is the only one to be reviewed
        context = emprune.SelectionContext(
            stats=pruner.stats, scores=scores, seen=pruner.stats.seen, num_seen=2, num_kept=1, epoch=9, seed=seed,
            previous=None,
        )  # fmt: skip
        assert chosen_of(pruner.method, context) == {1}


def test_remembering_boxes_costs_two_bytes() -> None:
    assert make_pruner(emprune.ReviewEMP()).stats.bytes_per_sample == 18
    assert make_pruner(emprune.AdaptiveEMP()).stats.bytes_per_sample == 20
    assert make_pruner(emprune.SampledEMP()).stats.bytes_per_sample == 16


# C: proportional sampling.


def test_sampled_in_ten_samples() -> None:
    pruner = after_full_epoch(emprune.SampledEMP(memory=as_memory, alpha=1), LOSS, MEMORY, num_kept=4)
    plan = pruner.begin_epoch(1)
    total = sum(SCORE)
    probability = [4 * (0.7 * score / total + 0.03) for score in SCORE]
    assert max(probability) < 1
    assert plan.weight is not None
    for sample, weight in zip(plan.index.tolist(), plan.weight.tolist(), strict=True):
        assert weight == pytest.approx(0.4 / probability[sample])


@pytest.mark.parametrize("alpha", [0, None])
def test_early_and_without_reweighting_all_weights_are_1(alpha: float | None) -> None:
    method = emprune.SampledEMP(memory=as_memory, alpha=alpha)
    pruner = after_full_epoch(method, LOSS, MEMORY, num_kept=4, later=20)
    assert pruner.begin_epoch(1).weight is None


def test_the_weights_rise_over_the_last_three_tenths_of_the_visits() -> None:
    pruner = after_full_epoch(emprune.SampledEMP(memory=as_memory), LOSS, MEMORY, num_kept=2, later=15)  # 40 visits
    for epoch in range(1, 16):
        plan = pruner.begin_epoch(epoch)
        progress = (10 + 2 * epoch) / 40
        if progress <= 0.7:
            assert plan.weight is None
            observe(pruner, LOSS, MEMORY)
            continue
        assert plan.weight is not None
        ones = plan_weights(plan, alpha=1.0)
        rise = (progress - 0.7) / 0.3
        assert plan.weight.tolist() == pytest.approx([one**rise for one in ones])
        observe(pruner, LOSS, MEMORY)
    assert rise == pytest.approx(1)


def plan_weights(plan: emprune.EpochPlan, *, alpha: float) -> list[float]:
    """The weights that this plan of two of the ten has at an exponent."""
    probability = [2 * (0.7 * score / sum(SCORE) + 0.03) for score in SCORE]
    return [(0.2 / probability[sample]) ** alpha for sample in plan.index.tolist()]


shares = st.lists(st.floats(2**-20, 1, width=32), min_size=2, max_size=40).map(torch.tensor)


@given(shares, st.data())
def test_probabilities_sum_to_k_and_are_in_proportion(share: Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(share)))
    probability = inclusion_probabilities(share.clone(), k)
    assert float(probability.double().sum()) == pytest.approx(k, rel=1e-5)
    assert float(probability.max()) <= 1
    inside = probability < 1
    if k < len(share) and bool(inside.any()):
        factor = (probability / share)[inside]
        assert float(factor.max()) == pytest.approx(float(factor.min()), rel=1e-5)
        assert bool((share[~inside] * factor.max() >= 1 - 1e-5).all())


@given(shares, st.data())
def test_a_draw_is_exact_and_unique(share: Tensor, data: st.DataObject) -> None:
    k, seed = data.draw(st.integers(1, len(share))), data.draw(st.integers(0, 999))
    probability = inclusion_probabilities(share, k)
    index = systematic_sample(probability, k, generator=torch.Generator().manual_seed(seed))
    assert len(index) == len(index.unique()) == k
    assert set((probability == 1).nonzero().flatten().tolist()) <= set(index.tolist())


def test_each_is_drawn_as_often_as_its_probability_says() -> None:
    share = torch.rand(20, generator=torch.Generator().manual_seed(0)).square() + 0.01
    share[3] = 0
    probability = inclusion_probabilities(share, 6)
    counts = torch.zeros(20)
    for seed in range(1000):
        counts[systematic_sample(probability, 6, generator=torch.Generator().manual_seed(seed))] += 1
    spread = (1000 * probability * (1 - probability)).sqrt()
    assert bool(((counts - 1000 * probability).abs() <= 4.5 * spread).all())
    assert counts[3] == 0


@pytest.mark.parametrize("num_kept", [1, 5, 12, 19, 20])
def test_at_alpha_1_the_weighted_mean_is_unbiased_and_the_weights_bounded(num_kept: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, values = torch.rand(20, generator=generator).pow(4), torch.rand(20, generator=generator).square()
    method = emprune.SampledEMP(alpha=1)
    means, weights = [], []
    for seed in range(500):
        selection = method.select(context_of(scores, num_kept, seed=seed))
        assert selection.weight is not None
        assert float(selection.weight.max()) <= 1 / 0.3 + 1e-5
        means.append((selection.weight * values[selection.index]).mean())
        weights.append(selection.weight.mean())
    for found, expected in ((torch.stack(means), values.mean()), (torch.stack(weights), torch.tensor(1.0))):
        error = float(found.std()) / len(means) ** 0.5
        assert abs(float(found.mean() - expected)) <= 4 * error + 1e-6


@pytest.mark.parametrize("scores", [torch.zeros(30), torch.full((30,), -2.0), torch.full((30,), 1e30)])
def test_scores_that_say_nothing_are_drawn_evenly(scores: Tensor) -> None:
    selection = emprune.SampledEMP(alpha=1).select(context_of(scores, 7))
    assert selection.weight is not None
    assert selection.weight.tolist() == pytest.approx([1.0] * 7)


def test_a_long_line_keeps_its_count() -> None:
    share = torch.rand(2_000_000, generator=torch.Generator().manual_seed(0)).pow_(8).add_(1e-4)
    for k in (1, 77_777, 1_999_999):
        index = systematic_sample(inclusion_probabilities(share.clone(), k), k, generator=torch.Generator())
        assert len(index) == len(index.unique()) == k


def test_on_two_classes_only_what_ranks_is_warned_of() -> None:
    assert [
        method.ranks_as_greedy(2)
        for method in (emprune.AdaptiveEMP(), emprune.ReviewEMP(), emprune.SampledEMP(), emprune.ReviewEMP(beta=4))
    ] == [True, True, False, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: emprune.AdaptiveEMP(max_pool=0.5), "`max_pool` must be finite and at least 1"),
        (lambda: emprune.AdaptiveEMP(max_pool=math.inf), "got max_pool=inf"),
        (lambda: emprune.AdaptiveEMP(threshold=1.0), r"`threshold` must be in \[0, 1\)"),
        (lambda: emprune.AdaptiveEMP(gamma=0), "`gamma` must be finite and above 0"),
        (lambda: emprune.AdaptiveEMP(replay="1/x"), "separated by slashes as in '1/1.5/3': got replay='1/x'"),
        (lambda: emprune.AdaptiveEMP(replay="0.5"), "widths of the pool of at least 1"),
        (lambda: emprune.ReviewEMP(review_fraction=1.5), r"`review_fraction` must be in \[0, 1\]"),
        (lambda: emprune.ReviewEMP(growth=0.9), "`growth` must be finite and at least 1"),
        (lambda: emprune.ReviewEMP(pool=0.5), "`pool` must be at least 1"),
        (lambda: emprune.SampledEMP(uniform_fraction=0), r"`uniform_fraction` must be in \(0, 1\]"),
        (lambda: emprune.SampledEMP(alpha=2), r"`alpha` must be in \[0, 1\]"),
        (lambda: emprune.SampledEMP(beta=-1), "`beta` must be finite and at least 0"),
    ],
)
def test_what_is_out_of_range_is_refused(make: Any, message: str) -> None:
    with pytest.raises(emprune.ConfigError, match=message):
        make()
