"""The candidates for a better EMP do what their slow twins do."""

import math

import pytest
import torch

import emprune
from emprune.methods.emp_sampled import inclusion_probabilities, systematic_sample
from emprune.randomness import derive_generator
from tests.reference import twins
from tests.reference.test_twins import NUM_SAMPLES, assert_columns_agree, follow, make_pruner, seeds


@seeds()
@pytest.mark.parametrize(("max_pool", "threshold", "gamma"), [(4.0, 0.5, 1.0), (2.0, 0.2, 2.0), (30.0, 0.1, 0.3)])
def test_adaptive(max_pool: float, threshold: float, gamma: float, seed: int) -> None:
    method = emprune.AdaptiveEMP(max_pool=max_pool, threshold=threshold, gamma=gamma)
    pruner, twin = make_pruner(method, seed=seed), twins.emp_adaptive(3.0)
    pools = set()

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        assert plan.weight is None
        if not old:
            return
        pool = twins.adaptive_pool(twin.samples, max_pool=max_pool, threshold=threshold, gamma=gamma)
        pools.add(pool)
        assert pruner.summary().details["pool"] == pytest.approx(pool)
        draws = torch.rand(NUM_SAMPLES, generator=derive_generator(seed, "pool", plan.epoch)).tolist()
        candidates = sorted(twin.samples, key=draws.__getitem__, reverse=True)[: round(pool * len(old))]
        assert old == set(sorted(candidates, key=twin.score, reverse=True)[: len(old)])

    follow(pruner, twin, check, seed=seed)
    assert_columns_agree(pruner, twin)
    assert len(pools) > 1


@seeds()
@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize(("fraction", "growth"), [(0.25, 1.6), (0.6, 1.0), (1.0, 3.0)])
def test_review(fraction: float, growth: float, spaced: bool, seed: int) -> None:
    method = emprune.ReviewEMP(pool=None, review_fraction=fraction, growth=growth, spaced=spaced)
    pruner, twin = make_pruner(method, seed=seed), twins.emp_review(3.0)
    last_visit: dict[int, int] = {}
    reviewed = 0

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        nonlocal reviewed
        overdue = twins.overdue(twin.samples, last_visit, epoch=plan.epoch, growth=growth)
        num_reviews = min(math.floor(fraction * len(old)), len(overdue))
        assert len(old & set(overdue)) >= num_reviews
        due = sorted(overdue, key=overdue.__getitem__, reverse=True)
        cut = overdue[due[num_reviews - 1]] if num_reviews and spaced else -1.0
        if spaced and num_reviews:
            assert {sample for sample in due if overdue[sample] > cut + 1e-6} <= old
        tied = {sample for sample in due if overdue[sample] > cut - 1e-6}
        # The others are the best of what is left: whoever is passed over scores no higher.
        by_score, passed_over = old - tied, set(twin.samples) - old
        if by_score and passed_over:
            assert min(map(twin.score, by_score)) >= max(map(twin.score, passed_over)) - 1e-5
        assert len(by_score) <= len(old) - num_reviews
        reviewed += num_reviews
        last_visit.update(dict.fromkeys(plan.index.tolist(), plan.epoch))

    follow(pruner, twin, check, seed=seed)
    assert_columns_agree(pruner, twin)
    assert reviewed > 5


@seeds()
@pytest.mark.parametrize("alpha", [None, 0.0, 0.5, 1.0])
def test_sampled(alpha: float | None, seed: int) -> None:
    method = emprune.SampledEMP(alpha=alpha, uniform_fraction=0.2)
    pruner, twin = make_pruner(method, seed=seed), twins.emp(3.0)
    budget, visited = round(0.45 * NUM_SAMPLES * 12), 0
    exponents = []

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        nonlocal visited
        visited += len(plan)
        if not old:
            return
        scores = {sample: twin.score(sample) for sample in twin.samples}
        probability = twins.inclusion(twins.sampling_shares(scores, 0.2), len(old))
        assert sum(probability.values()) == pytest.approx(len(old))
        assert {sample for sample, p in probability.items() if p == 1} <= old
        rise = max(0.0, (min(1.0, visited / budget) - 0.7) / 0.3)
        exponent = rise if alpha is None else alpha
        exponents.append(exponent)
        weights = dict(zip(plan.index.tolist(), pruner.weights(plan.index).tolist(), strict=True))
        expected = {sample: (len(old) / len(scores) / probability[sample]) ** exponent for sample in old}
        assert {sample: weights[sample] for sample in old} == pytest.approx(expected, rel=1e-4)

    follow(pruner, twin, check, seed=seed)
    assert_columns_agree(pruner, twin)
    if alpha is None:
        assert exponents[0] == 0
        assert exponents[-1] == pytest.approx(1)


@seeds(30)
def test_inclusion_probabilities(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(2 + seed, generator=generator).pow(1 + seed % 7) + 1e-4
    for k in range(1, len(shares) + 1):
        expected = twins.inclusion(dict(enumerate(shares.tolist())), k)
        found = inclusion_probabilities(shares.clone(), k)
        assert found.tolist() == pytest.approx([expected[i] for i in range(len(shares))], rel=1e-5)


@seeds(30)
def test_systematic_sampling(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_samples = 5 + seed
    for k in range(1, num_samples):
        shares = torch.rand(num_samples, generator=generator).pow(3) + 1e-3
        shares[torch.rand(num_samples, generator=generator) < 0.1] = 0
        if int((shares > 0).count_nonzero()) < k:
            continue
        probability = inclusion_probabilities(shares, k)
        draws = torch.Generator().manual_seed(k)
        found = systematic_sample(probability, k, generator=draws)
        certain = {i for i, p in enumerate(probability.tolist()) if p == 1}
        expected = set(certain)
        if len(certain) < k:
            draws = torch.Generator().manual_seed(k)
            order = torch.randperm(num_samples, generator=draws, dtype=torch.int32).tolist()
            first = 1 - float(torch.rand((), generator=draws, dtype=torch.float64))
            line = [0.0 if i in certain else float(probability[i]) for i in order]
            scale = (k - len(certain)) / sum(line)
            expected |= {order[place] for place in twins.on_the_line([p * scale for p in line], first)}
        assert set(found.tolist()) == expected
        assert len(found) == k
