"""How well a signal finds wrong labels: average precision, and precision among the first k."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

__all__ = ["COMBINATIONS", "SIGNALS", "measured", "order_of", "signals_of", "suspicions"]

Values = NDArray[np.float64]
SIGNALS = ("mean_margin", "mean_loss", "loss", "first_learnt", "forgotten")
COMBINATIONS = tuple("+".join(names) for size in (2, 3) for names in itertools.combinations(SIGNALS, size))
"""Each is the mean of its signals' ranks."""


def suspicions(columns: Mapping[str, Values]) -> dict[str, Values]:
    """Return (N,) of each signal, higher for what is more likely wrong. What was never learnt stands highest."""
    never = columns["first_learnt"] < 0
    return {
        "mean_margin": -columns["mean_margin"],
        "mean_loss": columns["mean_loss"],
        "loss": columns["loss"],
        "first_learnt": np.where(never, np.inf, columns["first_learnt"]),
        "forgotten": np.where(never, np.inf, columns["forgotten"]),
        "aum": -columns["aum"],
    }


def signals_of(columns: Mapping[str, Values]) -> dict[str, Values]:
    """Return (N,) of each signal and each combination."""
    single = suspicions(columns)
    ranks = {name: rankdata(values) for name, values in single.items()}
    combined = {name: np.mean([ranks[part] for part in name.split("+")], axis=0) for name in COMBINATIONS}
    return {**single, **combined}


def order_of(values: Values, *, seed: int) -> NDArray[np.int64]:
    """Return the positions, the most suspicious first. Equal ones are in random order.

    Example:
        >>> order_of(np.array([0.1, 0.9, 0.5]), seed=0).tolist()
        [1, 2, 0]
    """
    shuffled = np.random.default_rng(seed).permutation(len(values))
    return shuffled[np.argsort(-values[shuffled], kind="stable")].astype(np.int64)


def measured(values: Values, wrong: NDArray[np.bool_], *, seed: int) -> dict[str, float]:
    """Return the average precision, and the precision among the first 1 %, 5 %, and as many as are wrong.

    Example:
        >>> wrong = np.arange(100) < 10
        >>> measured(np.arange(100.0)[::-1], wrong, seed=0)
        {'average': 1.0, 'first_1_percent': 1.0, 'first_5_percent': 1.0, 'as_many': 1.0}
    """
    order = order_of(values, seed=seed)
    sizes = {"first_1_percent": len(wrong) // 100, "first_5_percent": len(wrong) // 20, "as_many": int(wrong.sum())}
    found = {name: float(wrong[order[:size]].mean()) for name, size in sizes.items()}
    average = float(average_precision_score(wrong, rankdata(values)))
    return {name: round(value, 5) for name, value in {"average": average, **found}.items()}


def all_measured(signals: Mapping[str, Values], wrong: NDArray[np.bool_], *, seed: int) -> dict[str, dict[str, float]]:
    """Return `measured` of each signal."""
    return {name: measured(values, wrong, seed=seed) for name, values in signals.items()}


def cleanlab_scores(given: NDArray[np.int64], probabilities: Values) -> dict[str, Values]:
    """Return (N,) of cleanlab's rankings of cross-validated predictions, higher for what is more likely wrong.

    Confident learning chooses issues, and ranks them. All others stand behind these, by the same ranking.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    methods: Sequence[str] = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    found = {name: -get_label_quality_scores(given, probabilities, method=name) for name in methods}
    issues = find_label_issues(given, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    ranked = rankdata(found["normalized_margin"])
    return {**found, "confident_learning": ranked + len(given) * issues}
