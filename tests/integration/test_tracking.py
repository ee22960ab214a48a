"""What trackers get: the real packages' files hold what a run did."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import emprune
from emprune.errors import ConfigError, EmpruneWarning, ObservationError
from emprune.integrations.tracking import EpochReport, track, track_pruner
from tests.events import read_events, scalars_of
from tests.messages import Raises

NUM_SAMPLES, NUM_EPOCHS = 48, 4
HISTOGRAM = "emprune/losses"


def make_loader() -> emprune.PrunedLoader:
    dataloader = DataLoader(TensorDataset(torch.arange(NUM_SAMPLES)), batch_size=8, shuffle=True)
    return emprune.PrunedLoader(dataloader, "greedy", num_epochs=NUM_EPOCHS, keep=0.5)


def train(loader: emprune.PrunedLoader, *trackers: Any) -> list[EpochReport]:
    """The loss of a sample is its position."""
    reports = []
    for _ in loader.epochs():
        for index, _ in loader:
            loader.reduce(index, index.float())
        reports.append(track(loader, *trackers))
    return reports


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's files hold, by name: (step, value)."""
    events = read_events(folder)
    tags = events.Tags()
    assert HISTOGRAM in tags["histograms"]
    assert "emprune/most visited/text_summary" in tags["tensors"]
    return scalars_of(events)


def test_a_report_holds_what_the_pruner_knows() -> None:
    reports: list[EpochReport] = []
    loader = make_loader()
    assert train(loader, reports.append) == reports
    last = reports[-1]
    assert [report.epoch for report in reports] == [0, 1, 2, 3]
    assert last.scalars["kept_fraction"] == 0.5
    assert last.scalars["total_visits"] == 96
    assert last.scalars["mean_loss"] == pytest.approx((NUM_SAMPLES - 1) / 2)
    assert sorted(last.losses.tolist()) == list(range(NUM_SAMPLES))
    assert {visits for _, visits, _ in last.most_visited} == {3}  # the upper half, in the last two epochs too
    assert all(position >= 24 and loss == position for position, _, loss in last.most_visited)
    assert reports[0].scalars["never_seen"] == 24


def test_losses_of_the_last_epoch_that_are_not_finite_are_a_warning_and_are_tracked() -> None:
    loader = make_loader()
    for epoch in range(NUM_EPOCHS):
        loader.set_epoch(epoch)
        for index, _ in loader:
            loader.reduce(index, index.float() if epoch < NUM_EPOCHS - 1 else index.float() / 0)
    with pytest.warns(EmpruneWarning, match="Losses .* must be finite"):
        report = track(loader)
    assert report.epoch == NUM_EPOCHS - 1


def test_tracking_changes_no_plan() -> None:
    plans: list[list[str]] = []
    for tracked in (True, False):
        loader = make_loader()
        plans.append([])
        for _ in loader.epochs():
            for index, _ in loader:
                loader.reduce(index, index.float())
            plans[-1].append(loader.pruner.plan.fingerprint)
            if tracked:
                track(loader.pruner)
    assert plans[0] == plans[1]


def test_tensorboard_gets_a_value_an_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        train(make_loader(), writer)
    scalars = read_scalars(tmp_path)
    assert scalars["emprune/kept_fraction"] == [(epoch, 0.5) for epoch in range(NUM_EPOCHS)]
    assert scalars["emprune/total_visits"] == [(epoch, 24.0 * (epoch + 1)) for epoch in range(NUM_EPOCHS)]


def test_weights_and_biases_gets_a_row_an_epoch_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="emprune", mode="offline", dir=str(tmp_path))
    run.log({"loss": 0.5})
    train(make_loader(), run)
    summary = dict(run.summary)
    run.finish()
    assert summary["emprune/epoch"] == NUM_EPOCHS - 1
    assert summary["emprune/total_visits"] == 96
    assert summary["loss"] == 0.5
    assert summary["emprune/most_visited"]["nrows"] == 20
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


def test_weights_and_biases_gets_losses_that_differ_by_a_float32s_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="emprune", mode="offline", dir=str(tmp_path))
    loader = make_loader()
    loader.set_epoch(0)
    for index, _ in loader:
        loader.reduce(index, torch.where(index < 24, 1.0, 1.0 + 2**-23))
    track(loader, run)
    counts = dict(run.summary)["emprune/losses"]["values"]
    run.finish()
    assert sum(counts) == counts[0] + counts[-1] == 24


@pytest.mark.usefixtures("fresh_accelerate")
def test_accelerates_trackers_are_found(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    from emprune.integrations.accelerate import prepare

    accelerator = accelerate.Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
    accelerator.init_trackers("run")
    dataloader = DataLoader(TensorDataset(torch.arange(NUM_SAMPLES)), batch_size=8, shuffle=True)
    loader = prepare(accelerator, dataloader, "greedy", num_epochs=NUM_EPOCHS, keep=0.5)
    for _ in loader.epochs():
        for index, _ in loader:
            loader.reduce(index, index.float())
    accelerator.end_training()
    assert [step for step, _ in read_scalars(tmp_path / "run")["emprune/churn"]] == [1, 2, 3]


def test_lightnings_loggers_are_found(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger

    from tests.integration.lightning_module import Module, make_trainer

    module = Module(emprune.EMP())
    make_trainer(logger=TensorBoardLogger(str(tmp_path), name="run", version=""), log_every_n_steps=1).fit(module)
    kept = read_scalars(tmp_path / "run")["emprune/kept_fraction"]
    assert [step for step, _ in kept] == list(range(module.loader.pruner.num_epochs))


def test_the_trainers_tensorboard_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("tensorboard")
    from tests.integration.trainers import make_pruner, make_trainer

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trainer = make_trainer(tmp_path, make_pruner(), report_to="tensorboard")
    trainer.train()
    kept = read_scalars(tmp_path / "logs")["emprune/kept_fraction"]
    assert [step for step, _ in kept] == list(range(trainer.pruner.num_epochs))


@pytest.mark.parametrize("tracker", ["runs/mine", 3])
def test_what_is_no_tracker_is_refused(tracker: Any, raises: Raises) -> None:
    pruner = make_loader().pruner
    with raises(ConfigError, parameter="trackers", value=tracker):
        track(pruner, tracker)


def test_where_training_ends_a_loss_that_is_not_finite_is_a_warning_and_before_that_an_error() -> None:
    for ends in (False, True):
        pruner = emprune.DataPruner("greedy", num_samples=8, num_epochs=4, keep=0.5)
        pruner.observe(pruner.begin_epoch(0).index, torch.full((4,), torch.nan))
        reports: list[EpochReport] = []
        with pytest.warns(EmpruneWarning) if ends else pytest.raises(ObservationError):
            track_pruner(pruner, [reports.append], ends=ends)
        assert len(reports) == ends
