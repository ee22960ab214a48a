"""What an error advises is possible: every suggestion is followed, and accepted."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import emprune
from emprune.schedule import Schedule

Call = Callable[..., object]
RUN = ("num_samples", "num_epochs", "keep", "warmup_epochs", "tail_epochs")


@st.composite
def requests(draw: st.DrawFn, *, max_samples: int = 200, max_epochs: int = 20) -> dict[str, Any]:
    """Settings of a run, most of which are impossible."""
    num_samples = draw(st.integers(1, max_samples))
    keep = st.sampled_from([0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.95, 0.999, 1.0]) | st.floats(1e-6, 1)
    few = st.integers(0, 3) | st.integers(0, max_epochs + 2)
    return {
        "num_samples": num_samples,
        "num_epochs": draw(st.integers(1, max_epochs)),
        "keep": draw(keep),
        "warmup_epochs": draw(few),
        "tail_epochs": draw(few),
    }


batches = st.fixed_dictionaries({"world_size": st.sampled_from([1, 1, 2, 3, 4, 7, 300]), "drop_last": st.booleans()})
sizes = st.sampled_from([1, 2, 3, 5, 8, 16, 64, 500])


def refusal(call: Call, given: dict[str, Any]) -> emprune.ConfigError | None:
    """The error that a request gets, if it gets one."""
    try:
        call(**given)
    except emprune.ConfigError as error:
        return error
    return None


def follow(call: Call, given: dict[str, Any], *, steps: int = 1) -> None:
    """Make a request; while it is refused, make it as the error suggests, at most so often."""
    error = refusal(call, given)
    for _ in range(steps):
        if error is None:
            return
        assert error.suggestion, error
        assert f"`{error.parameter}`" in str(error)
        assert all(f"{name}={value!r}" in str(error) for name, value in error.suggestion.items())
        assert any(given.get(name, 0) != value for name, value in error.suggestion.items())
        given = {**given, **error.suggestion}
        error = refusal(call, given)
    assert error is None, f"Refused again: {given}: {error}"


@given(requests())
def test_of_a_schedule(request: dict[str, Any]) -> None:
    follow(Schedule, request)


def plan(*, multiple_of: int, world_size: int, drop_last: bool, **run: Any) -> object:
    return Schedule(**run).num_kept_per_epoch(multiple_of=multiple_of, world_size=world_size, drop_last=drop_last)


def count(*, batch_size: int, accumulation: int, world_size: int, drop_last: bool, **run: Any) -> object:
    return Schedule(**run).steps_per_epoch(
        batch_size=batch_size, accumulation=accumulation, world_size=world_size, drop_last=drop_last
    )


def possible(request: dict[str, Any]) -> bool:
    try:
        Schedule(**request)
    except emprune.ConfigError:
        return False
    return True


@given(requests().filter(possible), batches, sizes)
def test_of_the_quantum(request: dict[str, Any], batches: dict[str, Any], multiple_of: int) -> None:
    follow(plan, {**request, **batches, "multiple_of": multiple_of})


@given(requests().filter(possible), batches, sizes, st.integers(1, 4))
def test_of_batches(request: dict[str, Any], batches: dict[str, Any], batch_size: int, accumulation: int) -> None:
    follow(count, {**request, **batches, "batch_size": batch_size, "accumulation": accumulation})


@given(requests(), batches, st.integers(1, 300), sizes)
def test_of_a_budget_in_steps(request: dict[str, Any], batches: dict[str, Any], num_steps: int, quantum: int) -> None:
    del request["num_epochs"]
    follow(Schedule.for_steps, {**request, **batches, "num_steps": num_steps, "samples_per_step": quantum})


@given(requests(), batches, st.integers(1, 100), sizes)
def test_of_steps_in_given_epochs(request: dict[str, Any], batches: dict[str, Any], num_steps: int, size: int) -> None:
    assume(possible({**request, "num_steps": num_steps}))
    follow(plan, {**request, **batches, "num_steps": num_steps, "multiple_of": size * batches["world_size"]})


def begin(*, multiple_of: int, drop_last: bool, **run: Any) -> object:
    return emprune.DataPruner(emprune.Random(), **run).begin_epoch(0, multiple_of=multiple_of, drop_last=drop_last)


@given(requests().filter(possible), st.booleans(), sizes)
def test_of_a_pruner(request: dict[str, Any], drop_last: bool, multiple_of: int) -> None:
    follow(begin, {**request, "multiple_of": multiple_of, "drop_last": drop_last})


def load(*, num_samples: int, batch_size: int, accumulation: int, drop_last: bool, **run: Any) -> object:
    pruner = emprune.DataPruner(emprune.Random(), num_samples=num_samples, **run)
    data = (torch.arange(num_samples),)
    return emprune.ArrayLoader(
        data, pruner, batch_size=batch_size, accumulation=accumulation, drop_last=drop_last
    ).total_steps


@given(requests().filter(possible), st.booleans(), sizes, st.integers(1, 3))
def test_of_a_loader(request: dict[str, Any], drop_last: bool, batch_size: int, accumulation: int) -> None:
    follow(load, {**request, "batch_size": batch_size, "accumulation": accumulation, "drop_last": drop_last})


def shard(*, world_size: int, multiple_of: int, drop_last: bool, **run: Any) -> object:
    plan = begin(multiple_of=multiple_of, drop_last=drop_last, **run)
    assert isinstance(plan, emprune.EpochPlan)
    return [plan.shard(rank, world_size) for rank in range(world_size)]


@given(requests().filter(possible), st.integers(2, 8), sizes)
def test_of_shards(request: dict[str, Any], world_size: int, multiple_of: int) -> None:
    """Where the run can be divided at all: a plan knows no run."""
    assume(refusal(plan, {**request, "world_size": 1, "multiple_of": world_size, "drop_last": True}) is None)
    follow(shard, {**request, "world_size": world_size, "multiple_of": multiple_of, "drop_last": False})
