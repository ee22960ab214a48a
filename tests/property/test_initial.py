"""A run that starts from columns: whatever is known, and of whomever."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from tests.property.strategies import tied, untied
from tests.unit.support import chosen


def start(losses: Tensor, known: Tensor, *, keep: float, seed: int) -> emprune.DataPruner:
    """Greedy, that knows the losses of some samples from before."""
    earlier = emprune.DataPruner("greedy", num_samples=len(losses), num_epochs=2, keep=0.9).state_dict()
    earlier["columns"]["loss"] = losses.where(known, torch.nan)
    return emprune.DataPruner("greedy", num_samples=len(losses), num_epochs=3, keep=keep, seed=seed, initial=earlier)


@given(tied() | untied(), st.data())
def test_unseen_samples_come_first_and_then_the_highest_losses(losses: Tensor, data: st.DataObject) -> None:
    num_samples = len(losses)
    known = torch.tensor(data.draw(st.lists(st.booleans(), min_size=num_samples, max_size=num_samples)))
    assume(bool(losses[known].any()))
    num_kept = data.draw(st.integers(1, num_samples))
    pruner = start(losses, known, keep=num_kept / num_samples, seed=data.draw(st.integers(0, 9)))
    assert pruner.stats.seen.equal(known)
    plan = chosen(pruner.begin_epoch(0))
    unseen = set((~known).nonzero().flatten().tolist())
    assert len(plan) == num_kept
    assert len(plan & unseen) == min(num_kept, len(unseen))
    others, left = (sorted(losses[sorted(part)].tolist()) for part in (plan - unseen, set(range(num_samples)) - plan))
    assert not others or plan >= unseen
    if others and left:
        assert others[0] >= left[-1]


@given(untied(min_size=4), st.data())
def test_renaming_the_samples_renames_the_first_plan(losses: Tensor, data: st.DataObject) -> None:
    assume(bool(losses.any()))
    names = torch.tensor(data.draw(st.permutations(range(len(losses)))))
    everything = torch.ones(len(losses), dtype=torch.bool)
    plan = start(losses, everything, keep=0.5, seed=0).begin_epoch(0)
    renamed = start(losses[names], everything, keep=0.5, seed=0).begin_epoch(0)
    assert set(names[renamed.index].tolist()) == chosen(plan)
