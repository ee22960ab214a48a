"""The pool that follows the gap, whatever the gap and the losses."""

from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from emprune.methods.pool import pool_of_gap
from tests.property.strategies import untied
from tests.unit.support import after_full_epoch, as_memory, chosen

gaps = st.floats(-1e3, 1e3)


@given(gaps, gaps)
def test_the_pool_falls_from_two_to_one(one: float, other: float) -> None:
    narrow, wide = pool_of_gap(max(one, other)), pool_of_gap(min(one, other))
    assert 1 <= narrow <= wide <= 2


@given(untied(), st.data(), gaps)
def test_a_gap_selects_what_its_pool_does(losses: Tensor, data: st.DataObject, gap: float) -> None:
    num_kept, seed = data.draw(st.integers(1, len(losses) - 1)), data.draw(st.integers(0, 100))
    plans = []
    for pool in ("gap", pool_of_gap(gap)):
        method = emprune.EMP(memory=as_memory, pool=pool)
        pruner = after_full_epoch(method, losses, losses.flip(0), num_kept=num_kept, seed=seed)
        pruner.observe_validation(gap, train_loss=0.0)
        plans.append(pruner.begin_epoch(1))
    assert plans[0] == plans[1]


@given(untied(), st.data(), gaps, gaps)
def test_a_wider_gap_never_chooses_harder_samples(
    losses: Tensor, data: st.DataObject, one: float, other: float
) -> None:
    """A smaller pool of the same draw is a part of the larger one: its best k are at most as high."""
    num_kept = data.draw(st.integers(1, len(losses) - 1))
    totals = []
    for gap in sorted((one, other)):
        method = emprune.EMP(beta=0, memory=as_memory, pool="gap")
        pruner = after_full_epoch(method, losses, losses, num_kept=num_kept)
        pruner.observe_validation(gap, train_loss=0.0)
        totals.append(float(losses[sorted(chosen(pruner.begin_epoch(1)))].double().sum()))
    assert totals[0] >= totals[1]
