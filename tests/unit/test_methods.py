"""Every method of the library passes the contract that third parties' methods are held to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import emprune
from emprune.testing import MethodContract, SyntheticTask, run_epochs
from tests.unit.support import context_of


@dataclass(frozen=True)
class Case:
    make: Callable[[int], emprune.Method]
    keep: float | None = 0.3


CASES = {
    "full": Case(lambda n: emprune.Full(), keep=1),
    "random": Case(lambda n: emprune.Random()),
    "random-permutation": Case(lambda n: emprune.RandomPermutation()),
    "static-random": Case(lambda n: emprune.methods.StaticRandom()),
    "static-subset": Case(
        lambda n: emprune.methods.StaticSubset(torch.rand(n, generator=torch.Generator().manual_seed(1)))
    ),
    "static-subset, tied": Case(lambda n: emprune.methods.StaticSubset(torch.ones(n))),
    "greedy": Case(lambda n: emprune.Greedy()),
    "epsilon-greedy": Case(lambda n: emprune.methods.EpsilonGreedy()),
    "epsilon-greedy, replanned": Case(lambda n: emprune.methods.EpsilonGreedy(epsilon=0.3, replan_every=1)),
    "ucb": Case(lambda n: emprune.methods.UCB()),
    "ucb, replanned": Case(lambda n: emprune.methods.UCB(replan_every=1)),
    "infobatch": Case(lambda n: emprune.InfoBatch()),
    "infobatch, half kept": Case(lambda n: emprune.InfoBatch(delta=1), keep=0.6),
    "infobatch, normalised": Case(lambda n: emprune.InfoBatch(normalize=True)),
    "order-dp": Case(lambda n: emprune.methods.OrderDP()),
    "order-dp, wide": Case(lambda n: emprune.methods.OrderDP(pool=9)),
    "soft": Case(lambda n: emprune.methods.SoftSelection()),
    "soft, softmax": Case(lambda n: emprune.methods.SoftSelection(by="softmax", strength=0.5, final_strength=3)),
    "soft, percentile": Case(lambda n: emprune.methods.SoftSelection(by="percentile", strength=2)),
    "reducible-loss": Case(
        lambda n: emprune.methods.ReducibleLoss(torch.rand(n, generator=torch.Generator().manual_seed(1)).round())
    ),
    "kakurenbo": Case(lambda n: emprune.methods.Kakurenbo()),
    "kakurenbo, most kept": Case(lambda n: emprune.methods.Kakurenbo(), keep=0.9),
    "seta": Case(lambda n: emprune.methods.SeTa()),
    "seta, narrow": Case(lambda n: emprune.methods.SeTa(num_groups=20, window=0.01, delta=1)),
    "emp": Case(lambda n: emprune.EMP()),
    "emp, pool": Case(lambda n: emprune.EMP(pool=2)),
    "emp, beta 0": Case(lambda n: emprune.EMP(beta=0)),
    "emp, gap": Case(lambda n: emprune.EMP(pool="gap")),
}


class TestEveryMethod(MethodContract):
    @pytest.fixture(autouse=True, params=list(CASES.values()), ids=list(CASES))
    def case(self, request: pytest.FixtureRequest) -> None:
        self._case: Case = request.param
        self.keep = self._case.keep

    def make_method(self, num_samples: int) -> emprune.Method:
        return self._case.make(num_samples)


def test_the_table_holds_every_registered_method() -> None:
    assert {case.make(2).name for case in CASES.values()} == set(emprune.methods.method_names())


@dataclass(frozen=True)
class Watching(emprune.InfoBatch):
    progress: list[float] = field(default_factory=list)

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        self.progress.append(context.progress)
        return super().select(context)


def test_progress_is_of_the_visits() -> None:
    method = Watching(delta=1)
    pruner = emprune.DataPruner(method, num_samples=40, num_epochs=8, keep=0.5, warmup_epochs=1)
    plans = run_epochs(pruner, SyntheticTask(num_samples=40))  # a full epoch, then 120 visits in seven
    visits = torch.tensor([len(plan) for plan in plans]).cumsum(0)
    assert method.progress == pytest.approx((visits[1:] / 160).tolist())
    assert method.progress[-1] == 1


@pytest.mark.parametrize("num_steps", [45, 75, 105])
@pytest.mark.parametrize("full", [{}, {"warmup_epochs": 1}, {"tail_epochs": 1}], ids=str)
def test_where_steps_are_counted_progress_is_of_the_steps(num_steps: int, full: dict[str, int]) -> None:
    batches: dict[str, Any] = {"num_samples": 95, "keep": 0.6, **full}
    schedule = emprune.schedule.Schedule.for_steps(num_steps=num_steps, samples_per_step=5, **batches)
    method = Watching(delta=1)
    pruner = emprune.DataPruner(method, num_steps=num_steps, num_epochs=schedule.num_epochs, **batches)
    steps = 0
    for epoch in range(schedule.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=5)
        pruner.observe(plan.index, torch.ones(len(plan)))
        steps += len(plan) // 5
        if not pruner.schedule.is_full(epoch) and method.progress:  # the first losses are seen at random
            assert method.progress[-1] == pytest.approx(steps / num_steps)
    assert steps == num_steps
    assert method.progress


def test_a_static_subset_does_not_follow_its_ranking() -> None:
    ranking = torch.arange(10.0)
    pruner = emprune.DataPruner(emprune.methods.StaticSubset(ranking), num_samples=10, num_epochs=2, keep=0.3)
    first = set(pruner.begin_epoch(0).index.tolist())
    ranking.neg_()
    assert set(pruner.begin_epoch(1).index.tolist()) == first == {7, 8, 9}


def test_a_static_subset_keeps_a_rankings_precision() -> None:
    ranking = 1 + 1e-9 * torch.arange(1000, dtype=torch.float64)
    pruner = emprune.DataPruner(emprune.methods.StaticSubset(ranking), num_samples=1000, num_epochs=2, keep=0.1)
    assert set(pruner.begin_epoch(0).index.tolist()) == set(range(900, 1000))


@pytest.mark.parametrize("loss", [3e19, 3e38])
@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_ucb_survives_a_loss_whose_square_is_beyond_float32(loss: float, alpha: float) -> None:
    pruner = emprune.DataPruner(
        emprune.methods.UCB(alpha=alpha, replan_every=1), num_samples=4, num_epochs=6, keep=0.75
    )
    for epoch in range(6):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.where(index == 2, loss if epoch == 3 else 1.0, 1.0))
    pruner.sync()
    assert bool(pruner.method.score(pruner.stats).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_global_defaults_do_not_matter(case: Case, dtype: torch.dtype) -> None:
    task, method = SyntheticTask(num_samples=40), case.make(40)

    def plans() -> list[emprune.EpochPlan]:
        return run_epochs(emprune.DataPruner(method, num_samples=40, num_epochs=8, keep=case.keep), task)

    expected, before = plans(), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):  # where nothing can be computed
            assert plans() == expected
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (emprune.EMP(), "EMP(beta=3.0, memory='prediction_entropy', pool=2.0)"),
        (emprune.EMP(beta=1, memory=torch.neg), "EMP(beta=1.0, memory='torch._VariableFunctionsClass.neg', pool=2.0)"),
        (emprune.InfoBatch(), "InfoBatch(delta=0.875, normalize=False)"),
        (emprune.Greedy(), "Greedy()"),
        (emprune.methods.StaticSubset(torch.rand(70_000)), "StaticSubset(ranking of 70000 samples)"),
        (emprune.methods.ReducibleLoss(torch.rand(7)), "ReducibleLoss(irreducible losses of 7 samples)"),
        (emprune.methods.Selection(torch.arange(3)), "Selection(3 samples)"),
        (emprune.methods.Selection(torch.arange(3), torch.ones(3)), "Selection(3 samples, weighted)"),
        (context_of(torch.rand(9), 4), "SelectionContext(epoch=1: 4 to choose from 9 seen of 9 samples)"),
    ],
)
def test_methods_and_what_they_choose_can_be_read(value: object, shown: str) -> None:
    assert repr(value) == shown
