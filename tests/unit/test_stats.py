"""Columns: what is remembered, and how observations enter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import emprune
from emprune.columns import BASE_COLUMNS
from emprune.testing import assert_same_state, through_disk
from tests.messages import Raises


def test_every_method_remembers_visits_last_visit_and_loss() -> None:
    stats = emprune.methods.SampleStats(3, ())
    assert [column.name for column in stats.columns] == ["visits", "last_visit", "failures", "loss"]
    assert stats["visits"].tolist() == [0, 0, 0]
    assert stats["last_visit"].tolist() == [-1, -1, -1]
    assert bool(stats["loss"].isnan().all())
    assert stats.bytes_per_sample == 13
    assert not bool(stats.seen.any())


def test_own_columns_start_at_their_initial_value() -> None:
    stats = emprune.methods.SampleStats(2, (emprune.methods.Column("half", "a half", torch.float64, 0.5),))
    assert stats["half"].tolist() == [0.5, 0.5]
    assert stats["half"].dtype == torch.float64
    assert stats.bytes_per_sample == 21
    assert "half" in stats
    assert "whole" not in stats


def test_an_unknown_column_lists_what_exists() -> None:
    with pytest.raises(KeyError, match="No column 'half'; there are visits, last_visit, failures, loss"):
        emprune.methods.SampleStats(2, ())["half"]


@pytest.mark.parametrize("name", ["loss", "visits", "twice"])
def test_names_must_differ(name: str) -> None:
    columns = (emprune.methods.Column(name, "once"), emprune.methods.Column("twice", "again"))
    with pytest.raises(emprune.ConfigError, match="Column names must be unique"):
        emprune.methods.SampleStats(2, columns)


def test_a_fold_touches_only_what_was_observed() -> None:
    stats = emprune.methods.SampleStats(4, (emprune.methods.Column("sum", "of all losses"),))

    def add(old, new, first):  # type: ignore[no-untyped-def]
        return {"sum": old["sum"] + new["loss"]}

    stats.fold(0, torch.tensor([2, 0]), {"loss": torch.tensor([1.0, 5.0])}, add)
    stats.fold(1, torch.tensor([2, 3]), {"loss": torch.tensor([10.0, 7.0])}, add)
    assert stats["sum"].tolist() == [5, 0, 11, 7]
    assert stats["loss"].nan_to_num(-1).tolist() == [5, -1, 10, 7]
    assert stats["visits"].tolist() == [1, 0, 2, 1]
    assert stats["last_visit"].tolist() == [0, -1, 1, 1]
    assert stats.seen.tolist() == [True, False, True, True]


def test_a_fold_learns_which_samples_are_new() -> None:
    stats = emprune.methods.SampleStats(3, (emprune.methods.Column("new", "was it the first visit"),))
    fold = lambda old, new, first: {"new": first.float()}  # noqa: E731
    stats.fold(0, torch.tensor([1]), {"loss": torch.ones(1)}, fold)
    stats.fold(1, torch.tensor([0, 1]), {"loss": torch.ones(2)}, fold)
    assert stats["new"].tolist() == [1, 0, 0]
    stats.forget(torch.tensor([1]))
    stats.fold(2, torch.tensor([0, 1]), {"loss": torch.ones(2)}, fold)
    assert stats["new"].tolist() == [0, 1, 0]


def test_two_folds_in_one_epoch_are_one_visit() -> None:
    stats = emprune.methods.SampleStats(2, ())
    for _ in range(2):
        stats.fold(0, torch.tensor([1]), {"loss": torch.ones(1)}, lambda old, new, first: {})
    assert stats["visits"].tolist() == [0, 1]


def test_saved_columns_are_copies() -> None:
    stats = emprune.methods.SampleStats(2, ())
    state = stats.state_dict()
    state["visits"] += 1
    assert stats["visits"].tolist() == [0, 0]
    stats.load_state_dict(state)
    state["visits"] += 1
    assert stats["visits"].tolist() == [1, 1]


def test_what_is_remembered_is_what_the_table_says() -> None:
    assert {column.name: column.dtype.itemsize for column in BASE_COLUMNS} == {
        "visits": 4,
        "last_visit": 4,
        "failures": 1,
        "loss": 4,
    }
    own = {
        name: [c.name for c in emprune.methods.method_class(name).columns] for name in emprune.methods.method_names()
    }
    assert {name: columns for name, columns in own.items() if columns} == {
        "epsilon-greedy": ["mean"],
        "ucb": ["mean", "variance"],
        "emp": ["memory"],
    }


@dataclass(frozen=True)
class CountsMistakes(emprune.Greedy):
    """Remembers whether the last prediction was wrong, and how often it was: measured as a bool and as an integer."""

    columns: ClassVar[tuple[emprune.methods.Column, ...]] = (
        emprune.methods.Column("wrong", "whether the last prediction was wrong", torch.bool),
        emprune.methods.Column("mistakes", "wrong predictions so far", torch.int32),
    )

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        return {"wrong": outputs != 0, "one": (outputs != 0).int()}

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        return {"wrong": new["wrong"], "mistakes": old["mistakes"] + new["one"]}


def test_what_is_measured_may_be_of_any_dtype() -> None:
    pruner = emprune.DataPruner(CountsMistakes(), num_samples=3, num_epochs=2, keep=1)
    for predictions in ([0, 1, 2], [0, 0, 3]):
        index = pruner.begin_epoch(pruner.epoch + 1).index
        pruner.observe(index, torch.ones(3), torch.tensor(predictions)[index])
        measured = pruner._pending.gather()[1]
        assert {values.dtype for values in measured.values()} == {torch.float32}
    pruner.sync()
    assert pruner.stats["wrong"].tolist() == [False, False, True]
    assert pruner.stats["mistakes"].tolist() == [0, 1, 2]
    assert pruner.stats["mistakes"].dtype == torch.int32


@pytest.mark.parametrize("name", ["position", "score", "kept"])
def test_a_column_must_not_be_called_as_one_that_a_frame_adds(name: str, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="name", value=name):
        emprune.methods.Column(name, "a number")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
def test_a_column_must_be_of_a_dtype_that_numpy_orders(dtype: torch.dtype, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="dtype", value=dtype):
        emprune.methods.Column("margin", "a number", dtype)


@dataclass(frozen=True)
class ForgetsToMeasure(emprune.Greedy):
    columns: ClassVar[tuple[emprune.methods.Column, ...]] = (emprune.methods.Column("margin", "never measured"),)


@dataclass(frozen=True)
class ForgetsToFold(CountsMistakes):
    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        return {"wrong": new["wrong"]}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (ForgetsToMeasure(), r"must return every column of its own; got \['loss'\], without 'margin'\."),
        (ForgetsToFold(), r"must return every column of its own; got \['wrong'\], without 'mistakes'\."),
    ],
)
def test_a_column_that_is_forgotten_is_named(method: emprune.Method, message: str) -> None:
    pruner = emprune.DataPruner(method, num_samples=3, num_epochs=2, keep=1)
    pruner.observe(pruner.begin_epoch(0).index, torch.ones(3), torch.ones(3))
    before = through_disk(pruner.stats.state_dict())
    for fold in (pruner.sync, pruner.state_dict, lambda: pruner.begin_epoch(1)):
        with pytest.raises(emprune.errors.MethodError, match=message):
            fold()
    assert_same_state(pruner.stats.state_dict(), before)
