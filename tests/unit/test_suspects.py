"""Samples that look mislabelled, and samples that were always easy."""

import dataclasses
import functools
import sys
from typing import Any

import pandas as pd
import pytest
import torch

import emprune
from emprune.testing import SyntheticTask, assert_same_state, run_epochs
from tests.messages import Raises
from tests.unit.support import after_full_epoch, make_pruner, observe

LOSS = torch.tensor([0.1, 2.0, 0.7, 1.5, 0.05, 3.0, 1.0, 0.4, 2.5, 0.9])
TASK = SyntheticTask(num_samples=10)


def known(record: Any = None) -> emprune.DataPruner:
    pruner = emprune.DataPruner("greedy", num_samples=10, num_epochs=4, keep=0.6, record=record)
    run_epochs(pruner, TASK, multiple_of=1)
    pruner.sync()
    return pruner


def by_hand() -> emprune.DataPruner:
    pruner = after_full_epoch(emprune.Greedy(), LOSS, num_kept=3)
    pruner.sync()
    return pruner


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_does_not_matter(dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = [by_hand().suspects(3), by_hand().redundant(3)]
    finally:
        torch.set_default_dtype(before)
    expected = [by_hand().suspects(3), by_hand().redundant(3)]
    assert [each.index.tolist() for each in found] == [each.index.tolist() for each in expected]
    assert all(each.quality.equal(other.quality) for each, other in zip(found, expected, strict=True))


def test_by_the_last_loss_worked_out_by_hand() -> None:
    found = by_hand().suspects(3)
    assert found.index.tolist() == [5, 8, 1]
    assert found.score.tolist() == pytest.approx([1.0, 0.9, 0.8])
    assert found.by == ("loss",)
    assert found.quality.tolist() == pytest.approx([0.8, 0.2, 0.6, 0.3, 0.9, 0.0, 0.4, 0.7, 0.1, 0.5])
    assert found.mask.nonzero().flatten().tolist() == [1, 5, 8]
    assert found.rest.tolist() == [0, 2, 3, 4, 6, 7, 9]
    assert found.signals["loss"].tolist() == [3.0, 2.5, 2.0]
    assert (len(found), found.num_samples, found.num_unseen) == (3, 10, 0)
    assert by_hand().redundant(2).index.tolist() == [4, 0]


def test_what_is_recorded_ranks_unless_a_signal_is_named() -> None:
    pruner = known("all")
    margin, loss = pruner.stats["mean_margin"], pruner.stats["loss"]
    assert pruner.suspects(10).index.tolist() == margin.argsort().tolist()
    assert pruner.suspects(10, by="loss").index.tolist() == loss.argsort(descending=True).tolist()
    assert known(["mean_loss", "predicted"]).suspects(1).by == ("mean_loss",)
    assert pruner.redundant(1).by == ("mean_loss", "mean_margin", "first_learnt", "forgotten")
    assert list(pruner.suspects(2).signals) == [
        *("mean_margin", "mean_loss", "loss", "first_learnt", "forgotten", "predicted", "visits")
    ]


def test_redundant_is_the_mean_of_the_ranks() -> None:
    pruner = known("all")
    frame = pruner.to_frame()
    learnt = frame["first_learnt"].astype(float).where(frame["first_learnt"] >= 0, float("inf"))
    ranks = pd.concat(
        [
            (-frame["mean_loss"]).rank(),
            frame["mean_margin"].rank(),
            (-learnt).rank(),
            (-frame["forgotten"]).rank(),
        ],
        axis=1,
    )
    expected = ranks.mean(axis=1) / 10
    found = pruner.redundant(10)
    assert found.score.tolist() == pytest.approx(expected[found.index.tolist()].tolist())
    assert found.score.tolist() == sorted(found.score.tolist(), reverse=True)


def test_what_was_never_seen_is_not_ranked() -> None:
    pruner = make_pruner()
    pruner.begin_epoch(0)
    observe(pruner, LOSS)
    pruner.sync()
    found = pruner.suspects(5)
    assert sorted(found.index.tolist()) == sorted(pruner.plan.index.tolist())
    assert found.num_unseen == 5
    assert found.quality[~pruner.kept].tolist() == [1.0] * 5
    assert "5 were never seen" in str(found)


@pytest.mark.parametrize("k", [0, 6, 2.5])
def test_how_many_there_can_be(raises: Raises, k: Any) -> None:
    pruner = make_pruner()
    pruner.begin_epoch(0)
    observe(pruner, LOSS)
    pruner.sync()
    with raises(emprune.ConfigError, parameter="k", value=k):
        pruner.suspects(k)


def test_a_signal_that_was_not_recorded(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="by", value="mean_loss"):
        by_hand().suspects(3, by="mean_loss")


def test_losses_that_were_not_measured(raises: Raises) -> None:
    pruner = after_full_epoch(emprune.Greedy(), torch.zeros(4), num_kept=2)
    pruner.sync()
    with raises(emprune.ConfigError, parameter="record"):
        pruner.suspects(2)


def test_equal_samples_are_ranked_at_random_and_always_alike() -> None:
    orders = set()
    for seed in range(5):
        pruner = after_full_epoch(emprune.Greedy(), torch.ones(6), num_kept=2, seed=seed)
        pruner.sync()
        found = pruner.suspects(6)
        assert found.index.tolist() == pruner.suspects(6).index.tolist()
        assert found.score.tolist() == pytest.approx([3.5 / 6] * 6)
        orders.add(tuple(found.index.tolist()))
    assert len(orders) > 1


def test_the_table_and_the_text() -> None:
    found = known("all").suspects(3)
    frame = found.to_frame()
    assert frame.index.name == "position"
    assert frame.index.tolist() == found.index.tolist()
    assert list(frame.columns) == ["score", *found.signals]
    assert str(found).startswith("3 of 10 samples, ranked by mean_margin\n")
    assert len(str(found).split("\n")) == 6  # what it is, two lines of the head, three samples
    assert repr(found) == str(found)


def test_without_pandas_the_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        by_hand().suspects(2).to_frame()


def test_a_run_on_the_rest_alone() -> None:
    found = by_hand().suspects(3)
    pruner = emprune.DataPruner(emprune.methods.StaticSubset(found.quality), num_samples=10, num_epochs=2, keep=0.7)
    assert sorted(pruner.begin_epoch(0).index.tolist()) == found.rest.tolist()


def test_asking_changes_nothing() -> None:
    pruner = known("all")
    before = pruner.state_dict()
    pruner.suspects(3).quality.zero_()
    pruner.redundant(3).signals["visits"].zero_()
    assert_same_state(pruner.state_dict(), before)


def test_it_prints_in_80_columns_with_every_signal() -> None:
    found = known("all").suspects(10)
    signals = {
        name: -1.23456e-5 * (1 + values) if values.is_floating_point() else values + 10_000
        for name, values in found.signals.items()
    }
    lines = str(dataclasses.replace(found, index=torch.arange(10) + 99_999_980, signals=signals)).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 13  # what it is, two of the head, ten samples
    assert lines[2].split() == ["position", "score", *(name.rpartition("_")[2] for name in signals)]


def test_a_dataset_without_the_suspects_keeps_the_others_in_order(raises: Raises) -> None:
    found = by_hand().suspects(3)
    assert list(found.remove_from(range(10))) == [0, 2, 3, 4, 6, 7, 9]
    with raises(emprune.ConfigError, parameter="dataset"):
        found.remove_from(range(9))


def test_of_a_hugging_face_dataset_a_dataset_is_left() -> None:
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    left = by_hand().suspects(3).remove_from(datasets.Dataset.from_dict({"x": list(range(10))}))
    assert isinstance(left, datasets.Dataset)
    assert list(left["x"]) == [0, 2, 3, 4, 6, 7, 9]


def test_a_run_on_the_static_subset_never_visits_a_suspect(raises: Raises) -> None:
    found = by_hand().suspects(3)
    pruner = make_pruner(found.static_subset(), keep=found.keep_rest(multiple_of=2))
    plan = pruner.begin_epoch(0, multiple_of=2)
    assert len(plan) == 6
    assert set(plan.index.tolist()).isdisjoint({5, 8, 1})
    assert found.keep_rest() == 0.7
    with raises(emprune.ConfigError, parameter="multiple_of", value=8):
        found.keep_rest(multiple_of=8)


def test_cleanlabs_table_of_label_issues(raises: Raises) -> None:
    pruner = known("all")
    found = pruner.suspects(3)
    table = found.to_cleanlab(torch.arange(10) % 5)
    assert list(table.columns) == ["is_label_issue", "label_quality", "given_label", "predicted_label"]
    assert table["is_label_issue"].dtype == bool
    assert table.index[table["is_label_issue"]].tolist() == sorted(found.index.tolist())
    assert table["label_quality"].idxmin() == int(found.index[0])
    assert table["predicted_label"].tolist() == pruner.stats["predicted"].tolist()
    assert list(known().suspects(3).to_cleanlab().columns) == ["is_label_issue", "label_quality"]
    with raises(emprune.ConfigError, parameter="labels"):
        found.to_cleanlab([0.5] * 10)


@pytest.mark.parametrize("options", [{"record": "all"}, {"record": "predicted"}, {"guard": 2}])
def test_what_predicts_no_class_is_refused_before_any_training(options: dict[str, Any], raises: Raises) -> None:
    for memory in ("view_alignment", functools.partial(emprune.memory.instance_entropy, temperature=0.1)):
        method = emprune.EMP(memory=memory)
        with raises(emprune.ConfigError, parameter=next(iter(options))):
            emprune.DataPruner(method, num_samples=10, num_epochs=4, keep=0.5, **options)
        emprune.DataPruner(method, num_samples=10, num_epochs=4, keep=0.5, record="mean_loss")
