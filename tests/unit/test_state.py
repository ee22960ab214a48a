"""Saving and loading: what is in a state, what a pruner makes of it, and what it refuses."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import emprune
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, through_disk, train_epoch
from tests.messages import ANY, Raises
from tests.unit.support import as_memory, inf, nan

State = dict[str, Any]
RUN: dict[str, Any] = {"num_samples": 40, "num_epochs": 8, "keep": 0.5, "seed": 3}
TASK = SyntheticTask(num_samples=40)
STATEFUL = [emprune.InfoBatch(delta=1.0), emprune.EMP(beta=2.0), emprune.EMP(pool="gap"), emprune.Random()]


def first_logit(logits: Tensor) -> Tensor:
    """A memory term of one's own."""
    return logits[:, 0]


def pruner_of(method: emprune.Method | None = None, **changes: Any) -> emprune.DataPruner:
    return emprune.DataPruner(method or emprune.EMP(beta=2.0), **{**RUN, **changes})


def saved(method: emprune.Method | None = None, *, epochs: int = 3, **changes: Any) -> State:
    """A state in the middle of an epoch, with pending observations, as it comes back from a file."""
    pruner = pruner_of(method, **changes)
    run_epochs(pruner, TASK, multiple_of=1, stop=epochs)
    pruner.begin_epoch(epochs)
    train_epoch(pruner, TASK, stop=8)
    state: State = through_disk(pruner.state_dict())
    return state


def test_a_state_holds_plain_values_and_tensors_only() -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for part in value.values():
                check(part)
        elif isinstance(value, list):
            for part in value:
                check(part)
        else:
            assert value is None or type(value) in (bool, int, float, str) or type(value) is Tensor

    state = saved()
    check(state)
    swept = pruner_of(emprune.EMP(beta=np.float64(2.0), pool=np.linspace(1, 2, 3)[2]), keep=np.linspace(0.1, 0.5, 3)[2])
    check(swept.state_dict())
    assert through_disk(swept.state_dict())["settings"]["keep"] == 0.5
    assert state["format_version"] == 2
    assert state["settings"] == {
        "method": {"name": "emp", "beta": 2.0, "memory": "prediction_entropy", "pool": 2.0},
        "num_samples": 40,
        "num_epochs": 8,
        "num_steps": None,
        "keep": 0.5,
        "warmup_epochs": 0,
        "tail_epochs": 0,
        "seed": 3,
        "lengths": None,
        "groups": None,
        "weights": None,
        "pinned": None,
        "guard": None,
        "data_key": None,
        "record": None,
    }


def _layout(state: object) -> object:
    """A state with each value replaced by what must not change during a run: keys, shapes, dtypes, kinds."""
    if isinstance(state, dict):
        return {name: _layout(value) for name, value in state.items()}
    return (state.dtype, state.shape) if isinstance(state, Tensor) else "a value"


@pytest.mark.parametrize("method", STATEFUL)
def test_keys_shapes_and_dtypes_are_the_same_at_every_moment(method: emprune.Method) -> None:
    """Or torch.distributed.checkpoint could not load into what a new pruner would save."""
    pruner = pruner_of(method)
    layout = _layout(pruner.state_dict())
    for epoch in range(3):
        pruner.begin_epoch(epoch)
        assert _layout(pruner.state_dict()) == layout
        train_epoch(pruner, TASK, stop=8)
        assert _layout(pruner.state_dict()) == layout
        train_epoch(pruner, TASK, start=8)


def test_saving_folds_what_is_pending_and_changes_nothing_else() -> None:
    saving, plain = pruner_of(), pruner_of()
    for epoch in range(4):
        assert saving.begin_epoch(epoch) == plain.begin_epoch(epoch)
        for start in range(0, 20, 5):
            for pruner in (saving, plain):
                train_epoch(pruner, TASK, batch_size=5, start=start, stop=start + 5)
            saving.state_dict()
    assert_same_state(saving.state_dict(), plain.state_dict())


def test_the_current_plan_is_the_saved_one_and_stays_one_object() -> None:
    whole = pruner_of()
    run_epochs(whole, TASK, multiple_of=1, stop=3)
    plan = whole.begin_epoch(3)
    train_epoch(whole, TASK, stop=8)
    resumed = pruner_of()
    resumed.load_state_dict(through_disk(whole.state_dict()))
    again = resumed.begin_epoch(3)
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    assert resumed.begin_epoch(3) is again
    assert resumed.epoch == 3


@pytest.mark.parametrize("method", STATEFUL, ids=str)
def test_the_run_goes_on_bit_equal(method: emprune.Method) -> None:
    whole = pruner_of(method)
    run_epochs(whole, TASK, multiple_of=1, stop=3)
    whole.begin_epoch(3)
    train_epoch(whole, TASK, stop=8)
    resumed = pruner_of(method)
    resumed.load_state_dict(through_disk(whole.state_dict()))
    assert resumed.weights(resumed.plan.index).equal(whole.weights(whole.plan.index))
    assert str(resumed.summary()) == str(whole.summary())
    for pruner in (whole, resumed):
        train_epoch(pruner, TASK, start=8)
    assert run_epochs(resumed, TASK, multiple_of=1) == run_epochs(whole, TASK, multiple_of=1)
    assert_same_state(resumed.state_dict(), whole.state_dict())


def test_a_state_saved_before_the_first_epoch_starts_at_it() -> None:
    resumed, fresh = pruner_of(), pruner_of()
    run_epochs(resumed, TASK, stop=2)
    resumed.load_state_dict(through_disk(pruner_of().state_dict()))
    assert resumed.epoch == -1
    assert run_epochs(resumed, TASK) == run_epochs(fresh, TASK)


def test_loading_replaces_whatever_was_there() -> None:
    state = saved()
    pruner = pruner_of()
    run_epochs(pruner, SyntheticTask(num_samples=40, seed=9))
    pruner.load_state_dict(state)
    assert_same_state(pruner.state_dict(), state)


def test_a_saved_state_does_not_change_any_more() -> None:
    pruner = pruner_of()
    run_epochs(pruner, TASK, multiple_of=1, stop=2)
    pruner.begin_epoch(2)
    train_epoch(pruner, TASK, stop=8)
    state = pruner.state_dict()
    copied = through_disk(state)
    train_epoch(pruner, TASK, start=8)
    run_epochs(pruner, TASK, multiple_of=1)
    assert_same_state(state, copied)


def test_a_loaded_state_is_not_written_to() -> None:
    state = saved()
    copied = through_disk(state)
    pruner = pruner_of()
    pruner.load_state_dict(state)
    train_epoch(pruner, TASK, start=8)
    run_epochs(pruner, TASK)
    assert_same_state(state, copied)


def test_loading_asks_for_observations_only_where_the_saved_epoch_had_none() -> None:
    silent = pruner_of()
    silent.begin_epoch(0)
    resumed = pruner_of()
    resumed.load_state_dict(through_disk(silent.state_dict()))
    with pytest.raises(emprune.errors.EpochError, match="saw no observation in the whole of epoch 0"):
        resumed.begin_epoch(1)


def _leaves(state: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path to each value of a state, and to each dictionary of them."""
    if path:
        yield path
    if isinstance(state, dict):
        for name, value in state.items():
            yield from _leaves(value, (*path, name))


def _changed(state: State, path: tuple[str, ...], value: object) -> State:
    """A copy of a state with one value replaced, or removed where it is `MISSING`."""
    changed = copy.deepcopy(state)
    where = changed
    for name in path[:-1]:
        where = where[name]
    if value is MISSING:
        del where[path[-1]]
    else:
        where[path[-1]] = value
    return changed


MISSING = object()
HOSTILE: tuple[object, ...] = (
    MISSING, None, True, -1, -2, 1, 7, 99, 10**9, 10**30, 0.5, nan, inf, "x", "", [], [1], [-1], [nan], [None] * 4,
    [10**9] * 4, {}, {"x": 1}, torch.zeros(40), torch.zeros(39), torch.zeros(40, dtype=torch.int64),
    torch.full((40,), 41, dtype=torch.int32), torch.full((40,), -2, dtype=torch.int32),
    torch.zeros(40, dtype=torch.int32), torch.arange(40, dtype=torch.int32), torch.full((40,), nan),
    torch.zeros(40).to_sparse(), torch.zeros(40, device="meta"), torch.full((40,), -5, dtype=torch.int8),
)  # fmt: skip


@pytest.mark.parametrize("path", list(_leaves(saved())), ids=".".join)
def test_a_damaged_state_is_refused_as_a_whole_or_is_good_to_go_on_with(path: tuple[str, ...]) -> None:
    state = saved()
    num_refused = 0
    for value in HOSTILE:
        pruner = pruner_of()
        run_epochs(pruner, TASK, multiple_of=1, stop=2)
        before = through_disk(pruner.state_dict())
        try:
            pruner.load_state_dict(_changed(state, path, value))
        except emprune.errors.StateError:
            num_refused += 1
            assert_same_state(pruner.state_dict(), before)
        else:
            train_epoch(pruner, TASK, start=8)
            run_epochs(pruner, TASK)
            assert pruner.epoch == 7
    assert num_refused >= 20


@pytest.mark.parametrize(
    ("state", "parameter", "value"),
    [
        ({}, "format_version", ANY),
        (None, "format_version", ANY),
        ({"state": {}, "param_groups": []}, "format_version", ANY),
        ({"format_version": 1, "run": {}}, "format_version", 1),
        ({"format_version": 3}, "format_version", 3),
        ({"format_version": 2, "epoch": 0}, None, ANY),
    ],
    ids=["empty", "None", "an optimizer's", "of 0.1", "of a later version", "a part"],
)
def test_what_is_no_state_is_refused_by_name(state: Any, parameter: str | None, value: Any, raises: Raises) -> None:
    pruner = pruner_of()
    with raises(emprune.errors.StateError, parameter=parameter, value=value):
        pruner.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"method": emprune.Greedy()}, "method"),
        ({"method": emprune.EMP(beta=1.0)}, "method"),
        ({"method": emprune.EMP(beta=2.0, memory=first_logit)}, "method"),
        ({"num_samples": 39}, "num_samples"),
        ({"num_epochs": 9}, "num_epochs"),
        ({"keep": 0.4}, "keep"),
        ({"seed": 4}, "seed"),
        ({"warmup_epochs": 1}, "warmup_epochs"),
        ({"tail_epochs": 1}, "tail_epochs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_state_of_another_run_is_refused(change: dict[str, Any], parameter: str, raises: Raises) -> None:
    pruner = pruner_of()
    run_epochs(pruner, TASK, multiple_of=1, stop=2)
    pruner.begin_epoch(2)
    train_epoch(pruner, TASK, stop=8)
    before = through_disk(pruner.state_dict())
    other = emprune.DataPruner(**{"method": emprune.EMP(beta=2.0), **RUN, **change})
    other.begin_epoch(0)
    with raises(emprune.errors.StateError, parameter=parameter):
        pruner.load_state_dict(through_disk(other.state_dict()))
    assert_same_state(pruner.state_dict(), before)


def test_values_given_per_sample_are_told_apart_from_others() -> None:
    ranking = torch.rand(40, generator=torch.Generator().manual_seed(0))
    state = saved(emprune.methods.StaticSubset(ranking))
    pruner_of(emprune.methods.StaticSubset(ranking.clone())).load_state_dict(state)
    with pytest.raises(emprune.errors.StateError, match="`method` is {.*'ranking': '.*'}, this run's is {.*'ranking'"):
        pruner_of(emprune.methods.StaticSubset(ranking.flip(0))).load_state_dict(state)
    state = saved(emprune.methods.ReducibleLoss(ranking))
    pruner_of(emprune.methods.ReducibleLoss(ranking.clone())).load_state_dict(state)
    with pytest.raises(emprune.errors.StateError, match="`method` is {.*'irreducible': '.*'}, this run's is {.*'irre"):
        pruner_of(emprune.methods.ReducibleLoss(ranking.flip(0))).load_state_dict(state)


def test_a_memory_term_by_name_or_as_a_function_is_the_same_run() -> None:
    state = saved(emprune.EMP(beta=2.0, memory=emprune.memory.prediction_entropy))
    pruner_of(emprune.EMP(beta=2.0, memory="prediction_entropy")).load_state_dict(state)


def test_functions_of_ones_own_are_known_by_their_names() -> None:
    method = emprune.EMP(memory=as_memory)
    assert method.settings()["memory"] == "tests.unit.support.as_memory"
    assert through_disk(method.settings()) == method.settings()


def test_what_was_made_or_loaded_in_inference_mode_is_as_any_other() -> None:
    with torch.inference_mode():
        made, loaded = pruner_of(), pruner_of()
        loaded.load_state_dict(saved())
    expected = pruner_of()
    expected.load_state_dict(saved())
    for pruner, other in ((made, pruner_of()), (loaded, expected)):
        assert run_epochs(pruner, TASK) == run_epochs(other, TASK)
