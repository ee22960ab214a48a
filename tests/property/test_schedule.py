"""The cost of a run is exact, whatever is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies import Run, runs


@given(runs(max_samples=2000, max_epochs=60, max_ranks=8))
def test_the_cost_is_within_one_quantum(run: Run) -> None:
    sizes = run.schedule.num_kept_per_epoch(multiple_of=run.multiple_of, world_size=run.world_size)
    short = 0 if run.keep < 1 else run.num_epochs * (run.num_samples % run.world_size)
    assert abs(sum(sizes) + short - run.keep * run.num_samples * run.num_epochs) <= run.multiple_of


@given(runs(max_samples=2000, max_epochs=60, max_ranks=8))
def test_every_epoch_can_be_delivered(run: Run) -> None:
    full = run.num_samples // run.world_size * run.world_size
    sizes = run.schedule.num_kept_per_epoch(multiple_of=run.multiple_of, world_size=run.world_size)
    for epoch, size in enumerate(sizes):
        assert run.world_size <= size <= full
        assert size % run.world_size == 0
        if run.schedule.is_full(epoch):
            assert size == full
    pruned = [size for epoch, size in enumerate(sizes) if not run.schedule.is_full(epoch) and size != full]
    assert all(size % run.multiple_of == 0 for size in pruned) or sum(pruned) / len(pruned) < run.multiple_of


@given(runs(max_samples=300, max_epochs=30))
def test_pruned_epochs_are_as_even_as_the_quantum_allows(run: Run) -> None:
    sizes = run.schedule.num_kept_per_epoch(multiple_of=run.multiple_of)
    pruned = [size for epoch, size in enumerate(sizes) if not run.schedule.is_full(epoch)]
    if pruned:
        assert max(pruned) - min(pruned) <= 2 * run.multiple_of


@given(runs(max_samples=300, max_epochs=20), st.data())
def test_an_unplanned_epoch_is_made_up_for(run: Run, data: st.DataObject) -> None:
    """Whatever was spent so far, the next pruned epochs bring the sum back as far as their sizes can."""
    schedule = run.schedule
    spent, sizes = 0, []
    for epoch in range(run.num_epochs):
        quantum = data.draw(st.integers(1, 9))
        size = schedule.num_kept(epoch, spent=spent, multiple_of=quantum)
        assert size is not None
        spent += size
        sizes.append(size)
    assert abs(spent - run.keep * run.num_samples * run.num_epochs) <= 9


@given(runs(max_samples=500, max_epochs=20), st.integers(1, 64))
def test_no_batch_is_short_where_none_may_be(run: Run, quantum: int) -> None:
    schedule = run.schedule
    full = run.num_samples // quantum * quantum
    if full == 0 or (schedule.budget or 0) > run.num_epochs * full:
        return
    if (schedule.budget or 0) < schedule.num_full_epochs * full + schedule.num_pruned_epochs * quantum:
        return
    sizes = schedule.num_kept_per_epoch(multiple_of=quantum, drop_last=True)
    assert all(size % quantum == 0 for size in sizes)
    assert abs(sum(sizes) - run.keep * run.num_samples * run.num_epochs) <= quantum
