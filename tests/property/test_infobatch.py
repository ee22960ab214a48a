"""InfoBatch's weights stand for what was pruned."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import emprune
from tests.property.strategies import tied, untied
from tests.unit.support import context_of

any_losses = st.one_of(untied(), tied())


@given(any_losses, st.data())
def test_the_weights_add_up_to_the_samples_they_stand_for(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(st.integers(1, len(losses)))
    weight = emprune.InfoBatch().select(context_of(losses, num_kept)).weight
    assert weight is not None
    assert float(weight.double().sum()) == pytest.approx(len(losses), rel=1e-6)
    assert float(weight.min()) >= 1
    assert float(weight.max()) <= 10.0001 or len(weight.unique()) == 1


@given(any_losses, st.data())
def test_normalised_weights_have_mean_1_and_the_same_proportions(losses: Tensor, data: st.DataObject) -> None:
    context = context_of(losses, data.draw(st.integers(1, len(losses))))
    plain, normalised = (emprune.InfoBatch(normalize=n).select(context) for n in (False, True))
    assert plain.index.equal(normalised.index)
    assert plain.weight is not None
    assert normalised.weight is not None
    assert float(normalised.weight.double().mean()) == pytest.approx(1)
    assert normalised.weight.allclose(plain.weight / plain.weight.mean())


@given(any_losses, st.data())
def test_only_the_lowest_are_pruned(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(st.integers(1, len(losses)))
    selection = emprune.InfoBatch().select(context_of(losses, num_kept))
    assert selection.weight is not None
    light = selection.index[selection.weight == 1]
    pruned = torch.ones(len(losses), dtype=torch.bool).index_fill_(0, selection.index, False)
    if len(light) and bool(pruned.any()):
        assert float(losses[pruned].max()) <= float(losses[light].max())


@given(any_losses, st.data())
def test_at_a_keep_of_a_tenth_or_less_nothing_is_preferred(losses: Tensor, data: st.DataObject) -> None:
    num_kept = data.draw(st.integers(1, len(losses)))
    losses = torch.cat([losses * factor for factor in range(1, 11)])
    with pytest.warns(emprune.errors.EmpruneWarning, match="prefers nothing"):
        emprune.InfoBatch().check(num_samples=len(losses), keep=num_kept / len(losses))
    selection, other = (emprune.InfoBatch().select(context_of(values, num_kept)) for values in (losses, losses.flip(0)))
    assert selection.weight is not None
    assert len(selection.weight.unique()) == 1
    assert selection.index.equal(other.index)


def test_the_warning_of_it_points_at_who_made_the_pruner() -> None:
    with pytest.warns(emprune.errors.EmpruneWarning, match="prefers nothing") as caught:
        emprune.DataPruner(emprune.InfoBatch(), num_samples=100, num_epochs=20, keep=0.1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("keep", [0.11, 0.3, 1.0])
def test_above_that_the_hardest_are_kept(keep: float, recwarn: pytest.WarningsRecorder) -> None:
    emprune.InfoBatch().check(num_samples=100, keep=keep)
    assert not recwarn
    selection = emprune.InfoBatch().select(context_of(torch.arange(100.0), round(100 * keep)))
    assert 99 in selection.index
    assert selection.weight is not None
    assert float(selection.weight[selection.index == 99]) == 1


@pytest.mark.parametrize("num_kept", [17, 12, 6, 1])  # r = 0.25, more, a raised threshold, uniform
def test_the_weighted_mean_is_unbiased(num_kept: int) -> None:
    """Σ w · l over the kept, divided by N, is the full mean: not of the losses that decided, but of any values."""
    generator = torch.Generator().manual_seed(0)
    losses, values = (torch.rand(20, generator=generator).square() for _ in range(2))
    estimates = []
    for seed in range(1500):
        selection = emprune.InfoBatch().select(context_of(losses, num_kept, seed=seed))
        assert selection.weight is not None
        estimates.append((selection.weight * values[selection.index]).sum() / 20)
    estimate = torch.stack(estimates)
    error = float(estimate.std()) / len(estimates) ** 0.5
    assert error < 0.1 * float(values.mean()) or num_kept == 1
    assert abs(float(estimate.mean() - values.mean())) < 4 * error


def test_plain_means_are_not() -> None:
    """Which is why the weights are there: without them the mean is that of the hard half."""
    losses = torch.rand(20, generator=torch.Generator().manual_seed(0)).square()
    kept = [emprune.InfoBatch().select(context_of(losses, 12, seed=seed)).index for seed in range(200)]
    assert float(torch.stack([losses[index].mean() for index in kept]).mean()) > 1.2 * float(losses.mean())


@pytest.mark.parametrize(
    "run",
    [
        {"num_epochs": 40},
        {"num_epochs": 40, "warmup_epochs": 2},
        {"num_steps": 45, "warmup_epochs": 14},
    ],
    ids=["epochs", "epochs and a warm-up", "steps and a warm-up"],
)
def test_its_own_tail_is_as_long_as_the_batches_allow(run: dict[str, Any]) -> None:
    def make(**options: Any) -> emprune.ArrayLoader:
        method = "random" if options else "infobatch"
        options = {"batch_size": 128, "accumulation": 2, **run, **options}
        return emprune.ArrayLoader((torch.arange(1000),), method, keep=0.3, drop_last=True, **options)

    tail = make().pruner.schedule.tail_epochs
    assert 0 <= tail < emprune.InfoBatch().default_tail_epochs(num_epochs=40, keep=0.3)
    make(tail_epochs=tail)
    with pytest.raises(emprune.errors.ConfigError):
        make(tail_epochs=tail + 1)


def test_its_own_tail_is_as_long_as_a_pruner_without_batches_allows() -> None:
    pruner = emprune.DataPruner("infobatch", num_samples=5, num_epochs=40, keep=0.2)
    assert pruner.schedule.num_kept_per_epoch() == [1] * 40


def test_where_it_fits_its_own_tail_is_not_shortened() -> None:
    assert emprune.ArrayLoader(
        (torch.arange(1000),), "infobatch", batch_size=50, num_epochs=40, keep=0.3
    ).pruner.schedule.tail_epochs == emprune.InfoBatch().default_tail_epochs(num_epochs=40, keep=0.3)
