"""What the loader says about batches and steps is what the loop then does."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import emprune
from emprune.data.planned import PlannedLoader
from tests.data.datasets import Draws, Positions
from tests.data.helpers import loss_of, make_loader, make_pruner, train


def _count(pruner: emprune.DataPruner, loader: PlannedLoader, *, accumulation: int) -> int:
    """Train the run and return its optimizer steps, a short accumulation window at an epoch's end included."""
    steps = 0
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        num_batches = len(loader)
        done = 0
        for index, _ in loader:
            pruner.observe(index, loss_of(index))
            done += 1
            steps += done % accumulation == 0 or done == num_batches
        assert done == num_batches
    return steps


@given(
    num_samples=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    num_epochs=st.integers(1, 6),
    keep=st.floats(0.05, 1.0),
    tail_epochs=st.integers(0, 2),
    drop_last=st.booleans(),
)
def test_lengths_and_steps_for_any_sizes(
    num_samples: int,
    batch_size: int,
    accumulation: int,
    num_epochs: int,
    keep: float,
    tail_epochs: int,
    drop_last: bool,
) -> None:
    try:
        pruner = emprune.DataPruner(
            emprune.Greedy(),
            num_samples=num_samples,
            num_epochs=num_epochs,
            keep=keep,
            tail_epochs=tail_epochs,
        )
        loader = emprune.ArrayLoader(
            (torch.arange(num_samples),), pruner, batch_size=batch_size, accumulation=accumulation, drop_last=drop_last
        )
    except emprune.ConfigError:
        return  # refused before the run, never in its midst
    first, total = len(loader), loader.total_steps
    assert _count(pruner, loader, accumulation=accumulation) == total
    assert first == -(-pruner.schedule.num_kept_per_epoch(**loader._planning)[0] // batch_size)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize(
    ("keep", "options"),
    [(0.5, {}), (0.5, {"drop_last": True}), (0.1, {}), (1.0, {}), (1.0, {"drop_last": True})],
    ids=["pruned", "no short batch", "less than a quantum", "full", "full, no short batch"],
)
def test_steps_of_a_dataloader(keep: float, options: dict[str, Any], accumulation: int) -> None:
    pruner = make_pruner(50, num_epochs=5, keep=keep, tail_epochs=int(keep == 0.5))
    dataloader = torch.utils.data.DataLoader(Positions(50), batch_size=6, **options)
    loader = emprune.PrunedLoader(dataloader, pruner, accumulation=accumulation)
    total = loader.total_steps
    assert _count(pruner, loader, accumulation=accumulation) == total == loader.total_steps


@pytest.mark.parametrize("accumulation", [1, 3, 7])
def test_the_steps_of_a_run_that_is_resumed_after_any_of_them_add_up(accumulation: int) -> None:
    def make() -> emprune.ArrayLoader:
        pruner = make_pruner(50, num_epochs=3, tail_epochs=1)
        return emprune.ArrayLoader((torch.arange(50),), pruner, batch_size=2, accumulation=accumulation)

    def steps_of(loader: emprune.ArrayLoader) -> Iterator[int]:
        """Step as the guide's loop does; yield the batches of each step."""
        held = 0
        for index, _ in loader.batches():
            loader.reduce(index, loss_of(index))
            held += 1
            if loader.ends_step:
                yield held
                held = 0
        assert held == 0

    whole = list(steps_of(make()))
    assert len(whole) == make().total_steps
    for stop in range(1, len(whole)):
        loader, resumed = make(), make()
        first = list(islice(steps_of(loader), stop))
        resumed.load_state_dict(loader.state_dict())
        assert first + list(steps_of(resumed)) == whole


def test_no_step_ends_before_the_first_batch() -> None:
    loader = make_loader(make_pruner())
    assert not loader.ends_step
    loader.set_epoch(0)
    assert not loader.ends_step


def test_pruned_epochs_are_whole_accumulation_windows() -> None:
    pruner = make_pruner(100, num_epochs=6, keep=0.4, tail_epochs=0)
    loader = emprune.ArrayLoader((torch.arange(100),), pruner, batch_size=4, accumulation=3)
    for epoch in range(6):
        loader.set_epoch(epoch)
        assert len(pruner.plan) % 12 == 0
        train(pruner, loader)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_global_generators_and_their_streams_are_left_alone(num_workers: int) -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002

    def run(*, pruned: bool) -> list[tuple[float, float, float]]:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        drawn = [draw()]
        pruner = make_pruner(num_epochs=2, tail_epochs=0)
        loader = make_loader(pruner, shuffle=True, num_workers=num_workers) if pruned else None
        drawn.append(draw())
        for epoch in range(2):
            if loader is not None:
                _ = len(loader), loader.total_steps
                loader.set_epoch(epoch)
            drawn.append(draw())
            if loader is not None:
                iterator = iter(loader)
                index, _ = next(iterator)
                drawn.append(draw())
                for index, _ in iterator:
                    pruner.reduce(index, loss_of(index))
                _ = loader.state_dict(), pruner.state_dict()
            else:
                drawn.append(draw())
        return [*drawn, draw()]

    with torch.random.fork_rng(devices=[]):
        assert run(pruned=True) == run(pruned=False)


def _drawn(seed: int, *, epochs: Sequence[int] = (0, 1), **options: Any) -> list[list[int]]:
    """What the workers drew from their own global generators, by epoch, for batches in the plan's order."""
    pruner = make_pruner(num_epochs=3, seed=seed)
    loader = make_loader(pruner, Draws(22), num_workers=2, **options)
    numbers = []
    for epoch in range(max(epochs) + 1):
        loader.set_epoch(epoch)
        pruner.observe(pruner.plan.index, loss_of(pruner.plan.index))
        if epoch in epochs:
            numbers.append([number for _, batch in loader for number in batch[:, 1].tolist()])
    return numbers


def test_workers_draw_by_the_pruners_seed_and_the_epoch() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, second = _drawn(0)
        torch.manual_seed(2)
        assert _drawn(0, epochs=[1]) == [second]
    other = _drawn(1, epochs=[0])[0]
    assert first[0] != second[0]
    assert first[0] != other[0]


def test_workers_draw_by_the_users_generator_where_there_is_one() -> None:
    first = _drawn(0, epochs=[0], generator=torch.Generator().manual_seed(5))
    assert _drawn(0, epochs=[0], generator=torch.Generator().manual_seed(5)) == first
    assert _drawn(0, epochs=[0], generator=torch.Generator().manual_seed(6))[0][0] != first[0][0]
