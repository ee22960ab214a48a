import numpy as np
import pytest
from emprune_lab.comparison.statistics import Floats
from emprune_lab.pages.shared_figures import Ints, gini_of, lorenz
from hypothesis import given
from hypothesis import strategies as st

VISITS = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(np.array)


def test_golden_values() -> None:
    visits = np.array([3, 0, 1, 0, 4])
    samples, shares = lorenz(visits)
    assert samples.tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert shares.tolist() == pytest.approx([0, 0, 0, 0.125, 0.5, 1])
    assert gini_of(visits) == pytest.approx(0.55)
    assert [part.tolist() for part in lorenz(np.zeros(2, int))] == [[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]


def area(x: Floats, y: Floats) -> float:
    """Below a curve, by trapezia; NumPy has no name for it that its versions share."""
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


@given(VISITS)
def test_the_curve_rises_below_the_diagonal_and_its_area_is_the_gini(visits: Ints) -> None:
    samples, shares = lorenz(visits)
    assert [samples[0], shares[0], samples[-1], shares[-1]] == [0, 0, 1, 1]
    assert (np.diff(samples) > 0).all()
    assert (np.diff(shares) >= 0).all()
    assert (shares <= samples + 1e-12).all()
    assert 1 - 2 * area(samples, shares) == pytest.approx(gini_of(visits), abs=1e-9)


def test_of_many_samples_the_curve_has_few_points() -> None:
    visits = np.random.default_rng(0).integers(0, 50, 100_003)
    samples, shares = lorenz(visits)
    assert len(samples) == len(shares) == 200
    assert 1 - 2 * area(samples, shares) == pytest.approx(gini_of(visits), abs=1e-3)
