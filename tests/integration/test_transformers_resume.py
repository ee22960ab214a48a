"""A run of the Trainer that is stopped and resumed ends as the uninterrupted one, bit by bit."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from transformers import TrainerCallback

from emprune.integrations.transformers import STATE_FILE
from emprune.testing import assert_same_state
from tests.integration.trainers import (
    RecordingTrainer,
    assert_same_weights,
    history,
    make_pruner,
    make_trainer,
    without_seconds,
)

EPOCHS = 5
OPTIONS: dict[str, Any] = {"dropout": 0.1}
LOGGED = ("step", "epoch", "loss", "learning_rate", "kept_fraction", "churn")


class StoppedError(Exception):
    """The power is gone."""


class Stopping(RecordingTrainer):
    """Dies right after a step's checkpoint."""

    stop_after: int

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        if self.state.global_step >= self.stop_after:
            raise StoppedError


def train_until(step: int, folder: Path, method: emprune.Method | None = None, **options: Any) -> Stopping:
    """Train a run that dies after so many steps, and leaves a checkpoint of each or of some."""
    trainer: Stopping = make_trainer(folder, make_pruner(method), cls=Stopping, save_strategy="steps", **options)
    trainer.stop_after = step
    with pytest.raises(StoppedError):
        trainer.train()
    return trainer


@pytest.mark.parametrize("method", [emprune.InfoBatch(), emprune.RandomPermutation()], ids=lambda method: method.name)
def test_a_run_that_died_goes_on_as_if_it_had_not(tmp_path: Path, method: emprune.Method) -> None:
    options = {**OPTIONS, "gradient_accumulation_steps": 2, "save_steps": 2}
    whole = make_trainer(tmp_path / "whole", make_pruner(method), **options)
    whole.train()
    first = train_until(4, tmp_path / "stopped", method, **options)
    resumed = make_trainer(tmp_path / "stopped", make_pruner(method), **options)
    resumed.train(resume_from_checkpoint=True)
    assert_same_ends(resumed, whole)
    delivered = {epoch: first.delivered.get(epoch, []) + resumed.delivered.get(epoch, []) for epoch in range(EPOCHS)}
    assert delivered == whole.delivered


def assert_same_ends(resumed: Any, whole: Any) -> None:
    """Fail unless a resumed run ended as the whole one: weights, state, and what it logged."""
    assert_same_weights(resumed, whole)
    assert_same_state(without_seconds(resumed), without_seconds(whole))
    assert history(resumed, *LOGGED) == history(whole, *LOGGED)
    assert resumed.state.global_step == whole.state.global_step == whole.state.max_steps
    assert resumed.lr_scheduler.get_last_lr() == whole.lr_scheduler.get_last_lr()


class SavesAtTheStart(TrainerCallback):
    """Writes a checkpoint before the first step."""

    trainer: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self.trainer._save_checkpoint(self.trainer.model_wrapped, None)


class LeavesEpoch(TrainerCallback):
    """Ends epoch 1 after two of its steps."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if round((state.epoch % 1) * 100) and int(state.epoch) == 1:
            self.steps = getattr(self, "steps", 0) + 1
            control.should_epoch_stop = self.steps == 2


@dataclass
class Whole:
    """A run that was not stopped, and its checkpoints.

    Attributes:
        options: Of its trainer, but for what is saved: a run that goes on from a checkpoint saves nothing.
    """

    folder: Path
    options: dict[str, Any]
    trainer: Any
    starts: list[int]
    """The optimizer steps before each epoch, and of the run."""


MOMENTS: dict[str, Callable[[list[int]], int]] = {
    "before the first step": lambda starts: 0,
    "after the first step": lambda starts: 1,
    "mid-epoch": lambda starts: starts[1] + 1,
    "mid-epoch of the full tail": lambda starts: starts[4] + 3,
    "last step of an epoch": lambda starts: starts[2],
    "last step of the run": lambda starts: starts[5],
}
ENDS: dict[str, Callable[[list[int]], int]] = {
    "end of an epoch": lambda starts: starts[2],
    "end of the first epoch": lambda starts: starts[1],
    "end of the run": lambda starts: starts[5],
}
"""Which checkpoint is resumed from, saved by steps and by epochs: the table of the resume matrix."""
CASES = [("steps", moment) for moment in MOMENTS] + [("epoch", moment) for moment in ENDS]
RUNS = [
    pytest.param((0, 2), id="0 workers, accumulation 2"),
    pytest.param((0, 1), id="0 workers, accumulation 1", marks=pytest.mark.matrix),
    pytest.param((2, 1), id="2 workers, accumulation 1", marks=pytest.mark.matrix),
    pytest.param((2, 3), id="2 workers, accumulation 3", marks=pytest.mark.matrix),
]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Whole]:
    """Runs by how they save, workers and accumulation, each trained once."""
    known: dict[Any, Whole] = {}

    def run(save: str, workers: int, accumulation: int) -> Whole:
        key = (save, workers, accumulation)
        if key not in known:
            options = {
                **OPTIONS,
                "save_steps": 1,
                "gradient_accumulation_steps": accumulation,
                "dataloader_num_workers": workers,
            }
            folder = tmp_path_factory.mktemp("whole")
            saving = SavesAtTheStart()
            trainer = make_trainer(folder, make_pruner(), callbacks=[saving], save_strategy=save, **options)
            saving.trainer = trainer
            trainer.train()
            known[key] = Whole(folder, options, trainer, [0, *accumulate(trainer._steps)])
        return known[key]

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[1])
@pytest.mark.parametrize("run", RUNS)
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, wholes: Callable[..., Whole], run: tuple[int, int], case: tuple[str, str]
) -> None:
    save, moment = case
    whole = wholes(save, *run)
    step = (MOMENTS | ENDS)[moment](whole.starts)
    resumed = make_trainer(tmp_path, make_pruner(), **whole.options)
    resumed.train(resume_from_checkpoint=str(whole.folder / f"checkpoint-{step}"))
    assert_same_ends(resumed, whole.trainer)
    epoch = max(epoch for epoch, start in enumerate(whole.starts) if start <= step)
    done = 4 * run[1] * (step - whole.starts[epoch])
    left = {later: list(samples) for later, samples in whole.trainer.delivered.items() if later >= epoch}
    if done:
        left[epoch] = left[epoch][done:]
    assert resumed.delivered == left


@pytest.mark.parametrize("save", ["steps", "epoch"])
def test_an_epoch_that_a_callback_left_is_followed_by_the_next(tmp_path: Path, save: str) -> None:
    options: dict[str, Any] = {**OPTIONS, "save_steps": 1}
    whole = make_trainer(tmp_path / "whole", make_pruner(), callbacks=[LeavesEpoch()], save_strategy=save, **options)
    whole.train()
    assert len(whole.delivered[1]) == 8 < len(whole.planned[1])
    step = whole._steps[0] + 2
    resumed = make_trainer(tmp_path / "resumed", make_pruner(), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
    assert resumed.delivered == {epoch: whole.delivered[epoch] for epoch in (2, 3, 4)}
    assert_same_weights(resumed, whole)
    assert_same_state(without_seconds(resumed), without_seconds(whole))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, make_pruner(), save_strategy="epoch").train()
    last = max(tmp_path.iterdir(), key=lambda folder: int(folder.name.split("-")[1]))
    assert (last / STATE_FILE).is_file()
    assert not (last / f".{STATE_FILE}").exists()
    with pytest.raises(emprune.errors.StateError, match="Resume with the seed the run was started with"):
        make_trainer(tmp_path, make_pruner(seed=1)).train(resume_from_checkpoint=str(last))
    other = make_trainer(tmp_path, make_pruner(), per_device_train_batch_size=2)
    with pytest.raises(emprune.errors.StateError, match="samples_per_step=4.*got 2. Resume with the batch size"):
        other.train(resume_from_checkpoint=str(last))
    (last / STATE_FILE).unlink()
    with pytest.raises(emprune.errors.StateError, match=r"must have emprune\.pt.*got none.* Start a new run"):
        make_trainer(tmp_path, make_pruner()).train(resume_from_checkpoint=str(last))


def test_a_checkpoint_is_of_the_batch_size_that_its_epochs_are_planned_for(tmp_path: Path) -> None:
    train_until(1, tmp_path, save_steps=1)
    other = make_trainer(tmp_path, make_pruner(), per_device_train_batch_size=2)
    with pytest.raises(emprune.errors.StateError, match="samples_per_step=4.*got 2. Resume with the batch size"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_checkpoint_that_does_not_hold_together_is_refused(tmp_path: Path) -> None:
    train_until(4, tmp_path, save_steps=1)
    shutil.copy(tmp_path / "checkpoint-3" / STATE_FILE, tmp_path / "checkpoint-4" / STATE_FILE)
    with pytest.raises(emprune.errors.StateError, match=r"got emprune\.pt of step 3 and a Trainer's state of step 4"):
        make_trainer(tmp_path, make_pruner()).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    folder = tmp_path / "checkpoint-2"
    whole = (folder / STATE_FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        (folder / STATE_FILE).write_bytes(damaged)
        with pytest.raises(emprune.errors.StateError, match=r"emprune\.pt must be readable"):
            make_trainer(tmp_path, make_pruner()).train(resume_from_checkpoint=str(folder))
    torch.save({"pruner": {}, "began": [0, 0], "samples_per_step": 4, "drop_last": False}, folder / STATE_FILE)
    with pytest.raises(emprune.errors.StateError, match=r"got \['began'.*emprune 0.1 wrote"):
        make_trainer(tmp_path, make_pruner()).train(resume_from_checkpoint=str(folder))
