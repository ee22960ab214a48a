"""What can be read of a pruner at any time, and that reading changes nothing."""

import sys

import pandas as pd
import pytest
import torch

import emprune
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, train_epoch
from tests.unit.support import make_pruner, nan

TASK = SyntheticTask(num_samples=10)


def in_mid_run(method: emprune.Method | None = None) -> emprune.DataPruner:
    """Three epochs of 5 of 10 samples: all were seen, and the third is half observed."""
    pruner = make_pruner(method or emprune.EMP())
    run_epochs(pruner, TASK, multiple_of=1, stop=2)
    pruner.begin_epoch(2)
    train_epoch(pruner, TASK, batch_size=2, stop=2)
    return pruner


def test_the_table_has_a_row_a_sample_and_agrees_with_what_is_remembered() -> None:
    pruner = in_mid_run()
    frame = pruner.to_frame()
    assert list(frame.columns) == ["visits", "last_visit", "failures", "loss", "memory", "score", "kept"]
    assert frame.index.name == "position"
    assert frame.index.tolist() == list(range(10))
    assert frame["visits"].tolist() == pruner.visits.tolist()
    assert frame["visits"].sum() == 12  # what is pending counts
    assert frame["kept"].tolist() == pruner.kept.tolist()
    assert sorted(frame.index[frame["kept"]]) == sorted(pruner.plan.index.tolist())
    assert frame["score"].tolist() == pytest.approx((frame["loss"] + 3 * frame["memory"]).tolist())


def test_the_table_of_a_method_without_scores_and_before_the_first_epoch_has_what_there_is() -> None:
    frame = make_pruner(emprune.Random()).to_frame()
    assert list(frame.columns) == ["visits", "last_visit", "failures", "loss"]
    assert frame["loss"].isna().all()


def test_the_table_is_a_copy() -> None:
    pruner = in_mid_run()
    before = pruner.state_dict()
    frame = pruner.to_frame()
    frame.loc[:, ["loss", "memory"]] = -1.0
    frame.iloc[3, 0] = 99
    assert_same_state(pruner.state_dict(), before)


def test_without_pandas_the_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        in_mid_run().to_frame()


def test_scores_are_those_of_the_last_fold_and_nothing_where_never_seen() -> None:
    pruner = make_pruner(emprune.Greedy())
    index = pruner.begin_epoch(0).index
    pruner.observe(index, 1.0 + index)
    assert pruner.scores is not None
    assert bool(pruner.scores.isnan().all())
    pruner.sync()
    assert pruner.scores.nan_to_num(-1).tolist() == [1.0 + i if i in index.tolist() else -1 for i in range(10)]
    assert make_pruner(emprune.Random()).scores is None


def test_what_is_kept_is_the_current_plan() -> None:
    pruner = make_pruner()
    with pytest.raises(emprune.errors.EpochError, match="No epoch has begun"):
        _ = pruner.kept
    plan = pruner.begin_epoch(0)
    assert pruner.kept.nonzero().flatten().tolist() == sorted(plan.index.tolist())
    pruner.kept.fill_(True)
    assert int(pruner.kept.count_nonzero()) == 5


def test_the_history_has_a_record_of_each_epoch() -> None:
    pruner = in_mid_run()
    history = pruner.history
    assert [record["epoch"] for record in history] == [0, 1, 2]
    assert [record["num_kept"] for record in history] == [5, 5, 5]
    assert [record["churn"] for record in history] == [None, 1.0, pruner.churn]
    assert sum(record["planning_seconds"] for record in history) == pruner.planning_seconds > 0
    assert pd.DataFrame(history).shape == (3, 4)
    resumed = make_pruner(emprune.EMP())
    resumed.load_state_dict(pruner.state_dict())
    assert resumed.history == history
    assert make_pruner().history == []


def test_the_mean_loss_counts_each_seen_sample_once() -> None:
    pruner = make_pruner(num_epochs=6)
    assert pruner.mean_loss != pruner.mean_loss  # NaN: nothing is known
    for epoch in range(4):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, 10.0 * epoch + index)
    pruner.sync()
    last = pruner.stats["loss"]
    assert bool(pruner.stats.seen.all())
    assert pruner.mean_loss == pytest.approx(float(last.mean()))


def test_the_number_observed_is_of_the_current_epoch() -> None:
    pruner = make_pruner()
    assert pruner.num_observed == 0
    index = pruner.begin_epoch(0).index
    pruner.observe(index[:2], torch.ones(2))
    pruner.sync()
    pruner.observe(index[2:], torch.ones(3))
    assert pruner.num_observed == 5
    pruner.begin_epoch(1)
    assert pruner.num_observed == 0


def test_a_pruner_reads_as_what_it_is() -> None:
    pruner = emprune.DataPruner("greedy", num_samples=10, num_epochs=8, keep=0.5, warmup_epochs=1, tail_epochs=2)
    assert repr(pruner) == (
        "DataPruner(Greedy(), num_samples=10, num_epochs=8, keep=0.5, warmup_epochs=1, tail_epochs=2, seed=0: "
        "not begun)"
    )
    pruner.begin_epoch(0)
    assert repr(pruner).endswith("seed=0: in epoch 0)")
    assert repr(pruner.plan) == "EpochPlan(epoch=0, 10 of 10 samples)"
    assert repr(pruner.stats) == "SampleStats(10 samples, columns: visits, last_visit, failures, loss)"


def test_reading_changes_nothing() -> None:
    pruner, twin = in_mid_run(), in_mid_run()
    for _ in range(2):
        _ = pruner.to_frame(), pruner.scores, pruner.kept, pruner.history, pruner.mean_loss, pruner.visits
        _ = pruner.summary(), repr(pruner), pruner.churn, pruner.num_observed
    for each in (pruner, twin):
        train_epoch(each, TASK, start=2)
        run_epochs(each, TASK, multiple_of=1)
    assert_same_state(pruner.state_dict(), twin.state_dict())


@pytest.mark.parametrize("policy", ["skip", "revisit"])
def test_visits_count_an_epoch_once_though_its_observation_failed_before_a_save(policy: str) -> None:
    pruner = make_pruner(nonfinite=policy)
    index = pruner.begin_epoch(0).index
    for losses in (torch.full((5,), nan), torch.full((5,), nan), torch.ones(5), torch.full((5,), nan)):
        pruner.observe(index, losses)
        assert pruner.visits[index].tolist() == [1] * 5
        pruner.state_dict()
        assert pruner.visits[index].tolist() == [1] * 5
    pruner.begin_epoch(1)
    assert pruner.visits.tolist() == [int(i in index.tolist()) for i in range(10)]
