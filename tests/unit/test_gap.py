"""EMP that follows the generalisation gap: what is handed over, when, and what it does to a plan."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import emprune
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, through_disk, train_epoch
from tests.messages import Raises

TASK = SyntheticTask(num_samples=40)
GAP = emprune.EMP(pool="gap")


def pruner_of(method: emprune.Method | str = GAP, **changes: Any) -> emprune.DataPruner:
    options: dict[str, Any] = {"num_samples": 40, "num_epochs": 8, "keep": 0.5, "seed": 3, **changes}
    return emprune.DataPruner(method, **options)


def observed(pruner: emprune.DataPruner) -> emprune.DataPruner:
    """The pruner, after its next epoch was observed, without a validation loss."""
    plan = pruner.begin_epoch(pruner.epoch + 1)
    pruner.observe(plan.index, *TASK.batch(plan.index, epoch=plan.epoch))
    return pruner


def test_its_name_is_text() -> None:
    assert emprune.methods.make_method("emp:pool=gap") == GAP
    assert GAP.settings()["pool"] == "gap"
    assert GAP.needs_gap
    assert not emprune.EMP().needs_gap


def test_an_epoch_that_it_chooses_needs_a_validation_loss(raises: Raises) -> None:
    pruner = observed(observed(pruner_of()))  # unseen samples alone: nothing to choose
    with raises(emprune.errors.EpochError, value=2):
        pruner.begin_epoch(2)
    pruner.observe_validation(1.0, train_loss=1.0)
    assert pruner.begin_epoch(2).epoch == 2


def test_other_methods_need_none_and_remember_none() -> None:
    with_loss, without = pruner_of(emprune.EMP()), pruner_of(emprune.EMP())
    for _ in range(4):
        observed(with_loss).observe_validation(5.0, train_loss=1.0)
        observed(without)
    assert with_loss.gap is None
    assert "gap" not in with_loss.state_dict()
    assert_same_state(with_loss.state_dict(), without.state_dict())


BAD: dict[str, tuple[Callable[[emprune.DataPruner], None], str, Any]] = {
    "nan": (lambda pruner: pruner.observe_validation(float("nan"), train_loss=1.0), "loss", "nan"),
    "infinite": (lambda pruner: pruner.observe_validation(1.0, train_loss=float("inf")), "train_loss", "inf"),
    "of each sample": (lambda pruner: pruner.observe_validation(torch.ones(3), train_loss=1.0), "loss", "(3,)"),
    "text": (lambda pruner: pruner.observe_validation("1.0", train_loss=1.0), "loss", "1.0"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("method", [GAP, emprune.Random()], ids=str)
@pytest.mark.parametrize("name", BAD)
def test_a_loss_must_be_a_finite_number(name: str, method: emprune.Method, raises: Raises) -> None:
    pruner = observed(pruner_of(method))
    before = through_disk(pruner.state_dict())
    call, parameter, value = BAD[name]
    with raises(emprune.errors.ObservationError, parameter=parameter, value=value):
        call(pruner)
    assert_same_state(pruner.state_dict(), before)


@pytest.mark.parametrize("kind", [float, np.float32, torch.tensor, lambda loss: torch.tensor([loss])])
def test_any_number_will_do(kind: Callable[[float], Any]) -> None:
    pruner = pruner_of()
    pruner.observe_validation(kind(1.5), train_loss=kind(1.0))
    pruner.sync()
    assert pruner.gap == 0.5


def test_the_last_one_before_the_plan_counts_until_the_next() -> None:
    pruner = observed(observed(pruner_of()))
    assert pruner.gap is None
    for loss in (3.0, 1.25):
        pruner.observe_validation(loss, train_loss=1.0)
    assert pruner.gap is None  # not folded yet
    observed(pruner)
    assert pruner.gap == 0.25
    observed(pruner)
    assert pruner.gap == 0.25
    pruner.observe_validation(0.5, train_loss=1.0)
    pruner.sync()
    assert pruner.gap == -0.5


def test_without_a_gap_the_plans_are_those_of_a_pool_of_two() -> None:
    following, plain = pruner_of(), pruner_of(emprune.EMP(pool=2))
    for epoch in range(8):
        assert following.begin_epoch(epoch) == plain.begin_epoch(epoch)
        for pruner in (following, plain):
            train_epoch(pruner, TASK)
            pruner.observe_validation(0.9, train_loss=1.0)


def test_with_a_wide_gap_what_is_chosen_does_not_depend_on_the_losses() -> None:
    plans = []
    for task in (TASK, SyntheticTask(num_samples=40, seed=1)):
        pruner = pruner_of()
        for epoch in range(8):
            plan = pruner.begin_epoch(epoch)
            pruner.observe(plan.index, *task.batch(plan.index, epoch=epoch))
            pruner.observe_validation(9.0, train_loss=0.0)
            plans.append((epoch, set(plan.index.tolist())))
    assert plans[:8] == plans[8:]


def test_a_gap_that_was_not_folded_is_saved_too() -> None:
    whole = pruner_of()
    run_epochs(whole, TASK, multiple_of=1, stop=4)
    whole.observe_validation(1.04, train_loss=1.0)
    saved = through_disk(whole.state_dict())
    assert saved["gap"].shape == ()
    assert saved["gap"].dtype == torch.float64
    resumed = pruner_of()
    resumed.load_state_dict(saved)
    assert resumed.gap == whole.gap == 1.04 - 1.0
    assert run_epochs(resumed, TASK, multiple_of=1) == run_epochs(whole, TASK, multiple_of=1)
    assert_same_state(resumed.state_dict(), whole.state_dict())


def test_loading_replaces_the_gap() -> None:
    pruner = observed(pruner_of())
    state = through_disk(pruner.state_dict())
    pruner.observe_validation(1.5, train_loss=1.0)
    pruner.load_state_dict(state)
    assert pruner.gap is None
    assert_same_state(pruner.state_dict(), state)


@pytest.mark.parametrize(
    ("gap", "value"),
    [(None, None), (0.1, 0.1), (torch.tensor(0.1), "torch.float32"), (torch.zeros(2, dtype=torch.float64), "(2,)")],
    ids=["none", "a number", "float32", "two"],
)
def test_a_state_with_another_gap_is_refused(gap: object, value: object, raises: Raises) -> None:
    state = {**pruner_of().state_dict(), "gap": gap}
    with raises(emprune.errors.StateError, parameter="gap", value=value):
        pruner_of().load_state_dict(state)


def test_a_state_with_a_gap_is_refused_where_none_is_followed(raises: Raises) -> None:
    state = {**pruner_of(emprune.EMP()).state_dict(), "gap": torch.tensor(0.1, dtype=torch.float64)}
    with raises(emprune.errors.StateError, parameter="gap"):
        pruner_of(emprune.EMP()).load_state_dict(state)


def test_a_pool_of_another_name_is_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="pool", value="gaps"):
        emprune.EMP(pool="gaps")  # type: ignore[arg-type]
    with raises(emprune.ConfigError, parameter="emp:pool", value="gaps"):
        emprune.methods.make_method("emp:pool=gaps")


def test_the_probe_is_a_fixed_random_part() -> None:
    probe = pruner_of(num_samples=5000).probe()
    assert len(probe.unique()) == len(probe) == 1000
    assert abs(float(probe.double().mean()) - 2500) < 5 * 5000 / (12 * 1000) ** 0.5
    assert probe.equal(pruner_of(emprune.Greedy(), num_samples=5000).probe())
    assert not probe.equal(pruner_of(num_samples=5000, seed=4).probe())
    assert pruner_of().probe(7).equal(pruner_of().probe()[:7])
    assert len(pruner_of().probe()) == 40


def test_a_loader_hands_on_and_scores_the_probe() -> None:
    dataset = TensorDataset(torch.arange(40.0))
    loader = emprune.PrunedLoader(DataLoader(dataset, batch_size=4, shuffle=True), GAP, num_epochs=8, keep=0.5)
    index = loader.pruner.probe(10)
    batches = [batch for (batch,) in loader.evaluation(index=index)]
    assert torch.cat(batches).equal(index.float())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    for epoch in loader.epochs():
        for batch_index, _ in loader:
            loader.reduce(batch_index, *TASK.batch(batch_index, epoch=epoch))
        loader.observe_validation(1.0 + epoch, train_loss=1.0)
    loader.sync()
    assert loader.pruner.gap == 7.0
