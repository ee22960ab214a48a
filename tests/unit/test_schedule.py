"""Schedule: the cost of a run, fixed before anything is selected."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

import emprune
from tests.messages import Raises
from tests.unit.support import inf, make_pruner, nan, observe


def test_sizes_are_carried_forward() -> None:
    schedule = emprune.schedule.Schedule(num_samples=1000, num_epochs=4, keep=0.3)
    assert schedule.num_kept_per_epoch() == [300, 300, 300, 300]
    assert schedule.num_kept_per_epoch(multiple_of=128) == [256, 384, 256, 256]
    assert sum(schedule.num_kept_per_epoch(multiple_of=128)) == 1152  # 48 off, less than half a quantum


def test_full_epochs_are_paid_for_by_the_pruned_ones() -> None:
    schedule = emprune.schedule.Schedule(num_samples=100, num_epochs=10, keep=0.5, warmup_epochs=1, tail_epochs=2)
    sizes = schedule.num_kept_per_epoch()
    assert sizes[0] == sizes[8] == sizes[9] == 100
    assert sum(sizes) == 500
    assert max(sizes[1:8]) - min(sizes[1:8]) <= 1
    assert [schedule.is_full(epoch) for epoch in range(10)] == [True] + [False] * 7 + [True] * 2


def test_the_few_left_out_of_full_epochs_are_paid_for_too() -> None:
    schedule = emprune.schedule.Schedule(num_samples=103, num_epochs=10, keep=0.5, tail_epochs=2)
    sizes = schedule.num_kept_per_epoch(multiple_of=4, world_size=4)
    assert sizes[8:] == [100, 100]
    assert abs(sum(sizes) - 515) <= 4


@pytest.mark.parametrize("multiple_of", [1, 8, 64])
def test_everything_at_keep_1(multiple_of: int) -> None:
    schedule = emprune.schedule.Schedule(num_samples=100, num_epochs=3, keep=1)
    assert schedule.num_kept_per_epoch(multiple_of=multiple_of) == [100, 100, 100]
    assert all(schedule.is_full(epoch) for epoch in range(3))


def test_ranks_get_equally_many_and_nothing_twice() -> None:
    schedule = emprune.schedule.Schedule(num_samples=103, num_epochs=3, keep=1)
    assert schedule.num_kept_per_epoch(multiple_of=32, world_size=4) == [100, 100, 100]
    assert schedule.num_kept_per_epoch(multiple_of=32, world_size=4, drop_last=True) == [96, 96, 96]


def test_epochs_smaller_than_the_quantum_are_multiples_of_the_ranks() -> None:
    schedule = emprune.schedule.Schedule(num_samples=100, num_epochs=4, keep=0.3)
    assert schedule.num_kept_per_epoch(multiple_of=64, world_size=4) == [32, 28, 32, 28]


def test_what_was_spent_counts_not_what_was_planned() -> None:
    schedule = emprune.schedule.Schedule(num_samples=1000, num_epochs=4, keep=0.3)
    assert schedule.num_kept(2, spent=600) == 300
    assert schedule.num_kept(2, spent=640) == 260
    assert schedule.num_kept(2, spent=560) == 340


@pytest.mark.parametrize(("keep", "num_samples", "quantum"), [(0.29, 100, 29), (0.58, 100, 58), (0.41, 300, 123)])
def test_an_epoch_of_one_step_is_possible_where_a_product_is_rounded_down(
    keep: float, num_samples: int, quantum: int
) -> None:
    assert keep * num_samples < quantum
    schedule = emprune.schedule.Schedule.for_steps(
        num_steps=4, samples_per_step=quantum, num_samples=num_samples, keep=keep
    )
    assert schedule.num_kept_per_epoch(multiple_of=quantum) == [quantum] * 4


def test_a_pruner_whose_quantum_changes_stays_on_budget() -> None:
    pruner = make_pruner(emprune.Random(), num_samples=1000, num_epochs=6, keep=0.3)
    spent = sum(len(pruner.begin_epoch(epoch, multiple_of=m)) for epoch, m in enumerate([100, 7, 1, 64, 250, 1]))
    assert spent == 1800


@pytest.mark.filterwarnings("ignore:InfoBatch at keep")
@pytest.mark.parametrize(
    ("keep", "num_epochs", "tail_epochs"),
    [(0.3, 200, 25), (0.3, 60, 8), (0.1, 60, 3), (0.2, 10, 1), (0.05, 20, 0), (1, 8, 1)],
)
def test_infobatchs_own_tail_is_an_eighth_of_the_epochs_or_half_of_the_budget(
    keep: float, num_epochs: int, tail_epochs: int
) -> None:
    pruner = emprune.DataPruner(emprune.InfoBatch(), num_samples=1000, num_epochs=num_epochs, keep=keep)
    assert pruner.schedule.tail_epochs == tail_epochs
    given = emprune.DataPruner(emprune.InfoBatch(), num_samples=1000, num_epochs=num_epochs, keep=keep, tail_epochs=0)
    assert given.schedule.tail_epochs == 0


@pytest.mark.parametrize(("num_epochs", "tail_epochs"), [(30, 4), (90, 11), (100, 13), (200, 25), (300, 38)])
def test_all_weights_are_1_through_the_whole_tail(num_epochs: int, tail_epochs: int) -> None:
    pruner = emprune.DataPruner(emprune.InfoBatch(), num_samples=8, num_epochs=num_epochs, keep=0.6)
    losses = emprune.methods.SampleStats(8, ())["loss"].nan_to_num().add(1).cumsum(0)
    pruned_weights = set()
    for epoch in range(num_epochs):
        plan = pruner.begin_epoch(epoch)
        if epoch >= num_epochs - tail_epochs:
            assert (len(plan), plan.weight) == (8, None)
            assert pruner.weights(plan.index).tolist() == [1] * 8
        elif epoch > 1:
            pruned_weights.update(pruner.weights(plan.index).tolist())
        observe(pruner, losses)
    assert max(pruned_weights) > 1


NUMPY: dict[str, Any] = {
    "num_samples": np.int64(1000), "num_epochs": np.int32(20), "keep": np.float32(0.25), "warmup_epochs": np.uint8(1),
    "tail_epochs": np.int16(2), "seed": np.int64(3),
}  # fmt: skip


def test_numpys_numbers_are_numbers_and_kept_as_pythons_own() -> None:
    pruner = emprune.DataPruner(emprune.Random(), **NUMPY)
    plain = emprune.DataPruner(emprune.Random(), **{name: value.item() for name, value in NUMPY.items()})
    assert pruner.schedule == plain.schedule
    kept = [*dataclasses.astuple(pruner.schedule), pruner.seed]
    assert {type(value) for value in kept if value is not None} == {int, float}
    numbers: dict[str, Any] = {"epoch": np.int64(0), "multiple_of": np.int64(8)}
    plan = pruner.begin_epoch(**numbers)
    assert plan == plain.begin_epoch(0, multiple_of=8)
    assert type(plan.epoch) is int
    sizes: dict[str, Any] = {"batch_size": np.int32(4), "accumulation": np.int64(2)}
    loader = emprune.ArrayLoader((torch.arange(1000),), plain, **sizes)
    assert {type(loader.batch_size), type(loader.accumulation)} == {int}


@pytest.mark.parametrize("name", [*NUMPY, "multiple_of", "batch_size"])
@pytest.mark.parametrize("value", [True, np.bool_(True), "1", 1j, [1]], ids=str)
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    def call() -> None:
        pruner = emprune.DataPruner(emprune.Random(), **{**NUMPY, **({name: value} if name in NUMPY else {})})
        if name == "multiple_of":
            pruner.begin_epoch(0, multiple_of=value)
        emprune.ArrayLoader((torch.arange(1000),), pruner, batch_size=value)

    with pytest.raises(emprune.ConfigError, match=rf"`{name}` must be .*got {name}="):
        call()


def test_full_needs_no_keep_and_takes_no_other() -> None:
    pruner = emprune.DataPruner(emprune.Full(), num_samples=10, num_epochs=2)
    assert (pruner.keep, len(pruner.begin_epoch(0))) == (1.0, 10)
    for method in (emprune.Random(), emprune.InfoBatch(), emprune.EMP()):
        with pytest.raises(emprune.ConfigError, match=r"`keep` must be a number in \(0, 1\].*got keep=None"):
            emprune.DataPruner(method, num_samples=10, num_epochs=2)


@pytest.mark.parametrize("keep", [0, -0.1, 1.0001, 30, nan, inf, "0.3", True])
def test_keep_is_a_fraction(keep: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="keep", value=keep):
        emprune.schedule.Schedule(num_samples=10, num_epochs=10, keep=keep)


@pytest.mark.parametrize("name", ["num_samples", "num_epochs"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, None])
def test_counts_are_positive_integers(name: str, value: Any, raises: Raises) -> None:
    settings: dict[str, Any] = {"num_samples": 10, "num_epochs": 10, "keep": 0.5, name: value}
    with raises(emprune.ConfigError, parameter=name, value=value):
        emprune.schedule.Schedule(**settings)


@pytest.mark.parametrize("name", ["warmup_epochs", "tail_epochs"])
@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_full_epochs_are_counted(name: str, value: Any, raises: Raises) -> None:
    settings: dict[str, Any] = {"num_samples": 10, "num_epochs": 10, "keep": 0.5, name: value}
    with raises(emprune.ConfigError, parameter=name, value=value):
        emprune.schedule.Schedule(**settings)


@pytest.mark.parametrize(
    ("num_samples", "num_epochs", "keep", "full"),
    [(1000, 4, 0.5, 2), (1000, 10, 0.3, 3), (100, 4, 0.625, 3), (7, 9, 0.9, 9)],
)
def test_too_many_full_epochs_are_refused_with_how_many_fit(
    num_samples: int, num_epochs: int, keep: float, full: int
) -> None:
    def schedule(tail_epochs: int) -> emprune.schedule.Schedule:
        return emprune.schedule.Schedule(
            num_samples=num_samples, num_epochs=num_epochs, keep=keep, tail_epochs=tail_epochs
        )

    with pytest.raises(emprune.ConfigError, match="Use tail_epochs=") as caught:
        schedule(full)
    most = caught.value.suggestion["tail_epochs"]
    assert isinstance(most, int)
    assert most < full
    with pytest.raises(emprune.ConfigError):
        schedule(most + 1)
    schedule(most)


def test_more_full_epochs_than_epochs(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="warmup_epochs", value=3):
        emprune.schedule.Schedule(num_samples=10, num_epochs=4, keep=0.9, warmup_epochs=3, tail_epochs=2)


def test_less_than_a_sample_per_epoch_is_refused_with_what_would_do(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="keep", value=0.034):
        emprune.schedule.Schedule(num_samples=30, num_epochs=100, keep=0.03)
    assert emprune.schedule.Schedule(num_samples=30, num_epochs=100, keep=1 / 30).num_kept_per_epoch() == [1] * 100


def test_less_than_a_batch_per_epoch_is_refused_where_no_batch_may_be_short(raises: Raises) -> None:
    schedule = emprune.schedule.Schedule(num_samples=100, num_epochs=4, keep=0.3)
    with raises(emprune.ConfigError, parameter="keep", value=64):
        schedule.num_kept_per_epoch(multiple_of=64, drop_last=True)


def test_a_quantum_larger_than_the_data_is_refused(raises: Raises) -> None:
    schedule = emprune.schedule.Schedule(num_samples=100, num_epochs=4, keep=0.3)
    with raises(emprune.ConfigError, value=128):
        schedule.num_kept_per_epoch(multiple_of=128, drop_last=True)


def test_a_keep_that_dropped_batches_cannot_reach_is_refused_with_one_they_can(raises: Raises) -> None:
    schedule = emprune.schedule.Schedule(num_samples=1000, num_epochs=20, keep=0.95)
    with raises(emprune.ConfigError, parameter="keep", value=0.896):
        schedule.num_kept_per_epoch(multiple_of=128, drop_last=True)
    met = dataclasses.replace(schedule, keep=0.896).num_kept_per_epoch(multiple_of=128, drop_last=True)
    assert sum(met) == 20 * 896
    assert abs(sum(schedule.num_kept_per_epoch(multiple_of=128)) - 19000) <= 64


def test_so_is_one_of_a_run_that_is_all_warm_up_and_tail(raises: Raises) -> None:
    schedule = emprune.schedule.Schedule(num_samples=1000, num_epochs=3, keep=0.9999, warmup_epochs=1, tail_epochs=2)
    with raises(emprune.ConfigError, parameter="keep", value=768):
        schedule.num_kept_per_epoch(multiple_of=384, drop_last=True)
    assert schedule.num_kept_per_epoch(multiple_of=384) == [1000] * 3


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.7, 0.29, 1 / 3, 0.999])
@pytest.mark.parametrize("num_samples", [50_000, 1_281_167, 100_000_000])
def test_real_sizes_stay_on_budget(keep: float, num_samples: int) -> None:
    sizes = emprune.schedule.Schedule(num_samples=num_samples, num_epochs=200, keep=keep).num_kept_per_epoch(
        multiple_of=1024
    )
    assert abs(math.fsum(sizes) - keep * num_samples * 200) <= 1024
