"""A run of the Trainer that is stopped and resumed ends as the uninterrupted one, bit by bit."""

from pathlib import Path
from typing import Any

import pytest

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from transformers import TrainerCallback

from emprune.integrations.transformers import STATE_FILE
from emprune.testing import assert_same_state
from tests.integration.trainers import RecordingTrainer, assert_same_weights, history, make_pruner, make_trainer


class StoppedError(Exception):
    """The power is gone."""


class Stopping(RecordingTrainer):
    """Dies right after a step's checkpoint."""

    stop_after: int

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        if self.state.global_step >= self.stop_after:
            raise StoppedError


@pytest.mark.parametrize(
    "method",
    [emprune.EMP(beta=4.0, pool=2), emprune.InfoBatch(), emprune.RandomPermutation()],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize("save", [{"save_strategy": "steps", "save_steps": 2}, {"save_strategy": "epoch"}], ids=str)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, method: emprune.Method, save: dict[str, Any]) -> None:
    options = {"dropout": 0.1, "gradient_accumulation_steps": 2, **save}
    whole = make_trainer(tmp_path / "whole", make_pruner(method), **options)
    whole.train()
    saved = sorted(int(folder.name.split("-")[1]) for folder in (tmp_path / "whole").iterdir())
    for stop_after in saved[1:-1:4]:
        folder = tmp_path / f"stopped-{stop_after}"
        first = make_trainer(folder, make_pruner(method), cls=Stopping, **options)
        first.stop_after = stop_after
        with pytest.raises(StoppedError):
            first.train()
        resumed = make_trainer(folder, make_pruner(method), **options)
        resumed.train(resume_from_checkpoint=True)
        assert_same_weights(resumed, whole)
        assert_same_state(resumed.pruner.state_dict(), whole.pruner.state_dict())
        names = ("step", "epoch", "loss", "learning_rate", "kept_fraction", "churn")
        assert history(resumed, *names) == history(whole, *names)
        delivered = {epoch: first.delivered.get(epoch, []) + resumed.delivered.get(epoch, []) for epoch in range(5)}
        assert delivered == whole.delivered


def test_a_finished_run_resumes_to_nothing(tmp_path: Path) -> None:
    make_trainer(tmp_path, make_pruner(), save_strategy="epoch").train()
    trainer = make_trainer(tmp_path, make_pruner(), save_strategy="epoch")
    trainer.train(resume_from_checkpoint=True)
    assert trainer.delivered == {}


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, make_pruner(), save_strategy="epoch").train()
    last = max(tmp_path.iterdir(), key=lambda folder: int(folder.name.split("-")[1]))
    assert (last / STATE_FILE).is_file()
    assert not (last / f".{STATE_FILE}").exists()
    with pytest.raises(emprune.errors.StateError, match="Resume with the seed the run was started with"):
        make_trainer(tmp_path, make_pruner(seed=1)).train(resume_from_checkpoint=str(last))
    other = make_trainer(tmp_path, make_pruner(), per_device_train_batch_size=2)
    with pytest.raises(emprune.errors.StateError, match="Resume with the batch size, accumulation and ranks"):
        other.train(resume_from_checkpoint=str(last))
    (last / STATE_FILE).unlink()
    with pytest.raises(emprune.errors.StateError, match=r"emprune\.pt does not exist: .* Start a new run"):
        make_trainer(tmp_path, make_pruner()).train(resume_from_checkpoint=str(last))


def test_a_checkpoint_is_of_the_batch_size_that_its_epochs_are_planned_for(tmp_path: Path) -> None:
    make_trainer(tmp_path, make_pruner(), save_strategy="steps", save_steps=1).train()
    other = make_trainer(tmp_path, make_pruner(), per_device_train_batch_size=2)
    with pytest.raises(
        emprune.errors.StateError, match="samples_per_step=4, this one 2: .* Resume with the batch size"
    ):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


class StopsTheFirstEpoch(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            control.should_epoch_stop = True


def test_an_epoch_that_was_stopped_early_does_not_move_the_place_in_later_ones(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "callbacks": [StopsTheFirstEpoch()]}
    whole = make_trainer(tmp_path, make_pruner(), **options)
    whole.train()
    later = 2 - (-len(whole.delivered[1]) // 4) + 1
    resumed = make_trainer(tmp_path, make_pruner(), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{later}"))
    for epoch, delivered in resumed.delivered.items():
        assert delivered == whole.delivered[epoch][-len(delivered) :]
    left = sum(len(delivered) for epoch, delivered in whole.delivered.items() if epoch > 1) - 4
    assert sum(map(len, resumed.delivered.values())) == left
