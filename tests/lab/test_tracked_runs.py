"""`--track`: a run's epochs are in the tracker's own files, and the run is what it is without."""

import json
from pathlib import Path
from typing import Any

import pytest
from emprune_lab.run import Run
from emprune_lab.tasks import get_task
from emprune_lab.training.tracking import identity_of

from tests.events import read_events, scalars_of
from tests.lab.reports import call
from tests.lab.runs import CLOCKS, settings_for
from tests.lab.test_images import write_folder

RUN = ("run", "digits", "--keep", 0.5, "--epochs", 3, "--train-size", 100, "--batch-size", 20, "--device", "cpu")


def test_a_tracked_run_tells_its_log_and_is_the_run_it_was(tmp_path: Path) -> None:
    assert call(*RUN, "--out", tmp_path / "plain")[0] == 0
    assert call(*RUN, "--out", tmp_path / "tracked", "--track", "tensorboard")[0] == 0
    logs = []
    for name in ("plain", "tracked"):
        log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for record in log:
            del record["summary"]
        logs.append([{key: value for key, value in record.items() if key not in CLOCKS} for record in log])
    assert logs[0] == logs[1]
    found = scalars_of(read_events(tmp_path / "tracked" / "tensorboard"))
    assert dict(found["run/loss"]) == pytest.approx(dict(enumerate(record["loss"] for record in logs[0])))
    visits = [(epoch, record["visits"]) for epoch, record in enumerate(logs[0])]
    assert found["run/visits"] == found["emprune/total_visits"] == visits


def test_a_comparison_tracks_each_of_its_runs(tmp_path: Path) -> None:
    size = RUN[2:]
    methods = ("--methods", "random-permutation,emp", "--seeds", 1, "--jobs", 1)
    assert call("compare", "digits", *size, *methods, "--out", tmp_path, "--track", "tensorboard")[0] == 0
    folders = sorted(path.parent for path in tmp_path.rglob("events.out.tfevents.*"))
    assert len(folders) == 2
    assert all(len(scalars_of(read_events(folder))["emprune/kept_fraction"]) == 3 for folder in folders)


def test_weights_and_biases_gets_the_numbers_of_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    closed: list[tuple[str, str, dict[str, Any]]] = []
    leave = wandb.Run.__exit__

    def read_and_leave(run: Any, *error: Any) -> Any:
        closed.append((run.name, run.group, dict(run.summary)))
        return leave(run, *error)

    monkeypatch.setattr(wandb.Run, "__exit__", read_and_leave)
    assert call(*RUN, "--out", tmp_path / "run", "--track", "wandb")[0] == 0
    ((name, group, summary),) = closed
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert (name, group) == ("emp:pool=2, seed 0", "digits")
    assert summary["emprune/epoch"] == 2
    assert summary["emprune/total_visits"] == summary["run/visits"] == last["visits"]
    assert summary["run/test_accuracy"] == pytest.approx(last["test_accuracy"])
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


def test_runs_of_a_task_with_a_long_name_have_identities_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "a-folder-whose-name-is-long" / "and-goes-on-in-a-folder-below-it-so-that-little-room-is-left"
    write_folder(folder, {"cat": 10, "dog": 10})
    task = get_task(f"image-folder:{folder}:size=8")
    methods = ("emp:beta=5:pool=2", "emp:beta=4:pool=2")
    own = [settings_for(task.name, method, seed=seed, epochs=4, device="cpu") for method in methods for seed in (0, 1)]
    runs = [Run.resolve(settings, task, data_dir=tmp_path / "data") for settings in own]
    names = {identity_of(run) for run in runs}
    assert len(names) == 4
    assert all(len(name) <= 128 for name in names)


def test_an_unknown_tracker_is_refused_before_any_training(tmp_path: Path) -> None:
    code, _, said = call(*RUN, "--out", tmp_path / "run", "--track", "mlflow")
    assert code == 2
    assert "`track` must be one of tensorboard, wandb; got 'mlflow'." in said.replace("\n", " ")
    assert not (tmp_path / "run").exists()
