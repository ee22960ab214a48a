import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emprune_lab.errors import RunError, StoppedError
from emprune_lab.results.run_folder import RunFolder
from emprune_lab.settings import Settings
from emprune_lab.training.training import scored_epochs

from tests.lab.runs import (
    SilentReporter,
    assert_equal_runs,
    log,
    outcome,
    run_of,
    run_small,
    small_settings,
    training_of,
)

METHODS = ["emp:pool=2", "ucb:replan_every=2", "infobatch", "random-permutation", "full"]


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_and_resumed_run_is_bit_equal_to_the_whole_one(method: str, tmp_path: Path) -> None:
    settings = small_settings(method, validation=0.2)
    whole = run_small(settings, tmp_path / "whole")
    for stop_after in (1, 3, 4):  # in the middle of an epoch, and of the next, whatever their lengths
        with pytest.raises(StoppedError, match="nothing is lost"):
            run_small(settings, tmp_path / "parts", stop_after=stop_after)
    parts = run_small(settings, tmp_path / "parts")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def test_a_run_stops_at_the_end_of_an_epoch_too(tmp_path: Path) -> None:
    settings = small_settings(batch_size=48)  # one batch an epoch
    whole = run_small(settings, tmp_path / "whole")
    for _ in range(3):
        with pytest.raises(StoppedError):
            run_small(settings, tmp_path / "parts", stop_after=1)
    assert len(log(tmp_path / "parts")) == 2  # the third epoch is scored when the run goes on
    parts = run_small(settings, tmp_path / "parts")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def test_what_was_logged_after_the_checkpoint_is_dropped_on_resume(tmp_path: Path) -> None:
    settings = small_settings()
    whole = run_small(settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        run_small(settings, tmp_path / "parts", stop_after=4)
    with (tmp_path / "parts" / "log.jsonl").open("a") as file:
        file.write('{"epoch": 7, "torn')
    parts = run_small(settings, tmp_path / "parts")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts", (whole, parts))


def test_runs_of_one_seed_start_from_the_same_weights(tmp_path: Path) -> None:
    one, same, other = (
        training_of(settings).model.state_dict()
        for settings in (small_settings("emp"), small_settings("greedy"), small_settings("emp", seed=1))
    )
    assert all(one[name].equal(same[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)


def test_the_result_says_what_was_done(finished_run: Path) -> None:
    result = json.loads((finished_run / "result.json").read_text())
    visits = np.load(finished_run / "visits.npy")
    assert result["visits"] == visits.sum() == sum(record["num_kept"] for record in log(finished_run))
    assert abs(result["visits"] - 0.3 * 160 * 4) <= 16
    assert result["visits_fraction"] == result["visits"] / 640
    assert result["optimizer_steps"] == log(finished_run)[-1]["steps"] == result["visits"] / 16
    assert result["final_learning_rate"] == pytest.approx(0.2 / 25e4)
    assert (result["method"], result["settings"]) == ("emp:pool=2", small_settings().model_dump())
    assert {"emprune", "python", "torch", "numpy"} <= result["versions"].keys()
    assert result["machine"]["device"] == "cpu"
    assert result["num_test"] == 450
    assert "validation_accuracy" not in result


@pytest.mark.parametrize(
    "given",
    [{"keep": 0.37}, {"keep": 0.05}, {"keep": 0.61, "train_size": 150, "tail_epochs": 1},
     {"task": "simclr-digits", "keep": 0.5, "train_size": 150, "tail_epochs": 1}],
)  # fmt: skip
def test_a_run_makes_the_visits_that_it_says_are_planned(given: dict[str, Any], tmp_path: Path) -> None:
    settings, report = small_settings("random", **given), SilentReporter()
    training = run_small(settings, tmp_path, report=report)
    assert report.planned_visits == int(training.pruner.visits.sum())
    assert report.planned_visits == run_of(settings).sizes.visits


def test_the_log_holds_every_epoch_and_the_test_set_is_scored_at_a_few(tmp_path: Path) -> None:
    run_small(small_settings(epochs=8), tmp_path)
    records = log(tmp_path)
    assert [record["epoch"] for record in records] == list(range(8))
    assert [record["epoch"] for record in records if "test_accuracy" in record] == [1, 3, 5, 7]
    assert all(math.isfinite(record["loss"]) for record in records)
    assert {"churn", "never_seen", "visit_gini"} <= records[-1]["summary"].keys()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["test_accuracy_by_epoch"].keys() == {"2", "4", "6", "8"}
    assert result["accuracy"] == records[-1]["test_accuracy"] == result["test_accuracy_by_epoch"]["8"]


def test_a_long_run_is_validated_twenty_times_and_at_its_end(tmp_path: Path) -> None:
    run_small(small_settings(epochs=50, train_size=40, validation=0.2), tmp_path)
    records = log(tmp_path)
    scored = {
        name: [record["epoch"] + 1 for record in records if name in record]
        for name in ("validation_accuracy", "probe_loss", "test_accuracy")
    }
    assert scored["validation_accuracy"] == [math.ceil(2.5 * part) for part in range(1, 21)] == scored["probe_loss"]
    assert scored["test_accuracy"] == [50]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["validation_accuracy"] == records[-1]["validation_accuracy"]
    assert (result["num_train"], result["num_validation"]) == (32, 8)


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 5, 30, 60])
def test_the_last_epoch_is_always_scored_and_few_others(num_epochs: int) -> None:
    scored = scored_epochs(run_of(small_settings(epochs=num_epochs)))["test"]
    assert max(scored) == num_epochs - 1
    assert min(scored) >= 0
    assert len(scored) <= 4


def test_training_learns(tmp_path: Path) -> None:
    run_small(small_settings("full", epochs=6, train_size=400), tmp_path)
    assert outcome(tmp_path)["accuracy"] > 80


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"The loss became (nan|inf) in epoch \d+: the run diverged. Lower `max_lr`"):
        run_small(small_settings("random", max_lr=1e12, epochs=6), tmp_path)


def test_a_run_whose_last_step_diverges_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"The test loss became (nan|inf) in epoch 1: the run diverged. Lower `max_lr`"):
        run_small(small_settings("full", max_lr=1e30, epochs=1, train_size=64, batch_size=64), tmp_path)
    assert not RunFolder(tmp_path).finished


def test_bf16_runs_too(tmp_path: Path) -> None:
    run_small(small_settings(precision="bf16", epochs=2), tmp_path)
    assert outcome(tmp_path)["machine"]["precision"] == "bf16"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_run_stops_and_resumes(tmp_path: Path) -> None:
    settings: Settings = small_settings("emp:pool=2", device="cuda", precision="auto")
    with pytest.raises(StoppedError):
        run_small(settings, tmp_path, stop_after=5)
    run_small(settings, tmp_path)
    assert outcome(tmp_path)["machine"]["device"] == "cuda"
