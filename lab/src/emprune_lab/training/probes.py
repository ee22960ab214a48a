"""What frozen features are worth: a linear classifier on them, and the classes of the nearest."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["knn_accuracy", "linear_probe_accuracy"]

INVERSE_PENALTY = 1.0
MAX_ITERATIONS, TOLERANCE = 500, 1e-6
NUM_NEIGHBOURS, NEIGHBOUR_TEMPERATURE = 200, 0.1
QUERIES_AT_A_TIME = 1000


def linear_probe_accuracy(
    features: Tensor,
    y: Tensor,
    *,
    test_features: Tensor,
    test_y: Tensor,
    check_stop: Callable[[], object] = lambda: None,
) -> float:
    r"""Return the test accuracy, in per cent, of a multinomial logistic regression on standardised features.

    It minimises :math:`\sum_i -\log p_i[y_i] + \tfrac12 \lVert W \rVert^2` with L-BFGS, as scikit-learn's
    LogisticRegression does with C = 1, on the device that the features are on. It draws nothing at random.

    Args:
        features: (N, D) float, to fit on.
        y: (N,) int64, their classes.
        test_features: (M, D) float, to score on.
        test_y: (M,) int64.
        check_stop: Called every second or so; an exception of it ends the work.

    Example:
        >>> x = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]])
        >>> y = torch.tensor([0, 0, 1, 1])
        >>> linear_probe_accuracy(x, y, test_features=x, test_y=y)
        100.0
    """
    features, test_features = features.double(), test_features.double()
    mean, deviation = features.mean(0), features.std(0, correction=0)
    deviation = deviation.where(deviation > 0, 1)
    features, test_features = (features - mean) / deviation, (test_features - mean) / deviation
    weight, bias = _fit(features, y, num_classes=int(torch.maximum(y.max(), test_y.max())) + 1, check_stop=check_stop)
    predicted = (test_features @ weight + bias).argmax(1)
    return 100 * (predicted == test_y).double().mean().item()


def knn_accuracy(
    features: Tensor,
    y: Tensor,
    *,
    test_features: Tensor,
    test_y: Tensor,
    check_stop: Callable[[], object] = lambda: None,
) -> float:
    """Return the test accuracy, in per cent, of a vote of the 200 nearest by cosine, each of weight exp(cosine / 0.1).

    Args:
        features: (N, D) float, who votes; all of them where N < 200.
        y: (N,) int64, their classes.
        test_features: (M, D) float, to score on.
        test_y: (M,) int64.
        check_stop: Called every second or so; an exception of it ends the work.

    References:
        Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (CVPR 2018). Its
        temperature is 0.07; 0.1 is that of most who followed.
    """
    features, test_features = F.normalize(features.float(), dim=1), F.normalize(test_features.float(), dim=1)
    num_classes = int(torch.maximum(y.max(), test_y.max())) + 1
    num_right = 0
    for queries, wanted in zip(test_features.split(QUERIES_AT_A_TIME), test_y.split(QUERIES_AT_A_TIME), strict=True):
        check_stop()
        cosine, nearest = (queries @ features.T).topk(min(NUM_NEIGHBOURS, len(features)), dim=1)
        votes = torch.zeros(len(queries), num_classes, device=queries.device)
        votes.scatter_add_(1, y[nearest], torch.exp(cosine / NEIGHBOUR_TEMPERATURE))
        num_right += int((votes.argmax(1) == wanted).sum())
    return 100 * num_right / len(test_y)


def _fit(features: Tensor, y: Tensor, *, num_classes: int, check_stop: Callable[[], object]) -> tuple[Tensor, Tensor]:
    weight = features.new_zeros(features.shape[1], num_classes, requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        check_stop()
        optimizer.zero_grad()
        fit = F.cross_entropy(features @ weight + bias, y)
        value = fit + weight.square().sum() / (2 * INVERSE_PENALTY * len(y))
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return weight.detach(), bias.detach()
