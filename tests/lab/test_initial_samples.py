"""`--initial`: a run of the lab starts from what an earlier run on the same data knew of its samples."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from emprune_lab.comparison.experiment import Experiment
from emprune_lab.errors import RunExistsError, StoppedError
from emprune_lab.settings import Settings
from typer.testing import CliRunner

from emprune.errors import ConfigError
from tests.lab.runs import assert_equal_runs, log, run_of, run_small, small_settings
from tests.messages import Raises


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of EMP that saw all samples."""
    folder = tmp_path_factory.mktemp("runs") / "earlier"
    run_small(small_settings("emp", epochs=6), folder)
    return folder


def test_the_first_epoch_is_chosen_by_the_earlier_losses(earlier: Path, tmp_path: Path) -> None:
    trained = run_small(small_settings("greedy", initial=str(earlier), epochs=1, seed=1), tmp_path)
    losses = torch.from_numpy(pd.read_parquet(earlier / "samples.parquet")["loss"].to_numpy(copy=True))
    visits = np.load(tmp_path / "visits.npy")
    assert sorted(visits.nonzero()[0].tolist()) == sorted(losses.topk(len(trained.pruner.plan)).indices.tolist())
    assert log(tmp_path)[0]["summary"]["never_seen"] == 0


def test_folder_and_file_are_the_same_start_and_path_and_digest_are_recorded(earlier: Path, tmp_path: Path) -> None:
    folder, file = (small_settings("emp", initial=str(path)) for path in (earlier, earlier / "samples.parquet"))
    assert folder.training.initial == str(earlier)
    assert folder.training.initial_digest == file.training.initial_digest
    assert len(str(folder.training.initial_digest)) == 16
    assert run_of(folder).new_pruner().stats["loss"].equal(run_of(file).new_pruner().stats["loss"])
    run_small(folder, tmp_path)
    stored = json.loads((tmp_path / "result.json").read_text())["settings"]["training"]
    assert stored["initial"] == str(earlier)
    assert stored["initial_digest"] == folder.training.initial_digest
    assert Settings.read(json.loads((tmp_path / "config.json").read_text())) == folder


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_stopped_run_goes_on_exactly(stop_after: int, earlier: Path, tmp_path: Path) -> None:
    settings = small_settings("emp", initial=str(earlier), seed=1)
    whole = run_small(settings, tmp_path / "whole")
    with pytest.raises(StoppedError):
        run_small(settings, tmp_path / "stopped", stop_after=stop_after)
    resumed = run_small(settings, tmp_path / "stopped")
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))


def test_a_file_that_has_changed_makes_another_run(earlier: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(earlier, source)
    with pytest.raises(StoppedError):
        run_small(small_settings("emp", initial=str(source)), tmp_path / "run", stop_after=1)
    frame = pd.read_parquet(source / "samples.parquet")
    frame.assign(loss=frame["loss"] + 1).to_parquet(source / "samples.parquet")
    with pytest.raises(RunExistsError, match="initial_digest: '[0-9a-f]{16}' and '[0-9a-f]{16}'"):
        run_small(small_settings("emp", initial=str(source)), tmp_path / "run")


@pytest.mark.parametrize(
    ("method", "changes", "value"),
    [
        ("ucb", {}, "mean, variance"),
        ("emp", {"train_size": 150}, 150),
        ("emp", {"label_noise": 0.1}, 16),
    ],
    ids=["columns", "size", "labels"],
)
def test_a_run_of_another_method_or_on_other_data_is_refused(
    method: str, changes: dict[str, Any], value: Any, earlier: Path, monkeypatch: pytest.MonkeyPatch, raises: Raises
) -> None:
    monkeypatch.chdir(earlier.parent)
    settings = small_settings(method, initial=earlier.name, **changes)
    with raises(ConfigError, parameter="initial", value=value):
        run_of(settings)


def test_what_is_no_run_is_refused(tmp_path: Path, raises: Raises) -> None:
    with raises(ConfigError, parameter="initial"):
        small_settings("emp", initial=str(tmp_path))
    with raises(ConfigError, parameter="initial", value=3):
        small_settings("emp", initial=3)


def test_a_table_without_labels_is_taken_as_it_is(tmp_path: Path) -> None:
    pd.DataFrame({"loss": np.arange(160.0)}).to_parquet(tmp_path / "losses.parquet")
    run = run_of(small_settings("greedy", initial=str(tmp_path / "losses.parquet")))
    assert run.new_pruner().stats["loss"].tolist() == list(range(160))


def test_the_gap_is_measured_before_the_first_epoch(tmp_path: Path) -> None:
    def settings(**changes: Any) -> Settings:
        return small_settings("emp:pool=gap", validation=0.25, **changes)

    run_small(settings(epochs=6), tmp_path / "earlier")
    whole = run_small(settings(initial=str(tmp_path / "earlier")), tmp_path / "whole")
    assert log(tmp_path / "whole")[0]["summary"]["never_seen"] == 0
    with pytest.raises(StoppedError):
        run_small(settings(initial=str(tmp_path / "earlier")), tmp_path / "stopped", stop_after=1)
    resumed = run_small(settings(initial=str(tmp_path / "earlier")), tmp_path / "stopped")
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped", (whole, resumed))


def test_a_comparison_gives_it_to_all_but_full(earlier: Path, raises: Raises) -> None:
    values: dict[str, Any] = {"train_size": 160, "initial": str(earlier)}
    methods = ["full", "emp", "random-permutation"]
    (variant,) = Experiment(task="digits", methods=methods, seeds=[0], settings=values).variants
    assert [settings.training.initial for settings in variant.runs] == [None, str(earlier), str(earlier)]
    with raises(ConfigError, value="initial_digest"):
        Experiment(task="digits", methods=["emp"], settings={"initial_digest": "0"})


def test_the_command_takes_it(earlier: Path, tmp_path: Path) -> None:
    from emprune_lab.commands.app import app

    given = ["--epochs", "1", "--train-size", "160", "--initial", str(earlier), "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(app, ["run", "digits", "--method", "emp", *given])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "run" / "result.json").is_file()
