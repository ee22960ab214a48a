"""A budget in optimizer steps: a run makes exactly those, at the cost that they have."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import emprune
from emprune.schedule import Schedule
from emprune.testing import SyntheticTask, run_epochs


@st.composite
def budgets(draw: st.DrawFn) -> tuple[Schedule, dict[str, Any]]:
    """A schedule of so many steps, and its batches."""
    batches = {
        "batch_size": draw(st.integers(1, 20)),
        "accumulation": draw(st.integers(1, 3)),
        "world_size": draw(st.integers(1, 4)),
        "drop_last": draw(st.booleans()),
    }
    quantum = batches["batch_size"] * batches["accumulation"] * batches["world_size"]
    run: dict[str, Any] = {
        "num_steps": draw(st.integers(1, 400)),
        "num_samples": draw(st.integers(1, 900)),
        "keep": draw(st.just(1.0) | st.floats(0.02, 1)),
        "warmup_epochs": draw(st.integers(0, 2)),
        "tail_epochs": draw(st.integers(0, 2)),
    }
    fixed: dict[str, Any] = {name: batches[name] for name in ("world_size", "drop_last")}
    try:
        return Schedule.for_steps(**run, samples_per_step=quantum, **fixed), batches
    except emprune.ConfigError:
        assume(False)
        raise


def sizes_of(schedule: Schedule, batches: dict[str, Any]) -> tuple[list[int], int, int]:
    """The epochs' sizes, the quantum, and a full epoch's size."""
    quantum = batches["batch_size"] * batches["accumulation"] * batches["world_size"]
    grain = quantum if batches["drop_last"] else batches["world_size"]
    sizes = schedule.num_kept_per_epoch(
        multiple_of=quantum, world_size=batches["world_size"], drop_last=batches["drop_last"]
    )
    return sizes, quantum, schedule.num_samples // grain * grain


@given(budgets())
def test_the_steps_are_exact(budget: tuple[Schedule, dict[str, Any]]) -> None:
    schedule, batches = budget
    assert sum(schedule.steps_per_epoch(**batches)) == schedule.num_steps
    sizes, quantum, full = sizes_of(schedule, batches)
    assert len(sizes) == schedule.num_epochs
    assert [-(-size // quantum) for size in sizes] == schedule.steps_per_epoch(**batches)
    for epoch, size in enumerate(sizes):
        assert 0 < size <= full
        assert size % batches["world_size"] == 0
        assert size % quantum == 0 or size == full
        last = schedule.keep == 1 and epoch == schedule.num_epochs - 1
        assert last or size == full or not schedule.is_full(epoch)


@given(budgets())
def test_a_step_costs_a_quantum_but_for_the_last_of_an_epoch_of_all_the_data(
    budget: tuple[Schedule, dict[str, Any]],
) -> None:
    schedule, batches = budget
    sizes, quantum, full = sizes_of(schedule, batches)
    short = sum(-full % quantum for size in sizes if size == full)
    assert schedule.num_steps is not None
    assert sum(sizes) + short == schedule.num_steps * quantum


@given(budgets())
def test_pruned_epochs_are_even_and_as_many_as_keep_says(budget: tuple[Schedule, dict[str, Any]]) -> None:
    schedule, batches = budget
    steps = schedule.steps_per_epoch(**batches)
    pruned = [own for epoch, own in enumerate(steps) if not schedule.is_full(epoch)]
    assert not pruned or max(pruned) - min(pruned) <= 1
    quantum = batches["batch_size"] * batches["accumulation"] * batches["world_size"]
    visits = schedule.num_steps * quantum if schedule.num_steps is not None else 0
    most = -(-max(pruned, default=0) * quantum // schedule.num_samples)
    if schedule.keep < 1 and pruned and most < 1 and min(pruned) > 1:
        assert abs(schedule.num_epochs * schedule.keep * schedule.num_samples - visits) <= schedule.num_samples


@pytest.mark.parametrize("method", [emprune.Full(), emprune.Random(), emprune.EMP()], ids=lambda m: m.name)
def test_the_last_epoch_is_as_short_as_it_has_to_be(method: emprune.Method) -> None:
    schedule = Schedule.for_steps(num_steps=25, samples_per_step=8, num_samples=83, keep=1)
    assert schedule.num_kept_per_epoch(multiple_of=8) == [83, 83, 24]
    pruner = emprune.DataPruner(method, num_samples=83, num_epochs=schedule.num_epochs, keep=1)
    pruner.schedule = schedule
    task = SyntheticTask(num_samples=83)
    plans = run_epochs(pruner, task, multiple_of=8)
    assert [len(plan.index.unique()) for plan in plans] == [83, 83, 24]


def test_epochs_may_be_given_and_the_steps_divide_among_them() -> None:
    schedule = Schedule(num_samples=1000, num_epochs=6, keep=0.3, tail_epochs=1, num_steps=40)
    assert schedule.steps_per_epoch(batch_size=50) == [4, 4, 4, 4, 4, 20]
    with pytest.raises(emprune.ConfigError, match="`num_steps` must be from 25 to 120.*got num_steps=20"):
        Schedule(num_samples=1000, num_epochs=6, keep=0.3, tail_epochs=1, num_steps=20).steps_per_epoch(batch_size=50)


def test_less_than_a_step_in_an_epoch_is_refused_with_what_would_do() -> None:
    with pytest.raises(emprune.ConfigError, match=r"`keep` must give an epoch the 128 samples.*got keep=0.1") as caught:
        Schedule.for_steps(num_steps=9, samples_per_step=128, num_samples=1000, keep=0.1)
    assert caught.value.suggestion == {"samples_per_step": 100}
