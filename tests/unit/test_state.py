"""Saving and loading: what is in a state, what a pruner makes of it, and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import emprune
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, through_disk, train_epoch
from tests.unit.support import as_memory

State = dict[str, Any]
RUN: dict[str, Any] = {"num_samples": 40, "num_epochs": 8, "keep": 0.5, "seed": 3}
TASK = SyntheticTask(num_samples=40)


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
        else:
            assert value is None or type(value) in (bool, int, float, str) or type(value) is Tensor

    state = saved()
    check(state)
    swept = pruner_of(emprune.EMP(beta=np.float64(2.0), pool=np.linspace(1, 2, 3)[2]), keep=np.linspace(0.1, 0.5, 3)[2])
    check(swept.state_dict())
    assert through_disk(swept.state_dict())["run"]["keep"] == 0.5
    assert state["format_version"] == 1
    assert state["run"] == {
        "method": "emp",
        "options": {"beta": 2.0, "memory": "prediction_entropy", "pool": 2.0},
        "num_samples": 40,
        "num_epochs": 8,
        "keep": 0.5,
        "warmup_epochs": 0,
        "tail_epochs": 0,
        "seed": 3,
    }


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


@pytest.mark.parametrize(
    "method", [emprune.InfoBatch(delta=1.0), emprune.EMP(beta=2.0), emprune.Random()], ids=lambda method: method.name
)
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


def without(part: str) -> Callable[[State], object]:
    return lambda state: {name: value for name, value in state.items() if name != part}


def with_column(name: str, values: Tensor | None) -> Callable[[State], object]:
    def change(state: State) -> object:
        columns = {key: value for key, value in state["columns"].items() if key != name}
        return {**state, "columns": columns if values is None else {**columns, name: values}}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {}, "This is not a pruner's state: got a dict without `format_version`. Pass what"),
        (lambda state: [state], "This is not a pruner's state: got a list without `format_version`"),
        (lambda state: None, "This is not a pruner's state: got a NoneType"),
        (lambda state: {"state": {}, "param_groups": []}, "This is not a pruner's state"),
        (lambda state: {"epoch": 3, "num_delivered": 8}, "This is not a pruner's state"),
        (
            lambda state: {**state, "format_version": 2},
            "The state has format version 2, this emprune reads version 1. Resume with the emprune it was written by.",
        ),
        (without("plan"), "The state lacks plan. Was it written by pruner.state_dict()?"),
        (without("run"), "The state lacks run"),
        (with_column("memory", None), "The saved columns are ['last_visit', 'loss', 'visits'], this method remembers"),
        (with_column("extra", torch.zeros(40)), "The saved columns are ['extra', 'last_visit', 'loss', 'memory'"),
        (with_column("memory", torch.zeros(41)), "The saved column 'memory' is (41,) torch.float32, this run's is (40"),
        (with_column("memory", torch.zeros(40).double()), "The saved column 'memory' is (40,) torch.float64, this"),
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(change: Callable[[State], Any], message: str) -> None:
    pruner = pruner_of()
    run_epochs(pruner, TASK, multiple_of=1, stop=2)
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.StateError) as caught:
        pruner.load_state_dict(change(saved()))
    assert message in str(caught.value)
    assert_same_state(pruner.state_dict(), before)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            lambda: saved(emprune.Greedy()),
            "The state's `method` is 'greedy', this pruner's is 'emp'. Resume with the method the run was started with",
        ),
        (
            lambda: saved(emprune.EMP(beta=1.0)),
            "The state's `options` is {'beta': 1.0, 'memory': 'prediction_entropy', 'pool': 2.0}, this pruner's is "
            "{'beta': 2.0, 'memory': 'prediction_entropy', 'pool': 2.0}. Resume with the options the run was "
            "started with.",
        ),
        (
            lambda: saved(emprune.EMP(beta=2.0, memory=first_logit)),
            "The state's `options` is {'beta': 2.0, 'memory': 'tests.unit.test_state.first_logit', 'pool': 2.0}",
        ),
        (
            lambda: saved(num_samples=39),
            "The state's `num_samples` is 39, this pruner's is 40. The dataset must be the one the run was "
            "started with.",
        ),
        (
            lambda: saved(num_epochs=9),
            "The state's `num_epochs` is 9, this pruner's is 8. The length of a run fixes its plan; start a new run to "
            "train longer.",
        ),
        (
            lambda: saved(keep=0.4),
            "The state's `keep` is 0.4, this pruner's is 0.5. The cost of a run is fixed at its start.",
        ),
        (
            lambda: saved(seed=4),
            "The state's `seed` is 4, this pruner's is 3. Resume with the seed the run was started with.",
        ),
        (
            lambda: saved(warmup_epochs=1),
            "The state's `warmup_epochs` is 1, this pruner's is 0. Resume with the warmup_epochs the run "
            "was started with.",
        ),
        (
            lambda: saved(tail_epochs=1),
            "The state's `tail_epochs` is 1, this pruner's is 0. Resume with the tail_epochs the run "
            "was started with.",
        ),
    ],
)  # fmt: skip
def test_a_state_of_another_run_is_refused(state: Callable[[], State], message: str) -> None:
    pruner = pruner_of()
    run_epochs(pruner, TASK, multiple_of=1, stop=2)
    pruner.begin_epoch(2)
    train_epoch(pruner, TASK, stop=8)
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.StateError) as caught:
        pruner.load_state_dict(state())
    assert str(caught.value).startswith(message)
    assert_same_state(pruner.state_dict(), before)


def test_a_ranking_is_told_apart_from_another() -> None:
    ranking = torch.rand(40, generator=torch.Generator().manual_seed(0))
    state = saved(emprune.methods.StaticSubset(ranking))
    pruner_of(emprune.methods.StaticSubset(ranking.clone())).load_state_dict(state)
    with pytest.raises(emprune.errors.StateError, match="`options` is {'ranking': '.*'}, this pruner's is {'ranking'"):
        pruner_of(emprune.methods.StaticSubset(ranking.flip(0))).load_state_dict(state)


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
