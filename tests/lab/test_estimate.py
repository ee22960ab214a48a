from pathlib import Path
from typing import Any

import pytest

from emprune.lab.drivers import num_scored
from emprune.lab.estimate import Forecast, Speed, forecast, measure_speed
from emprune.lab.session import Session
from emprune.lab.workers import load_splits
from tests.lab.runs import run_small, small_config

SPEED = Speed(start=10, loading=0.01, computing=0.03, scoring=0.001, batch_size=100)


def test_the_arithmetic_is_start_steps_and_scoring() -> None:
    assert SPEED.seconds(visits=50_000, num_scored=2000) == pytest.approx(10 + 500 * 0.04 + 2)
    assert SPEED.loading_share == 0.25


def test_a_loading_bound_and_a_short_run_are_warned_of() -> None:
    assert Forecast(SPEED, 30, 100, seconds=33, full_seconds=100).warnings() == []
    slow = Speed(start=0, loading=0.05, computing=0.03, scoring=0, batch_size=100)
    (loading,) = Forecast(slow, 30, 100, seconds=30, full_seconds=100).warnings()
    assert "Loading, not computing, is the bottleneck: 62% of a step." in loading
    (short,) = Forecast(SPEED, 10, 100, seconds=60, full_seconds=100).warnings()
    assert "60% of the time for 10% of the visits" in short
    assert Forecast(SPEED, 30, 100, seconds=33, full_seconds=100).saved_share == pytest.approx(0.67)


@pytest.mark.parametrize("settings", [{}, {"train_size": 20, "batch_size": 20}, {"validation": 0.2}])
def test_a_real_session_is_timed(settings: dict[str, Any], tmp_path: Path) -> None:
    config = small_config("emp", keep=0.5, **settings)
    session = Session.build(config, load_splits(config, None))
    speed = measure_speed(session)
    assert min(speed.loading, speed.computing, speed.scoring) > 0
    assert speed.start > 0  # the first steps are no measure of the others, though an epoch may be a single batch
    num_train, scored = len(session.splits.train), num_scored(config, session.splits)
    assert scored == session.objective.num_scored(session.splits) > 0
    foreseen = forecast(speed, visits=2 * num_train, full_visits=4 * num_train, num_scored=scored)
    assert 0 < foreseen.seconds < foreseen.full_seconds


def test_a_recalibrated_accuracy_stands_beside_the_ordinary_one(tmp_path: Path) -> None:
    run_small(small_config("random", recalibrate_bn=True, epochs=2), tmp_path)
    from emprune.lab.store import RunFolder

    result = RunFolder(tmp_path).result()
    assert 0 <= result["accuracy_recalibrated"] <= 100
