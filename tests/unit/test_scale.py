"""What breaks at scale: positions beyond 2**24, and the mean of many equal floats."""

import pytest
import torch

import emprune
from emprune.selection import sample
from tests.unit.support import context_of

BEYOND = 2**24 + 5
"""More samples than a float32 can number."""


def test_positions_beyond_2_to_the_24_stay_exact() -> None:
    hard = [BEYOND - 1, BEYOND - 2, BEYOND - 3, 2**24 + 1, 2**24 - 1]
    ranking = torch.zeros(BEYOND)
    ranking[hard] = 1.0
    pruner = emprune.DataPruner(
        emprune.methods.StaticSubset(ranking), num_samples=BEYOND, num_epochs=1, keep=5 / BEYOND
    )
    index = pruner.begin_epoch(0).index
    assert index.dtype == torch.int64
    assert sorted(index.tolist()) == sorted(hard)
    pruner.observe(index, index.double() - 2**24 + 2)
    pruner.sync()
    seen = pruner.stats.seen.nonzero().flatten()
    assert sorted(seen.tolist()) == sorted(hard)
    assert pruner.stats["loss"][hard].tolist() == [6.0, 5.0, 4.0, 3.0, 1.0]


def test_draws_are_even_over_positions_beyond_2_to_the_24() -> None:
    index = sample(BEYOND, 400_000, generator=torch.Generator().manual_seed(0))
    assert len(index.unique()) == 400_000
    assert abs(float((index % 2).double().mean()) - 0.5) < 5 * 0.5 / 400_000**0.5


# For six of these the float32 mean of equal values is above them: all would count as well learned.
@pytest.mark.parametrize("value", [0.1, 3.0000002, 1.2345, 2.3025851, 1e-7, 65504.0])
@pytest.mark.parametrize("num_samples", [10, 1000, 3_000_000])
def test_nothing_is_below_the_mean_of_equal_losses(value: float, num_samples: int) -> None:
    losses = torch.full((num_samples,), value)
    selection = emprune.InfoBatch().select(context_of(losses, num_samples // 10 * 7))
    assert selection.weight is not None
    assert int((selection.weight == 1).count_nonzero()) > num_samples // 2  # as many as weights of 10 leave alone


def test_an_epochs_plan_is_no_list_of_objects() -> None:
    plan = emprune.DataPruner(emprune.Random(), num_samples=1000, num_epochs=1, keep=0.5).begin_epoch(0)
    assert plan.index.untyped_storage().nbytes() == 500 * 8
