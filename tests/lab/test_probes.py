import numpy as np
import pytest
import torch
from emprune_lab.training.probes import knn_accuracy, linear_probe_accuracy
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor


def blobs(num: int, *, spread: float, seed: int, num_classes: int = 5, width: int = 7) -> tuple[Tensor, Tensor]:
    centres = torch.randn(num_classes, width, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(num_classes, (num,), generator=generator)
    return 3 + 5 * (centres[y] + spread * torch.randn(num, width, generator=generator)), y


@pytest.mark.parametrize("spread", [0.1, 0.7, 2.0])
def test_the_probe_is_scikit_learns_logistic_regression(spread: float) -> None:
    (x, y), (test_x, test_y) = blobs(400, spread=spread, seed=1), blobs(1000, spread=spread, seed=2)
    scaler = StandardScaler().fit(x.numpy())
    theirs = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(scaler.transform(x.numpy()), y.numpy())
    expected = 100 * theirs.score(scaler.transform(test_x.numpy()), test_y.numpy())
    found = linear_probe_accuracy(x, y, test_features=test_x, test_y=test_y)
    assert found == pytest.approx(expected, abs=0.11)  # one in a thousand may lie on the boundary


@pytest.mark.parametrize("num", [50, 600])
@pytest.mark.parametrize("spread", [0.1, 0.7, 2.0])
def test_the_neighbours_are_scikit_learns(spread: float, num: int) -> None:
    (x, y), (test_x, test_y) = blobs(num, spread=spread, seed=1), blobs(1000, spread=spread, seed=2)

    def weights(distance: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> object:
        return np.exp((1 - distance) / 0.1)

    theirs = KNeighborsClassifier(min(200, num), metric="cosine", weights=weights, algorithm="brute")
    expected = 100 * theirs.fit(x.numpy(), y.numpy()).score(test_x.numpy(), test_y.numpy())
    assert knn_accuracy(x, y, test_features=test_x, test_y=test_y) == pytest.approx(expected, abs=0.11)


def test_a_feature_that_never_changes_and_a_class_that_was_never_seen_do_no_harm() -> None:
    (x, y), (test_x, test_y) = blobs(200, spread=0.2, seed=1), blobs(200, spread=0.2, seed=2)
    x, test_x = (torch.cat([part, torch.ones(200, 1)], dim=1) for part in (x, test_x))
    few = y < 4
    for accuracy in (linear_probe_accuracy, knn_accuracy):
        assert accuracy(x, y, test_features=test_x, test_y=test_y) > 95
        share = 100 * (test_y < 4).double().mean().item()
        assert accuracy(x[few], y[few], test_features=test_x, test_y=test_y) == pytest.approx(share, abs=3)


def test_a_probe_draws_nothing_and_leaves_no_gradient() -> None:
    (x, y), (test_x, test_y) = blobs(200, spread=1.0, seed=1), blobs(200, spread=1.0, seed=2)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = linear_probe_accuracy(x, y, test_features=test_x, test_y=test_y)
    assert first == linear_probe_accuracy(x, y, test_features=test_x, test_y=test_y)
    assert torch.get_rng_state().equal(state)
