"""`EMP(pool="gap")` in the Trainer: each evaluation in training is handed over, with the loss on the probe."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import emprune
from tests.messages import Raises

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune.testing import assert_same_state
from tests.integration.trainers import RecordingTrainer, Sentences, assert_same_weights, make_pruner, make_trainer

GAP = emprune.EMP(beta=4.0, pool="gap")


def gap_trainer(folder: Path, **options: Any) -> Any:
    return make_trainer(folder, make_pruner(GAP), **{"eval_strategy": "epoch", **options})


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def gaps(trainer: Any) -> list[float]:
    """The gap after each evaluation, as the log has it."""
    pairs = zip(logged(trainer, "eval_loss"), logged(trainer, "probe_loss"), strict=True)
    return [loss - probe for loss, probe in pairs]


@pytest.mark.parametrize("options", [{}, {"eval_strategy": "steps", "eval_steps": 2}, {"eval_on_start": True}], ids=str)
def test_each_evaluation_is_handed_over(tmp_path: Path, options: dict[str, Any]) -> None:
    trainer = gap_trainer(tmp_path, dropout=0.1, **options)
    trainer.eval_dataset = Sentences(size=20)
    trainer.train()
    assert trainer.pruner.gap == gaps(trainer)[-1] != 0
    assert trainer.state.global_step == trainer.state.max_steps


def test_the_probe_is_scored_as_evaluations_are(tmp_path: Path) -> None:
    trainer = gap_trainer(tmp_path, dropout=0.5)  # the probe is all of the data here, and so is the evaluation
    trainer.train()
    assert gaps(trainer) == pytest.approx([0.0] * 5, abs=1e-6)
    model = trainer.model.eval()
    rows = [trainer.train_dataset[i] for i in range(len(trainer.train_dataset))]
    inputs = {name: torch.stack([row[name] for row in rows]) for name in ("input_ids", "attention_mask")}
    expected = F.cross_entropy(model(**inputs).logits, torch.tensor([row["labels"] for row in rows]))
    assert logged(trainer, "probe_loss")[-1] == pytest.approx(expected.item(), rel=1e-4)


def test_without_a_gap_it_trains_as_with_a_pool_of_two(tmp_path: Path) -> None:
    following = gap_trainer(tmp_path / "gap")
    following.train()
    plain = make_trainer(tmp_path / "two", make_pruner(emprune.EMP(beta=4.0, pool=2)), eval_strategy="epoch")
    plain.train()
    assert all(abs(gap) < 1e-6 for gap in gaps(following))
    assert following.delivered == plain.delivered
    assert_same_weights(following, plain)
    assert not logged(plain, "probe_loss")


class StoppedError(Exception):
    """The power is gone."""


class Stopping(RecordingTrainer):
    """Dies right after a step's checkpoint."""

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        if self.state.global_step >= 8:
            raise StoppedError


@pytest.mark.parametrize("save", [{"save_strategy": "steps", "save_steps": 2}, {"save_strategy": "epoch"}], ids=str)
def test_a_run_that_died_goes_on_exactly(tmp_path: Path, save: dict[str, Any]) -> None:
    def make(name: str, **options: Any) -> Any:
        trainer = gap_trainer(tmp_path / name, dropout=0.1, **save, **options)
        trainer.eval_dataset = Sentences(size=20)
        return trainer

    whole = make("whole")
    whole.train()
    with pytest.raises(StoppedError):
        make("stopped", cls=Stopping).train()
    resumed = make("stopped")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.pruner.gap == whole.pruner.gap
    assert_same_weights(resumed, whole)
    assert_same_state(resumed.pruner.state_dict(), whole.pruner.state_dict())


def test_an_evaluation_by_hand_is_not_handed_over(tmp_path: Path) -> None:
    trainer = gap_trainer(tmp_path)
    trainer.evaluate()
    trainer.pruner.sync()
    assert trainer.pruner.gap is None


def test_it_is_refused_without_evaluations(tmp_path: Path, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="eval_strategy", value="no"):
        gap_trainer(tmp_path, eval_strategy="no")


class OneOfTwo(RecordingTrainer):
    """Follows one of several evaluations."""

    validation_loss = "eval_hard_loss"


class ByHand(RecordingTrainer):
    """Tells the pruner itself."""

    validation_loss = None


def test_of_several_evaluations_one_is_named(tmp_path: Path, raises: Raises) -> None:
    sets = {"easy": Sentences(size=20), "hard": Sentences(size=10)}
    unnamed = gap_trainer(tmp_path)
    unnamed.eval_dataset = sets
    with raises(emprune.ConfigError, parameter="validation_loss", value="eval_loss"):
        unnamed.train()
    named = gap_trainer(tmp_path, cls=OneOfTwo)
    named.eval_dataset = sets
    named.train()
    assert named.pruner.gap == logged(named, "eval_hard_loss")[-1] - logged(named, "probe_loss")[-1]


def test_a_callback_of_ones_own_may_tell_the_pruner(tmp_path: Path) -> None:
    trainer = gap_trainer(tmp_path, cls=ByHand, eval_strategy="no")
    trainer.pruner.observe_validation(1.5, train_loss=1.0)
    trainer.train()
    assert trainer.pruner.gap == 0.5
