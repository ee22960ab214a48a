"""top_k and sample: exact sizes, and chance wherever scores do not decide."""

import numpy as np
import pytest
import torch
from torch import Tensor

from emprune.selection import _kth_highest, sample, top_k


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(num_samples: int, *positions: int) -> Tensor:
    return torch.zeros(num_samples, dtype=torch.bool).index_fill_(0, torch.tensor(positions), True)


@pytest.mark.parametrize("k", range(6))
def test_the_highest_are_taken(k: int) -> None:
    scores = torch.tensor([0.3, -2.0, 5.0, 0.0, 1.0])
    assert sorted(top_k(scores, k, generator=draw()).tolist()) == sorted([2, 4, 0, 3, 1][:k])


@pytest.mark.parametrize("k", range(4))
def test_only_candidates_are_taken(k: int) -> None:
    scores = torch.tensor([0.3, torch.nan, 5.0, torch.inf, 1.0])
    taken = top_k(scores, k, generator=draw(), among=only(5, 0, 2, 4))
    assert sorted(taken.tolist()) == sorted([2, 4, 0][:k])


def test_candidates_without_hope_still_fill_up() -> None:
    scores = torch.tensor([-torch.inf, -torch.inf, 1.0, -torch.inf])
    for seed in range(20):
        taken = top_k(scores, 2, generator=draw(seed), among=only(4, 0, 2))
        assert sorted(taken.tolist()) == [0, 2]


@pytest.mark.parametrize("among", [None, torch.ones(6, dtype=torch.bool)])
def test_ties_at_the_cut_are_broken_uniformly(among: Tensor | None) -> None:
    scores = torch.tensor([1.0, 3.0, 1.0, 0.0, 1.0, 1.0])
    counts = np.zeros(6)
    for seed in range(2000):
        taken = top_k(scores, 3, generator=draw(seed), among=among)
        assert len(taken.unique()) == 3
        counts[taken.numpy()] += 1
    assert counts[1] == 2000
    assert counts[3] == 0
    assert np.all(np.abs(counts[[0, 2, 4, 5]] - 1000) < 5 * 500**0.5)


def test_the_scores_are_not_changed() -> None:
    scores = torch.rand(100, generator=draw())
    before = scores.clone()
    top_k(scores, 30, generator=draw(), among=scores > 0.5)
    assert scores.equal(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_close_scores_are_told_apart(dtype: torch.dtype) -> None:
    close = torch.tensor([1.0, float(np.nextafter(np.float32(1), np.float32(2))), 1.0], dtype=dtype)
    assert top_k(close, 1, generator=draw()).tolist() == [1]


@pytest.mark.parametrize("among", [None, only(8, 1, 2, 3, 5, 7)])
def test_samples_are_uniform_and_without_replacement(among: Tensor | None) -> None:
    candidates = list(range(8)) if among is None else [1, 2, 3, 5, 7]
    counts = np.zeros(8)
    for seed in range(2000):
        taken = sample(8, 3, generator=draw(seed), among=among)
        assert taken.dtype == torch.int64
        assert len(taken.unique()) == 3
        counts[taken.numpy()] += 1
    expected = 2000 * 3 / len(candidates)
    assert counts.sum() == counts[candidates].sum()
    assert np.all(np.abs(counts[candidates] - expected) < 5 * expected**0.5)


def test_nothing_and_everything_can_be_sampled() -> None:
    assert sample(5, 0, generator=draw()).tolist() == []
    assert sorted(sample(5, 5, generator=draw()).tolist()) == [0, 1, 2, 3, 4]
    assert sorted(sample(5, 2, generator=draw(), among=only(5, 1, 4)).tolist()) == [1, 4]


@pytest.mark.parametrize("common", [(), (0.0,), (-np.inf,), (0.5,), (1.0,), (0.0, 0.5), (-np.inf, 0.0, 1.0)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_the_cut_is_exact_whatever_value_dominates(common: tuple[float, ...], share: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(100_001).astype(np.float32)
    for value in common:
        values[rng.random(len(values)) < share] = value
    ordered = np.sort(values)[::-1]
    for k in (1, 2, 1000, 30_000, 50_000, 99_999, 100_001):
        assert _kth_highest(values.copy(), k) == ordered[k - 1]
