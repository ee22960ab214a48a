import pytest
import torch
from emprune_lab.training.frequency import gini, histogram, lorenz
from hypothesis import given
from hypothesis import strategies as st

VISITS = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(torch.tensor)


def test_golden_values() -> None:
    visits = torch.tensor([3, 0, 1, 0, 4], dtype=torch.int32)
    assert histogram(visits) == [2, 1, 0, 1, 1]
    samples, shares = lorenz(visits)
    assert samples == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert shares == pytest.approx([0, 0, 0, 0.125, 0.5, 1])
    assert gini(visits) == pytest.approx(0.55)
    assert lorenz(torch.zeros(2, dtype=torch.int32)) == ([0.0, 0.5, 1.0], [0.0, 0.5, 1.0])


@given(VISITS)
def test_the_curve_rises_below_the_diagonal_and_its_area_is_the_gini(visits: torch.Tensor) -> None:
    samples, shares = (torch.tensor(part, dtype=torch.float64) for part in lorenz(visits))
    assert [float(end) for end in (samples[0], shares[0], samples[-1], shares[-1])] == [0, 0, 1, 1]
    assert bool((samples.diff() > 0).all())
    assert bool((shares.diff() >= 0).all())
    assert bool((shares <= samples + 1e-12).all())
    assert 1 - 2 * float(torch.trapezoid(shares, samples)) == pytest.approx(gini(visits), abs=1e-9)
    assert sum(histogram(visits)) == len(visits)


def test_of_many_samples_the_curve_has_few_points() -> None:
    visits = torch.randint(0, 50, (100_003,), generator=torch.Generator().manual_seed(0))
    samples, shares = lorenz(visits)
    assert len(samples) == len(shares) == 200
    assert 1 - 2 * float(torch.trapezoid(torch.tensor(shares), torch.tensor(samples))) == pytest.approx(
        gini(visits), abs=1e-3
    )
