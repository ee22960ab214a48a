"""EMP: what the memory term can and cannot do to the order."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import emprune
from emprune.methods.emp import TWO_CLASS_BETA
from tests.unit.support import after_full_epoch, as_memory, chosen, make_pruner

THRESHOLDS = {2: 3.591, 3: 6.36, 10: 25.4, 100: 270}
"""For C classes: the beta up to which L + beta · H ranks as L, where the wrong mass is spread evenly."""


def threshold(num_classes: int) -> float:
    """The largest beta for which the score falls in p, from its derivative -1/p + beta · log((1 - p) / ((C - 1) p))."""
    p = np.linspace(1e-6, 1 - 1e-6, 2_000_001)
    return float(1 / np.max(p * np.log((1 - p) / ((num_classes - 1) * p))))


def scores(probabilities: Tensor, beta: float, num_classes: int) -> Tensor:
    """L + beta · H in float64 where the label has probability p and the other classes share the rest evenly."""
    wrong = 1 - probabilities
    entropy = -(probabilities * probabilities.log() + wrong * (wrong / (num_classes - 1)).log())
    return -probabilities.log() + beta * entropy


@pytest.mark.parametrize(("num_classes", "beta"), THRESHOLDS.items())
def test_the_published_thresholds(num_classes: int, beta: float) -> None:
    assert threshold(num_classes) == pytest.approx(beta, rel=2e-3)


@pytest.mark.parametrize("num_classes", THRESHOLDS)
def test_below_the_threshold_the_order_is_that_of_the_loss_and_above_it_is_not(num_classes: int) -> None:
    p = torch.linspace(1e-4, 1 - 1e-4, 20_001, dtype=torch.float64)
    beta = threshold(num_classes)
    assert bool((scores(p, 0.999 * beta, num_classes).diff() < 0).all())
    assert bool((scores(p, 1.01 * beta, num_classes).diff() > 0).any())


def test_the_two_class_constant() -> None:
    assert threshold(2) - 1e-3 < TWO_CLASS_BETA <= threshold(2)
    p = np.linspace(0.001, 0.999, 998_001)
    assert p[np.argmax(p * np.log((1 - p) / p))] == pytest.approx(0.2178, abs=1e-4)


def two_classes(num_samples: int = 200) -> tuple[Tensor, Tensor]:
    """Losses and logits on two classes, dense around the p = 0.2178 where the order can change."""
    p = torch.linspace(0.1, 0.4, num_samples, dtype=torch.float64)
    p = p[torch.randperm(num_samples, generator=torch.Generator().manual_seed(0))]
    logits = torch.stack([p.log(), (1 - p).log()], dim=1)
    return F.cross_entropy(logits, torch.zeros(num_samples, dtype=torch.int64), reduction="none"), logits


@pytest.mark.parametrize("num_kept", [1, 37, 100, 160])
def test_on_two_classes_emp_is_greedy_below_the_constant(num_kept: int) -> None:
    losses, logits = two_classes()
    greedy = after_full_epoch(emprune.Greedy(), losses, num_kept=num_kept).begin_epoch(1)
    with pytest.warns(emprune.errors.EmpruneWarning, match=r"beta=3\.4 below 3\.591 ranks by the loss alone"):
        emp = after_full_epoch(emprune.EMP(beta=3.4, pool=None), losses, logits, num_kept=num_kept)
    assert emp.begin_epoch(1) == greedy


def test_above_the_constant_it_is_not() -> None:
    losses, logits = two_classes()
    differ = []
    for num_kept in range(20, 180, 20):
        greedy = after_full_epoch(emprune.Greedy(), losses, num_kept=num_kept).begin_epoch(1)
        emp = after_full_epoch(emprune.EMP(beta=4.5, pool=None), losses, logits, num_kept=num_kept).begin_epoch(1)
        differ.append(chosen(greedy) != chosen(emp))
    assert any(differ)


def test_training_a_wrong_sample_holds_it_longer_than_its_loss_would() -> None:
    """While p_y rises to 1/2 the entropy rises, so the score falls more slowly than the loss; afterwards faster."""
    p = torch.linspace(0.05, 0.95, 91, dtype=torch.float64)
    fall_of_loss = p.log().diff()
    fall_of_score = -scores(p, 3.0, 2).diff()
    assert bool((fall_of_score < fall_of_loss)[:45].all())
    assert bool((fall_of_score > fall_of_loss)[45:].all())


def test_at_equal_loss_an_undecided_prediction_beats_a_confident_mistake() -> None:
    logits = torch.tensor([[0.2, 0.4, 0.4], [0.2, 0.79, 0.01]]).log()
    losses = F.cross_entropy(logits, torch.tensor([0, 0]), reduction="none")
    assert float(losses[0]) == pytest.approx(float(losses[1]))
    pruner = after_full_epoch(emprune.EMP(), losses, logits, num_kept=1)
    assert chosen(pruner.begin_epoch(1)) == {0}


def first_output(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        (emprune.EMP(beta=3.6), (5, 2)),
        (emprune.EMP(beta=1.0), (5, 3)),
        (emprune.EMP(beta=1.0), (5, 4, 2)),  # means over positions are not ranked as their losses
        (emprune.EMP(beta=1.0, memory=first_output), (5, 2)),
    ],
)
def test_no_warning_where_the_entropy_can_matter(method: emprune.EMP, shape: tuple[int, ...]) -> None:
    pruner = make_pruner(method)
    plan = pruner.begin_epoch(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner.observe(plan.index, torch.rand(5), torch.randn(shape))


def test_the_two_class_warning_comes_once_per_run() -> None:
    method = emprune.EMP()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(2):
            pruner = make_pruner(method, seed=seed)
            for epoch in range(2):
                for index in pruner.begin_epoch(epoch).index.split(2):
                    pruner.reduce(index, torch.rand(len(index)), torch.randn(len(index), 2))
    assert [(warning.category, warning.filename) for warning in caught] == 2 * [
        (emprune.errors.MethodWarning, __file__)
    ]


def test_logits_of_one_class_are_refused_with_the_first_batch() -> None:
    pruner = make_pruner(emprune.EMP(), num_samples=1000)
    index = pruner.begin_epoch(0).index[:8]
    with pytest.raises(emprune.errors.ObservationError, match="class"):
        pruner.reduce(index, torch.rand(8), torch.randn(8, 1))
    assert pruner.num_observed == 0


def test_the_warning_points_at_the_training_loop() -> None:
    pruner = make_pruner(emprune.EMP())
    plan = pruner.begin_epoch(0)
    with pytest.warns(emprune.errors.EmpruneWarning, match="two classes") as caught:
        pruner.reduce(plan.index, torch.rand(5), torch.randn(5, 2))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("pool", [1, 1.5, 2, 3.7, 10, 1e9])
def test_the_candidates_are_as_many_as_the_pool_says(pool: float) -> None:
    losses = torch.randperm(100, generator=torch.Generator().manual_seed(0)).float()
    plans = [
        after_full_epoch(
            emprune.EMP(memory=as_memory, pool=pool), losses, torch.zeros(100), num_kept=20, seed=seed
        ).begin_epoch(1)
        for seed in range(60)
    ]
    # The best of m candidates out of 100, drawn uniformly, has the mean rank (m + 1)⁻¹ · 101 from the top.
    candidates = min(pool * 20, 100)
    best = [100 - float(losses[plan.index].max()) for plan in plans]
    expected = 101 / (candidates + 1)
    assert abs(np.mean(best) - expected) < 4 * expected / len(plans) ** 0.5
    if candidates == 100:
        assert all(chosen(plan) == set(losses.argsort()[80:].tolist()) for plan in plans)
    else:
        assert len({frozenset(chosen(plan)) for plan in plans}) > 50


def margin(outputs: dict[str, Tensor]) -> Tensor:
    top = outputs["logits"].topk(2).values
    return top[:, 1] - top[:, 0]


def test_a_memory_term_of_ones_own() -> None:
    pruner = make_pruner(emprune.EMP(beta=1.0, memory=margin))
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.zeros(5), {"logits": torch.tensor([[1.0, 3.0, 0.0]] * 5)})
    pruner.sync()
    assert pruner.stats["memory"][index].tolist() == [-2.0] * 5
    assert "margin" in pruner.method.settings()["memory"]


def test_the_default_has_a_pool_of_two() -> None:
    assert emprune.EMP() == emprune.EMP(beta=3.0, memory="prediction_entropy", pool=2.0)


def test_the_papers_plain_reading_does_not_follow_the_defaults() -> None:
    assert emprune.EMP.paper() == emprune.EMP(beta=3.0, memory="prediction_entropy", pool=None)
    assert emprune.EMP.paper(beta=1.5).beta == 1.5
    losses, logits = torch.rand(50), torch.randn(50, 5)
    plan = after_full_epoch(emprune.EMP.paper(), losses, logits, num_kept=20).begin_epoch(1)
    expected = losses + 3 * emprune.memory.prediction_entropy(logits)
    assert chosen(plan) == set(expected.topk(20).indices.tolist())


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_a_huge_beta_ranks_by_the_entropy_alone(spread: float) -> None:
    logits = spread * torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    losses = F.cross_entropy(logits, logits.argmin(1), reduction="none")  # confident mistakes among them
    entropy = emprune.memory.prediction_entropy(logits.double().float())
    plan = after_full_epoch(emprune.EMP(beta=1e6, pool=None), losses, logits, num_kept=400).begin_epoch(1)
    left = torch.ones(1000, dtype=torch.bool).index_fill_(0, plan.index, False)
    assert float(entropy[left].max()) <= float(entropy[plan.index].min()) + 1e-4


def test_remembering_costs_at_most_17_bytes_per_sample() -> None:
    assert make_pruner(emprune.EMP()).stats.bytes_per_sample <= 17
