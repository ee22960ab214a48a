"""`emp:pool=gap` in the lab: the gap is that of the scored parts, from the first epoch on, and is refused without."""

from pathlib import Path
from typing import Any

import pytest
from emprune_lab.errors import StoppedError
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.training import PROBE_SIZE, evenly, num_scored, scored_epochs

from emprune.errors import ConfigError
from tests.distributed.pool import RankPool
from tests.lab.runs import assert_equal_runs, log, outcome, run_of, run_small, small_settings, training_of
from tests.messages import Raises


def gap_settings(**changes: Any) -> Any:
    return small_settings("emp:pool=gap", **{"validation": 0.25, "epochs": 6, **changes})


def gaps(path: Path) -> list[float]:
    """The gap after each epoch, as the log has it."""
    return [record["validation_loss"] - record["probe_loss"] for record in log(path)]


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"label_smoothing": 0.2, "label_noise": 0.2}], ids=str)
def test_the_gap_is_that_of_the_scored_parts(changes: dict[str, Any], tmp_path: Path) -> None:
    trained = run_small(gap_settings(**changes), tmp_path)
    assert trained.pruner.gap == gaps(tmp_path)[-1]
    assert outcome(tmp_path)["probe_loss"] == log(tmp_path)[-1]["probe_loss"]


@pytest.mark.parametrize("stop_after", [1, 7, 13])
def test_a_stopped_run_goes_on_exactly(stop_after: int, tmp_path: Path) -> None:
    whole = run_small(gap_settings(), tmp_path / "whole")
    with pytest.raises(StoppedError):
        run_small(gap_settings(), tmp_path / "stopped", stop_after=stop_after)
    resumed = run_small(gap_settings(), tmp_path / "stopped")
    assert resumed.pruner.gap == whole.pruner.gap
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))


def test_a_long_run_is_scored_after_its_first_epoch_too() -> None:
    run = run_of(gap_settings(epochs=50))
    assert scored_epochs(run)["validation"] == scored_epochs(run)["probe"] == {0, *evenly(50, times=20)}
    other = run_of(small_settings("emp", validation=0.25, epochs=50))
    assert scored_epochs(other)["validation"] == evenly(50, times=20)
    assert num_scored(run) - num_scored(other) == run.sizes.validation + min(PROBE_SIZE, run.sizes.train)


def test_a_forecast_needs_no_scores() -> None:
    training: ArrayTraining = training_of(gap_settings(epochs=4, keep=0.3))
    assert training.time_steps().computing > 0


def test_it_is_refused_without_a_validation_part(raises: Raises) -> None:
    with raises(ConfigError, parameter="validation", value=0.0):
        gap_settings(validation=0.0)


def test_it_is_refused_where_the_end_alone_is_scored(raises: Raises) -> None:
    with raises(ConfigError, parameter="pool"):
        gap_settings(task="simclr-digits")


def train_on_ranks(path: Path) -> tuple[float | None, str]:
    """Return the gap at the end, and the last plan."""
    training = run_small(gap_settings(), path / str(training_rank()))
    return training.pruner.gap, training.pruner.plan.fingerprint


def training_rank() -> int:
    """Ranks other than the first have a folder of their own, in which they write nothing."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0


@pytest.mark.distributed
def test_the_first_ranks_scores_are_every_ranks_gap(ranks: RankPool, tmp_path: Path) -> None:
    first, second = ranks.run(train_on_ranks, tmp_path, world_size=2)
    assert first == second
    assert first[0] == gaps(tmp_path / "0")[-1]
