"""What a user gives for each row reaches the row's sample, whatever TRL has dropped and shuffled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import emprune

pytest.importorskip("trl", reason="needs emprune[trl]")

from trl.trainer.reward_config import RewardConfig
from trl.trainer.sft_config import SFTConfig

from emprune.errors import ConfigError
from emprune.integrations.trl import PrunedRewardTrainer, PrunedSFTTrainer
from tests.integration.tuning import completions, make_config, make_lm, make_scorer, make_tokenizer, pairs, texts
from tests.messages import Raises

NUM_ROWS = 24
KEPT = [row for row in range(NUM_ROWS) if row % 12 + 2 < 10]
"""The rows that `max_length=10` leaves, whose prompts have fewer words."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # TRL's trainers report their use


def make_trainer(folder: Path, *, data: Any = None, method: str = "greedy", keep: float = 0.5, **given: Any) -> Any:
    """A trainer on 16 of 24 rows, shuffled; what `SFTConfig` takes is in `config`."""
    options = {"max_length": 10, "shuffle_dataset": True} | given.pop("config", {})
    config = make_config(SFTConfig, folder, **options)
    prune = {"method": method, "keep": keep, **given}
    data = completions() if data is None else data
    return PrunedSFTTrainer(make_lm(), args=config, train_dataset=data, processing_class=make_tokenizer(), **prune)


@pytest.mark.parametrize("form", [list, np.asarray, torch.tensor], ids=["list", "array", "tensor"])
def test_each_sample_has_the_values_of_its_row(tmp_path: Path, form: Any) -> None:
    lengths, weights = form([row * 10 for row in range(NUM_ROWS)]), form([row + 1.0 for row in range(NUM_ROWS)])
    trainer = make_trainer(tmp_path, lengths=lengths, weights=weights)
    rows = trainer.rows
    assert sorted(rows.tolist()) == KEPT != rows.tolist()
    assert trainer.pruner.lengths.equal(rows * 10)
    expected = (rows + 1) / (rows + 1).max()
    torch.testing.assert_close(trainer.pruner.plan_options.weights, expected)


def test_a_group_of_which_every_row_was_dropped_needs_no_quota(tmp_path: Path) -> None:
    names = ["long" if row not in KEPT else ("a", "b")[row % 2] for row in range(NUM_ROWS)]
    groups = emprune.Groups(names, quota={"a": 1, "b": 2, "long": 3})
    assert make_trainer(tmp_path, groups=groups).pruner.plan_options.groups.quota == {"a": 1, "b": 2}


@pytest.mark.parametrize("as_groups", [False, True])
def test_quotas_hold_for_the_groups_of_the_rows(tmp_path: Path, as_groups: bool) -> None:
    names = [("few", "many")[row % 4 > 0] for row in range(NUM_ROWS)]
    groups = emprune.Groups(names, quota="equal") if as_groups else np.array(names)
    trainer = make_trainer(tmp_path, groups=groups)
    found = trainer.pruner.plan_options.groups
    assert [found.names[code] for code in found.codes] == [names[row] for row in trainer.rows]
    assert found.quota == ("equal" if as_groups else "proportional")
    trainer.train()
    kept = [names[row] for row in trainer.rows[trainer.pruner.plan.index]]
    assert kept.count("few") == (4 if as_groups else 2)


@pytest.mark.parametrize("pinned", [[5, 1], torch.isin(torch.arange(NUM_ROWS), torch.tensor([1, 5]))])
def test_pinned_rows_are_in_every_epoch(tmp_path: Path, pinned: Any) -> None:
    trainer = make_trainer(tmp_path, pinned=pinned)
    trainer.train()
    visits = dict(zip(trainer.rows.tolist(), trainer.pruner.visits.tolist(), strict=True))
    assert visits[1] == visits[5] == trainer.pruner.num_epochs == 3


def test_pairs_have_the_values_of_their_rows(tmp_path: Path) -> None:
    config = make_config(RewardConfig, tmp_path, max_length=10)
    data: dict[str, Any] = {"train_dataset": pairs(), "processing_class": make_tokenizer()}
    lengths = list(range(NUM_ROWS))
    trainer: Any = PrunedRewardTrainer(make_scorer(), args=config, method="greedy", keep=0.5, lengths=lengths, **data)
    assert len(trainer.rows) < NUM_ROWS
    assert trainer.pruner.lengths.equal(trainer.rows)


@pytest.mark.parametrize("as_file", [False, True])
def test_a_run_starts_from_an_earlier_runs_rows(tmp_path: Path, as_file: bool) -> None:
    """The earlier run had another order and fewer rows; rows that it did not have are unseen."""
    earlier = make_trainer(tmp_path, config={"max_length": 8, "seed": 7, "data_seed": None}, keep=1.0, data_key="data")
    earlier.train()
    frame = earlier.to_frame()
    initial: Any = frame.sort_values("loss")
    if as_file:
        initial = tmp_path / "scores.parquet"
        frame.to_parquet(initial)
    trainer = make_trainer(tmp_path, initial=initial, data_key="data")
    assert trainer.rows.tolist() != earlier.rows.tolist()
    expected = dict(zip(frame["row"], frame["loss"], strict=True))
    stats = trainer.pruner.stats
    assert int(stats.seen.sum()) == len(expected) < len(trainer.rows)
    for row, seen, loss in zip(trainer.rows.tolist(), stats.seen, stats["loss"].tolist(), strict=True):
        assert bool(seen) == (row in expected)
        assert not seen or loss == pytest.approx(expected[row])


def test_where_no_row_has_moved_a_state_will_do(tmp_path: Path, raises: Raises) -> None:
    whole: dict[str, Any] = {"data": texts(), "config": {"shuffle_dataset": False, "max_length": 32}}
    earlier = make_trainer(tmp_path, **whole)
    earlier.train()
    state = earlier.pruner.state_dict()
    trainer = make_trainer(tmp_path, initial=state, **whole)
    assert trainer.pruner.stats["loss"][0] == earlier.pruner.stats["loss"][0]
    with raises(ConfigError, parameter="initial", value="16 of 24"):
        make_trainer(tmp_path, initial=state)
    frame = earlier.to_frame()
    with raises(ConfigError, parameter="initial", value="1 to 24"):
        make_trainer(tmp_path, initial=frame.assign(row=frame["row"] + 1))


def test_values_that_are_not_for_each_row_are_refused_with_both_numbers(tmp_path: Path, raises: Raises) -> None:
    given: dict[str, Any] = {
        "lengths": [1] * 16,
        "weights": torch.ones(16),
        "groups": emprune.Groups([1, 2] * 8),
        "pinned": torch.arange(16) == 0,
    }
    for name, values in given.items():
        with raises(ConfigError, parameter=name, value=16) as caught:
            make_trainer(tmp_path, **{name: values})
        assert "24" in str(caught.value)
    with raises(ConfigError, parameter="lengths", value=-1):
        make_trainer(tmp_path, lengths=[-1] * NUM_ROWS)
    with raises(ConfigError, parameter="pinned", value="row 8"):
        make_trainer(tmp_path, pinned=[0, 8, 20])


def test_packed_rows_have_no_values_of_rows(tmp_path: Path, raises: Raises) -> None:
    config = {"packing": True, "max_length": 16}
    with raises(ConfigError, parameter="lengths", value=True):
        make_trainer(tmp_path, data=texts(), method="random-permutation", config=config, lengths=[1] * NUM_ROWS)
