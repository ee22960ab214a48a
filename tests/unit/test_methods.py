"""Every method of the library passes the contract that third parties' methods are held to."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

import emprune
from emprune.testing import MethodContract


@dataclass(frozen=True)
class Case:
    make: Callable[[int], emprune.Method]
    keep: float | None = 0.3


CASES = {
    "full": Case(lambda n: emprune.Full(), keep=1),
    "random": Case(lambda n: emprune.Random()),
    "random-permutation": Case(lambda n: emprune.RandomPermutation()),
    "static-random": Case(lambda n: emprune.StaticRandom()),
    "static-subset": Case(lambda n: emprune.StaticSubset(torch.rand(n, generator=torch.Generator().manual_seed(1)))),
    "static-subset, tied": Case(lambda n: emprune.StaticSubset(torch.ones(n))),
    "greedy": Case(lambda n: emprune.Greedy()),
    "epsilon-greedy": Case(lambda n: emprune.EpsilonGreedy()),
    "epsilon-greedy, replanned": Case(lambda n: emprune.EpsilonGreedy(epsilon=0.3, replan_every=1)),
    "ucb": Case(lambda n: emprune.UCB()),
    "ucb, replanned": Case(lambda n: emprune.UCB(replan_every=1)),
    "infobatch": Case(lambda n: emprune.InfoBatch()),
    "infobatch, half kept": Case(lambda n: emprune.InfoBatch(delta=1), keep=0.6),
    "infobatch, normalised": Case(lambda n: emprune.InfoBatch(normalize=True)),
    "infobatch, paper form": Case(lambda n: emprune.InfoBatch(prune_ratio=0.5), keep=None),
    "emp": Case(lambda n: emprune.EMP()),
    "emp, pool": Case(lambda n: emprune.EMP(pool=2)),
    "emp, beta 0": Case(lambda n: emprune.EMP(beta=0)),
    "emp-adaptive": Case(lambda n: emprune.AdaptiveEMP(threshold=0.2)),
    "emp-adaptive, replayed": Case(lambda n: emprune.AdaptiveEMP(replay="1/3")),
    "emp-review": Case(lambda n: emprune.ReviewEMP(review_fraction=0.4)),
    "emp-review, unspaced": Case(lambda n: emprune.ReviewEMP(spaced=False, pool=None)),
    "emp-sampled": Case(lambda n: emprune.SampledEMP()),
    "emp-sampled, alpha 1": Case(lambda n: emprune.SampledEMP(alpha=1)),
}


class TestEveryMethod(MethodContract):
    @pytest.fixture(autouse=True, params=list(CASES.values()), ids=list(CASES))
    def case(self, request: pytest.FixtureRequest) -> None:
        self._case: Case = request.param
        self.keep = self._case.keep

    def make_method(self, num_samples: int) -> emprune.Method:
        return self._case.make(num_samples)


def test_the_table_holds_every_registered_method() -> None:
    assert {case.make(2).name for case in CASES.values()} == set(emprune.method_names())
