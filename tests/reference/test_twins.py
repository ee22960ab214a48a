"""The engine does what the slow twins do."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import emprune
from emprune.summary import gini, greedy_overlap
from emprune.testing import SyntheticTask, run_epochs
from tests.reference import twins
from tests.unit.support import context_of

NUM_SAMPLES, NUM_EPOCHS = 40, 12


def seeds(count: int = 5) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return pytest.mark.parametrize("seed", range(count))


def make_pruner(method: emprune.Method, *, keep: float = 0.45, seed: int) -> emprune.DataPruner:
    return emprune.DataPruner(
        method, num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=keep, tail_epochs=0, seed=seed
    )


def follow(
    pruner: emprune.DataPruner,
    twin: twins.Twin,
    check: Callable[[emprune.EpochPlan, set[int], set[int]], None],
    *,
    seed: int,
    stop: int = NUM_EPOCHS,
) -> None:
    """Run both; `check` is called with each plan, its samples that were seen before and those that were not."""
    task = SyntheticTask(num_samples=NUM_SAMPLES, seed=seed)
    for epoch in range(stop):
        plan = pruner.begin_epoch(epoch, multiple_of=3)
        planned = set(plan.index.tolist())
        seen = set(twin.samples)
        assert len(planned - seen) == twin.first(len(plan), NUM_SAMPLES)
        check(plan, planned & seen, planned - seen)
        for index in plan.index.split(4):
            losses, logits = task.batch(index, epoch=epoch)
            pruner.observe(index, losses, logits)
            for sample, loss, row in zip(index.tolist(), losses.tolist(), logits.tolist(), strict=True):
                twin.observe(sample, loss, twins.entropy(row))
    pruner.sync()
    assert set(pruner.stats.seen.nonzero().flatten().tolist()) == set(twin.samples)


def assert_columns_agree(pruner: emprune.DataPruner, twin: twins.Twin) -> None:
    scores = pruner.method.score(pruner.stats)
    for sample, remembered in twin.samples.items():
        for name, value in remembered.items():
            assert float(pruner.stats[name][sample]) == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert float(scores[sample]) == pytest.approx(twin.score(sample), rel=1e-5, abs=1e-6)


IRREDUCIBLE = torch.rand(NUM_SAMPLES, generator=torch.Generator().manual_seed(7))
TOP_K = {
    "greedy": (emprune.Greedy(), twins.greedy),
    "emp": (emprune.EMP.paper(), lambda: twins.emp(3.0)),
    "emp, beta 0.5": (emprune.EMP(beta=0.5, pool=None), lambda: twins.emp(0.5)),
    "reducible-loss": (emprune.methods.ReducibleLoss(IRREDUCIBLE), lambda: twins.reducible_loss(IRREDUCIBLE.tolist())),
    "ucb": (emprune.methods.UCB(replan_every=1), lambda: twins.ucb(0.8, 1.0)),
    "ucb, c 3": (emprune.methods.UCB(c=3.0, alpha=0.4, replan_every=1), lambda: twins.ucb(0.4, 3.0)),
}


@seeds()
@pytest.mark.parametrize("name", TOP_K)
def test_methods_that_take_the_top(name: str, seed: int) -> None:
    method, make_twin = TOP_K[name]
    pruner, twin = make_pruner(method, seed=seed), make_twin()

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        assert old == twin.highest(len(plan) - len(new))
        assert plan.weight is None

    follow(pruner, twin, check, seed=seed)
    assert_columns_agree(pruner, twin)


@seeds()
@pytest.mark.parametrize(("epsilon", "alpha"), [(0.1, 0.8), (0.5, 0.3), (0.0, 1.0), (1.0, 0.8)])
def test_epsilon_greedy(epsilon: float, alpha: float, seed: int) -> None:
    method = emprune.methods.EpsilonGreedy(epsilon=epsilon, alpha=alpha, replan_every=1)
    pruner, twin = make_pruner(method, seed=seed), twins.epsilon_greedy(alpha)
    explored: set[int] = set()

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        rest = len(plan) - len(new)
        best = twin.highest(rest - round(epsilon * rest))
        assert best <= old
        explored.update(old - best)

    follow(pruner, twin, check, seed=seed)
    assert_columns_agree(pruner, twin)
    assert bool(explored) == (epsilon > 0)


@seeds()
def test_ucb_holds_its_selection(seed: int) -> None:
    pruner, twin = make_pruner(emprune.methods.UCB(replan_every=4), seed=seed), twins.ucb(0.8, 1.0)
    held: list[set[int] | None] = [None]

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        previous = held[-1]
        if previous is None or plan.epoch % 4 == 0:
            assert old == twin.highest(len(old))
        else:
            assert old <= previous or previous <= old
        held.append(None if new else old)

    follow(pruner, twin, check, seed=seed)
    assert_columns_agree(pruner, twin)
    assert None not in held[-5:]


def assert_kept_as_often(
    method: emprune.Method, losses: list[float], expected: list[float], num_kept: int, *, gap: float | None = None
) -> None:
    """Compare how often a method keeps each sample in 1,000 epochs with the exact probabilities."""
    num_epochs = 1000
    kept = torch.zeros(len(losses), dtype=torch.float64)
    for epoch in range(num_epochs):
        context = context_of(torch.tensor(losses), num_kept, epoch=epoch, gap=gap)
        kept[method.select(context).index] += 1
    assert sum(expected) == pytest.approx(num_kept)
    for times, probability in zip(kept.tolist(), expected, strict=True):
        deviation = (probability * (1 - probability) / num_epochs) ** 0.5
        assert times / num_epochs == pytest.approx(probability, abs=4 * deviation + 1e-12)


@pytest.mark.parametrize(("num_kept", "pool"), [(2, 4), (3, 5), (1, 2), (2, 7)])
def test_order_dp_keeps_each_rank_as_often_as_its_loss_says(num_kept: int, pool: int) -> None:
    losses = [0.3, 2.0, 0.1, 1.0, 4.0, 0.7, 3.0]
    expected, n = twins.order_dp(losses, pool, num_kept), len(losses)
    for j, sample in enumerate(sorted(range(n), key=losses.__getitem__, reverse=True), start=1):
        places = range(max(1, pool - n + j), min(num_kept, j) + 1)
        ways = sum(math.comb(j - 1, place - 1) * math.comb(n - j, pool - place) for place in places)
        assert expected[sample] == pytest.approx(ways / math.comb(n, pool))
    assert_kept_as_often(emprune.methods.OrderDP(pool=pool / num_kept), losses, expected, num_kept)


@pytest.mark.parametrize(("validation_loss", "pool"), [(0.4, 6), (0.5, 6), (0.54, 5), (0.65, 4), (0.9, 3)])
def test_emp_keeps_each_rank_as_often_as_the_gap_says(validation_loss: float, pool: int) -> None:
    losses = [0.3, 2.0, 0.1, 1.0, 4.0, 0.7, 3.0]
    assert twins.candidates(3, validation_loss=validation_loss, train_loss=0.5) == pool
    expected = twins.order_dp(losses, pool, 3)
    assert_kept_as_often(emprune.EMP(beta=0, pool="gap"), losses, expected, 3, gap=validation_loss - 0.5)


@seeds()
@pytest.mark.parametrize("pool", [1.0, 1.5, 2.0, 9.0])
def test_order_dp_is_emp_without_its_memory_term(pool: float, seed: int) -> None:
    task = SyntheticTask(num_samples=NUM_SAMPLES, seed=seed)
    of_emp = run_epochs(make_pruner(emprune.EMP(beta=0, pool=pool), seed=seed), task)
    assert run_epochs(make_pruner(emprune.methods.OrderDP(pool=pool), seed=seed), task) == of_emp


WEIGHTS: dict[Any, Callable[[float, list[float]], float]] = {
    "power": lambda loss, losses: loss,
    "softmax": lambda loss, losses: math.exp(loss),
    "percentile": lambda loss, losses: (sum(other < loss for other in losses) + losses.count(loss) / 2) / len(losses),
}


@pytest.mark.parametrize(("strength", "num_kept"), [(0.0, 2), (0.5, 4), (2.0, 2)])
@pytest.mark.parametrize("by", WEIGHTS)
def test_soft_selection_keeps_each_sample_as_often_as_its_weight_says(by: Any, strength: float, num_kept: int) -> None:
    losses = [0.3, 2.0, 0.1, 1.0, 1.0, 0.7]
    weights = [WEIGHTS[by](loss, losses) ** strength for loss in losses]
    expected = twins.successive_sampling(weights, num_kept)
    if strength == 0:
        assert expected == pytest.approx([num_kept / 6] * 6)
    assert_kept_as_often(emprune.methods.SoftSelection(by=by, strength=strength), losses, expected, num_kept)


@seeds()
@pytest.mark.parametrize("strength", [1e6, 3e38])
@pytest.mark.parametrize("by", WEIGHTS)
def test_soft_selection_of_a_large_strength_is_greedy(by: Any, strength: float, seed: int) -> None:
    task = SyntheticTask(num_samples=NUM_SAMPLES, seed=seed)
    method = emprune.methods.SoftSelection(by=by, strength=strength)
    soft, greedy = (run_epochs(make_pruner(one, seed=seed), task) for one in (method, emprune.Greedy()))
    assert [set(plan.index.tolist()) for plan in soft] == [set(plan.index.tolist()) for plan in greedy]


def test_percentiles_depend_on_the_order_of_the_losses_alone() -> None:
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)).float()
    method = emprune.methods.SoftSelection(by="percentile", strength=3)
    chosen = method.select(context_of(order + 1, 90)).index
    for losses in (order - 150, (order / 10).exp2(), -1 / (order + 1), (order + 1) * 1e-30):
        assert method.select(context_of(losses, 90)).index.equal(chosen)


def test_percentiles_take_losses_that_are_next_to_equal_as_equal() -> None:
    losses = [1.0, 1.0001, 1.0002, 1.0003, 3.0, 0.5]
    middles = [3 / 6, 3 / 6, 3 / 6, 3 / 6, 5.5 / 6, 0.5 / 6]
    expected = twins.successive_sampling([middle**2 for middle in middles], 3)
    assert_kept_as_often(emprune.methods.SoftSelection(by="percentile", strength=2), losses, expected, 3)


@pytest.mark.parametrize("by", WEIGHTS)
def test_the_strength_of_soft_selection_changes_over_the_run(by: Any) -> None:
    losses = torch.rand(40, generator=torch.Generator().manual_seed(0))
    for progress, strength in ((0.25, 1.0), (0.5, 2.0), (1.0, 4.0)):
        context = dataclasses.replace(context_of(losses, 12), progress=progress)
        changing = emprune.methods.SoftSelection(by=by, strength=0, final_strength=4).select(context)
        constant = emprune.methods.SoftSelection(by=by, strength=strength).select(context)
        assert changing.index.equal(constant.index)


@pytest.mark.parametrize("by", WEIGHTS)
@pytest.mark.parametrize("strength", [0.0, 1.0, 3e38])
def test_soft_selection_of_extreme_losses(by: Any, strength: float) -> None:
    losses, kept = torch.tensor([-3e38, -1.0, 0.0, 1e-30, 3e38, 3e38]), torch.zeros(6)
    method = emprune.methods.SoftSelection(by=by, strength=strength)
    for epoch in range(60):  # losses of every magnitude there is: the table of their percentiles takes 40 ms
        kept[method.select(context_of(losses, 2, epoch=epoch)).index] += 1
    assert bool((kept > 8).all()) if strength == 0 else bool((kept[4:] > kept[:4].max()).all())


@seeds()
@pytest.mark.parametrize("confidence", [0.51, 0.7, 0.95])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_kakurenbo(num_classes: int, confidence: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 9 * torch.randn(60, num_classes, generator=generator)
    labels = torch.where(
        torch.rand(60, generator=generator) < 0.6,
        logits.argmax(1),
        torch.randint(0, num_classes, (60,), generator=generator),
    )
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    pairs = enumerate(zip(logits.tolist(), labels.tolist(), strict=True))
    hidden = {sample for sample, (row, label) in pairs if twins.is_hidden(row, label, confidence)}
    shown = set(range(60)) - hidden
    lowest_first = sorted(hidden, key=losses.tolist().__getitem__)
    assert hidden
    for num_kept in (1, len(shown) - 1, len(shown), len(shown) + 1, 60):
        selection = emprune.methods.Kakurenbo(confidence=confidence).select(context_of(losses, num_kept))
        kept = set(selection.index.tolist())
        assert len(kept) == num_kept
        if num_kept <= len(shown):
            assert kept <= shown
        else:
            assert kept == shown | set(lowest_first[60 - num_kept :])


def test_kakurenbo_draws_uniformly_from_what_may_not_be_hidden() -> None:
    losses = [0.3, 2.0, 0.1, 1.0, 4.0, 0.7]
    assert_kept_as_often(emprune.methods.Kakurenbo(), losses, [0, 0.5, 0, 0.5, 0.5, 0.5], 2)


@seeds()
@pytest.mark.parametrize("num_kept", [1, 7, 20, 39, 40])
@pytest.mark.parametrize(("num_groups", "window"), [(10, 0.5), (7, 0.3), (1, 1.0), (90, 0.1), (8, 0.01)])
def test_seta(num_groups: int, window: float, num_kept: int, seed: int) -> None:
    losses = torch.rand(NUM_SAMPLES, generator=torch.Generator().manual_seed(seed))
    method = emprune.methods.SeTa(num_groups=num_groups, window=window)
    for epoch in range(12):
        context = dataclasses.replace(context_of(losses, num_kept, epoch=epoch), progress=method.delta)
        kept = set(method.select(context).index.tolist())
        expected = twins.seta(losses.tolist(), num_kept, epoch=epoch, num_groups=num_groups, window=window)
        assert len(kept) == num_kept <= len(expected)
        assert kept <= set(expected)


def test_seta_draws_uniformly_from_equal_losses() -> None:
    assert_kept_as_often(emprune.methods.SeTa(num_groups=4, delta=1), [1.0] * 8, [0.25] * 8, 2)


@seeds()
@pytest.mark.parametrize("keep", [0.15, 0.3, 0.5, 0.6, 0.8, 0.95])
def test_infobatch(keep: float, seed: int) -> None:
    pruner, twin = make_pruner(emprune.InfoBatch(), keep=keep, seed=seed), twins.greedy()
    num_pruned_epochs = 0

    def check(plan: emprune.EpochPlan, old: set[int], new: set[int]) -> None:
        nonlocal num_pruned_epochs
        weights = dict(zip(plan.index.tolist(), pruner.weights(plan.index).tolist(), strict=True))
        assert all(weights[sample] == 1 for sample in new)
        if not old or pruner.schedule.is_full(plan.epoch):
            return
        losses = {sample: twin.score(sample) for sample in twin.samples}
        expected = twins.infobatch(losses, len(plan) - len(new))
        assert expected.above <= old
        assert all(weights[sample] == 1 for sample in expected.above)
        assert len(old & expected.below) == expected.num_stay
        assert [weights[sample] for sample in old & expected.below] == pytest.approx(
            [expected.weight] * expected.num_stay
        )
        assert expected.weight <= 10 or not expected.above
        num_pruned_epochs += 1

    follow(pruner, twin, check, seed=seed)
    assert num_pruned_epochs >= 4
    assert_columns_agree(pruner, twin)


@pytest.mark.parametrize("num_kept", range(1, 12))
def test_infobatch_at_any_size_of_a_small_epoch(num_kept: int) -> None:
    losses = {sample: float(sample**3) for sample in range(12)}  # most are below the mean
    expected = twins.infobatch(losses, num_kept)
    context = emprune.methods.SelectionContext(
        stats=emprune.methods.SampleStats(12, ()),
        scores=torch.tensor(list(losses.values())),
        seen=torch.ones(12, dtype=torch.bool),
        num_seen=12,
        num_kept=num_kept,
        epoch=1,
        seed=0,
        previous=None,
    )
    selection = emprune.InfoBatch().select(context)
    assert selection.weight is not None
    weights = dict(zip(selection.index.tolist(), selection.weight.tolist(), strict=True))
    assert {sample for sample in weights if sample in expected.above} == expected.above
    assert [weights[sample] for sample in expected.above] == [1] * len(expected.above)
    stayed = [weight for sample, weight in weights.items() if sample in expected.below]
    assert stayed == pytest.approx([expected.weight] * expected.num_stay)


@pytest.mark.parametrize("num_samples", [1, 7, 50])
@pytest.mark.parametrize("num_epochs", [1, 4, 9])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.77, 1.0])
@pytest.mark.parametrize(("quantum", "ranks"), [(1, 1), (4, 1), (6, 2), (64, 1)])
@pytest.mark.parametrize(("warmup", "tail"), [(0, 0), (1, 0), (1, 1)])
def test_schedule(
    num_samples: int, num_epochs: int, keep: float, quantum: int, ranks: int, warmup: int, tail: int
) -> None:
    settings = {"num_samples": num_samples, "num_epochs": num_epochs, "keep": keep}
    try:
        schedule = emprune.schedule.Schedule(**settings, warmup_epochs=warmup, tail_epochs=tail)  # type: ignore[arg-type]
        sizes = schedule.num_kept_per_epoch(multiple_of=quantum, world_size=ranks)
    except emprune.ConfigError:
        # Refused only where it cannot be: every pruned epoch needs a sample per rank.
        full = num_samples // ranks * ranks
        left = round(keep * num_samples * num_epochs) - (warmup + tail) * full
        pruned = num_epochs - warmup - tail
        assert full == 0 or left < pruned * ranks or num_epochs < warmup + tail
        return
    spent = 0
    epochs = twins.num_kept_per_epoch(
        num_samples=num_samples,
        num_epochs=num_epochs,
        keep=keep,
        warmup=warmup,
        tail=tail,
        quantum=quantum,
        ranks=ranks,
    )
    for size, (due, possible) in zip(sizes, epochs, strict=True):
        assert size in possible
        if len(possible) > 1:
            assert abs(due - spent - size) == min(abs(due - spent - other) for other in possible)
        spent += size


@seeds(20)
def test_gini(seed: int) -> None:
    visits = torch.randint(0, 2 + seed, (1 + 3 * seed,), generator=torch.Generator().manual_seed(seed))
    assert gini(visits) == pytest.approx(twins.gini(visits.tolist()), abs=1e-12)


@seeds()
def test_greedy_overlap_and_visits(seed: int) -> None:
    pruner = make_pruner(emprune.EMP(pool=1.5), seed=seed)
    task = SyntheticTask(num_samples=NUM_SAMPLES, seed=seed)
    visits, losses = dict.fromkeys(range(NUM_SAMPLES), 0), dict[int, float]()
    for plan in run_epochs(pruner, task, stop=8):
        for sample in plan.index.tolist():
            visits[sample] += 1
            losses[sample] = float(task.batch(torch.tensor([sample]), epoch=plan.epoch)[0])
    plan = pruner.begin_epoch(8)
    assert len(losses) == NUM_SAMPLES
    assert pruner.visits.tolist() == list(visits.values())
    overlap = greedy_overlap(plan, pruner.stats, seed)
    assert overlap == pytest.approx(twins.greedy_overlap(plan.index.tolist(), losses))
    summary = pruner.summary()
    assert summary.greedy_overlap == overlap
    assert summary.visit_gini == pytest.approx(twins.gini(visits.values()))


@seeds(10)
def test_prediction_entropy(seed: int) -> None:
    logits = 4 * torch.randn(6, 2 + seed, generator=torch.Generator().manual_seed(seed))
    expected = [twins.entropy(row) for row in logits.tolist()]
    assert emprune.memory.prediction_entropy(logits).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
