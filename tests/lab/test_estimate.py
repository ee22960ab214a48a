import itertools
import shlex
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.commands.compare import seconds_left
from emprune_lab.commands.consoles import literal_console
from emprune_lab.commands.running import foresee
from emprune_lab.commands.tables import comparison_command, forecast_table
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.comparison.queue import make_queue
from emprune_lab.comparison.table import long_duration
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.run import Run
from emprune_lab.settings import Settings
from emprune_lab.tasks import get_task
from emprune_lab.training import num_scored
from emprune_lab.training.arrays import ArrayTraining
from emprune_lab.training.speed import Forecast, Speed, TimedStep, forecast

from tests.lab.reports import call
from tests.lab.runs import run_of, run_small, small_settings, training_of

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


def test_a_step_counts_with_the_samples_it_has_and_one_that_was_held_up_does_not() -> None:
    long, short, held_up = TimedStep(0.1, 0.3, 100), TimedStep(0.05, 0.1, 20), TimedStep(9.0, 9.0, 100)
    speed = Speed.of([held_up, *[long, short] * 4, held_up, short, long, short], scoring=0)
    assert speed.batch_size == pytest.approx(60)
    assert speed.loading == pytest.approx(0.075)
    assert speed.computing == pytest.approx(0.2)
    assert speed.seconds(visits=120, num_scored=0) == pytest.approx(speed.start + 0.4 + 0.15)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods whose steps are timed, in that order; all steps are said to take a second."""
    methods: list[str] = []

    def time_steps(training: ArrayTraining, step: Callable[[], object]) -> Speed:
        methods.append(str(training.run.settings.method))
        return Speed(start=0, loading=0.5, computing=0.5, scoring=0, batch_size=training.run.sizes.first_step)

    monkeypatch.setattr(ArrayTraining, "time_steps", time_steps)
    return methods


def foreseen(settings: Settings) -> tuple[Run, Forecast]:
    return foresee(settings, get_task(settings.task), data_dir=None, console=literal_console())


def test_an_epoch_of_less_than_a_batch_is_timed_as_the_batch_it_is() -> None:
    training = training_of(small_settings("emp", keep=0.1, batch_size=100))
    assert training.time_steps().batch_size == training.run.sizes.first_step == 16


def test_all_the_data_come_in_whole_batches_though_the_run_s_are_short(timed: list[str]) -> None:
    run, found = foreseen(small_settings("emp", keep=0.1, batch_size=80))
    assert timed == ["emp:pool=2", "full"]
    assert (found.visits, found.seconds) == (run.sizes.visits, 4) == (64, 4)
    assert (found.full_visits, found.full_seconds) == (640, 8)
    assert found.short_steps
    foreseen(small_settings("emp", keep=0.5, batch_size=80))
    assert timed == ["emp:pool=2", "full", "emp:pool=2"]


def test_of_the_runs_left_those_with_steps_alike_are_timed_once(timed: list[str], tmp_path: Path) -> None:
    settings = {"epochs": 4, "train_size": 160, "batch_size": 80, "device": "cpu", "precision": "fp32", "keep": 0.1}
    methods = ["full", "random", "greedy"]
    queue = make_queue(Experiment(task="digits", methods=methods, seeds=[0, 1], settings=settings), tmp_path)
    said = StringIO()
    seconds = seconds_left(queue, num_jobs=2, console=literal_console(file=said))
    assert seconds == pytest.approx((2 * 8 + 4 * 4) / 2)
    assert timed == ["full", "random"]
    assert said.getvalue() == "Timing a few steps of full, seed 0.\nTiming a few steps of random, seed 0.\n"


def test_an_estimate_says_that_it_times_before_it_does(timed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small_settings("emp", keep=0.5)
    said, run = StringIO(), run_of(settings)

    def resolve(*arguments: Any, **options: Any) -> Run:
        assert said.getvalue() == "Timing a few steps of emp:pool=2.\n"
        return run

    monkeypatch.setattr(Run, "resolve", resolve)
    foresee(settings, get_task("digits"), data_dir=None, console=literal_console(file=said))
    assert timed == ["emp:pool=2"]


@pytest.mark.parametrize("method", [["emp"], ["emp:pool=gap", "--validation", "0.1"]])
def test_an_estimate_ends_with_a_command_of_its_own_settings(
    method: list[str], timed: list[str], tmp_path: Path
) -> None:
    settings = ["--keep", "0.2", "--epochs", "5", "--train-size", "400", "--batch-size", "16", "--device", "cpu"]
    code, printed, stderr = call("estimate", "digits", "--method", *method, *settings)
    assert code == 0, stderr
    last = printed.splitlines()[-1]
    words = shlex.split(last.removeprefix("What it costs here: emprune "))
    given = dict(itertools.pairwise(words))
    asked = [*method[1:], *settings]
    assert {name: given[name] for name in asked[::2]} == dict(zip(asked[::2], asked[1::2], strict=True))
    code, printed, stderr = call(*words, "--out", tmp_path, "--dry-run")
    assert code == 0, stderr
    assert "9 runs left" in printed


def test_a_command_quotes_a_task_with_a_space() -> None:
    settings = small_settings().model_copy(update={"task": "image-folder:my images"})
    command = comparison_command(settings, get_task("digits"))
    assert command is not None
    assert shlex.split(command)[2] == "image-folder:my images"


def test_full_training_is_compared_with_pruned_runs_of_less_cost() -> None:
    command = comparison_command(small_settings("full"), get_task("digits"))
    assert command is not None
    assert "--methods full,random-permutation --seeds 3" in command
    assert "--keep" not in command


@pytest.mark.parametrize(
    ("computing", "size", "shown"),
    [(0.04, 100, ["10.0 ms", "40.0 ms", "2,000"]), (1.99, 5, ["10.0 ms", "2.0 s", "2.5"])],
)
def test_a_slow_step_is_told_in_seconds(computing: float, size: int, shown: list[str]) -> None:
    speed = Speed(start=0, loading=0.01, computing=computing, scoring=0, batch_size=size)
    forecast = Forecast(speed, 30, 100, seconds=33, full_seconds=100)
    table = forecast_table(run_of(small_settings()), forecast, width=80)
    assert list(table.columns[1].cells)[-3:] == shown


def test_where_pruning_saves_no_steps_that_is_why() -> None:
    (said,) = Forecast(SPEED, 10, 100, seconds=60, full_seconds=100, short_steps=True).warnings()
    assert said == (
        "60% of the time for 10% of the visits: an epoch keeps less than a batch, so that pruning saves no steps. "
        "Lower the batch size."
    )


@pytest.mark.parametrize(("seconds", "said"), [(4.26, "4.3 s"), (90, "1.5 min"), (5400, "1.50 h")])
def test_a_duration_is_told_in_what_suits_it(seconds: float, said: str) -> None:
    assert long_duration(seconds) == said


@pytest.mark.parametrize("settings", [{}, {"train_size": 20, "batch_size": 20}, {"validation": 0.2}])
def test_a_real_run_is_timed(settings: dict[str, Any]) -> None:
    training = training_of(small_settings("emp", keep=0.5, **settings))
    speed = training.time_steps()
    assert min(speed.loading, speed.computing, speed.scoring) > 0
    assert speed.start > 0  # the first steps are no measure of the others, though an epoch may be a single batch
    num_train, scored = training.run.sizes.train, num_scored(training.run)
    num_test, num_validation = len(training.run.splits.test), len(training.parts.get("validation", ()))
    times = 4 if num_validation == 0 else 1
    assert scored == times * num_test + 4 * num_validation + 4 * num_train > 0  # the probe is all of so little data
    found = forecast(speed, visits=2 * num_train, full_visits=4 * num_train, num_scored=scored)
    assert 0 < found.seconds < found.full_seconds


def test_a_recalibrated_accuracy_stands_beside_the_ordinary_one(tmp_path: Path) -> None:
    run_small(small_settings("random", recalibrate_bn=True, epochs=2), tmp_path)
    result = RunFolder(tmp_path).result()
    assert 0 <= result["accuracy_recalibrated"] <= 100
