"""`train_sampling_strategy="group_by_length"`: the Trainer says the lengths, and the plan groups by them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune.errors import EpochError, StateError
from emprune.integrations.transformers import INDEX_KEY, STATE_FILE, PrunedTrainer
from emprune.testing import assert_same_state
from tests.integration.trainers import (
    RecordingTrainer,
    assert_same_weights,
    make_arguments,
    make_model,
    without_seconds,
)

NUM_SAMPLES, LONGEST = 120, 24
LENGTHS = torch.randint(2, LONGEST + 1, (NUM_SAMPLES,), generator=torch.Generator().manual_seed(0))
GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}


class Texts(Dataset[dict[str, Any]]):
    """Texts of many lengths; how often each was asked for is counted."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, position: int) -> dict[str, Any]:
        if position >= NUM_SAMPLES:
            raise IndexError(position)
        self.asked += 1
        words = torch.arange(int(LENGTHS[position])) * (position + 3) % 57 + 1
        return {"input_ids": words.tolist(), "labels": position % 3}


def padded(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(sample["input_ids"]) for sample in samples], batch_first=True)
    labels = torch.tensor([sample["labels"] for sample in samples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


class Padding(RecordingTrainer):
    """Adds up the tokens of all training batches, and those with their padding."""

    tokens = padded = 0

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        assert LENGTHS[inputs[INDEX_KEY]].equal(inputs["attention_mask"].sum(1)), "a text under another's index"
        self.tokens += int(inputs["attention_mask"].sum())
        self.padded += inputs["input_ids"].numel()
        return super().training_step(model, inputs, *args, **kwargs)


def make_pruner(method: str = "emp:beta=4", **options: Any) -> emprune.DataPruner:
    return emprune.DataPruner(method, num_samples=NUM_SAMPLES, num_epochs=4, keep=0.5, **options)


def make_trainer(folder: Path, pruner: emprune.DataPruner, *, dataset: Any = None, **options: Any) -> Any:
    model = make_model(max_position_embeddings=LONGEST)
    arguments = make_arguments(folder, num_train_epochs=4, **{**GROUPED, **options})
    train: Any = Texts() if dataset is None else dataset
    return Padding(model, arguments, train_dataset=train, data_collator=padded, pruner=pruner)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_batches_have_texts_of_like_length_and_the_cost_stays(tmp_path: Path, accumulation: int) -> None:
    trainers = []
    for strategy in ("group_by_length", "random"):
        trainer = make_trainer(
            tmp_path, make_pruner(), train_sampling_strategy=strategy, gradient_accumulation_steps=accumulation
        )
        trainer.train()
        assert trainer.delivered == trainer.planned
        assert trainer.state.global_step == trainer.state.max_steps
        trainers.append(trainer)
    grouped, plain = trainers
    assert grouped.padded < 1.12 * grouped.tokens
    assert plain.padded > 1.4 * plain.tokens
    assert grouped.state.max_steps == plain.state.max_steps
    assert int(grouped.pruner.visits.sum()) == int(plain.pruner.visits.sum()) == 0.5 * NUM_SAMPLES * 4
    assert sorted(grouped.planned[0]) == sorted(plain.planned[0])  # chosen alike, and in another order


def test_every_loss_is_its_own_texts(tmp_path: Path) -> None:
    pruner = make_pruner()
    trainer = make_trainer(tmp_path, pruner, learning_rate=0.0)
    trainer.train()
    model, losses = trainer.model.eval(), []
    for position in range(NUM_SAMPLES):
        with torch.no_grad():
            losses.append(model(**padded([trainer.train_dataset[position]])).loss)
    seen = pruner.stats.seen
    assert int(seen.count_nonzero()) == NUM_SAMPLES
    torch.testing.assert_close(pruner.stats["loss"], torch.stack(losses), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that left a checkpoint after each step."""
    trainer = make_trainer(tmp_path_factory.mktemp("whole"), make_pruner(), save_strategy="steps", save_steps=1)
    trainer.train()
    return trainer


@pytest.mark.parametrize("step", [12, 30, 47])
def test_a_resumed_run_has_the_same_batches(whole: Any, tmp_path: Path, step: int) -> None:
    resumed = make_trainer(tmp_path, make_pruner())
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-{step}")
    assert_same_weights(resumed, whole)
    assert_same_state(without_seconds(resumed), without_seconds(whole))
    for epoch, delivered in resumed.delivered.items():
        assert delivered == whole.delivered[epoch][-len(delivered) :]


def test_a_checkpoint_belongs_to_its_lengths(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 5}
    make_trainer(tmp_path, make_pruner(), **options).train()
    assert (tmp_path / "checkpoint-5" / STATE_FILE).is_file()
    with pytest.raises(StateError, match="The state's `lengths` is '[0-9a-f]{16}', this run's is None"):
        make_trainer(tmp_path, make_pruner(), train_sampling_strategy="random", **options).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-5")
        )


def test_the_texts_are_measured_once_and_before_the_first_epoch(tmp_path: Path) -> None:
    pruner = make_pruner()
    trainer = make_trainer(tmp_path, pruner)
    assert pruner.lengths is None
    trainer.get_train_dataloader()
    assert pruner.lengths is not None
    assert pruner.lengths.equal(LENGTHS)
    assert trainer.train_dataset.asked <= NUM_SAMPLES + 2  # the Trainer looks at the first one before


def test_a_pruners_own_lengths_hold(tmp_path: Path) -> None:
    own = torch.arange(NUM_SAMPLES)
    pruner = make_pruner(lengths=own)
    make_trainer(tmp_path, pruner).train()
    assert pruner.lengths is not None
    assert pruner.lengths.equal(own)


def test_a_pruner_that_has_begun_without_lengths_is_refused(tmp_path: Path) -> None:
    pruner = make_pruner()
    pruner.begin_epoch(0, multiple_of=4)
    with pytest.raises(EpochError, match="`lengths` must be set before the first epoch.*epoch 0. Make a new pruner"):
        make_trainer(tmp_path, pruner).train()


def test_texts_that_cannot_be_measured_are_refused_by_the_trainer(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner(), dataset=[{"words": [1], "labels": 0}] * NUM_SAMPLES)
    with pytest.raises(ValueError, match="automatically infer lengths .* 'input_ids' key"):
        trainer.train()


def test_a_column_of_lengths_is_taken_before_it_is_dropped_as_unused(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    rows = [{**Texts()[position], "tokens": position} for position in range(NUM_SAMPLES)]
    for name, lengths in (("tokens", torch.arange(NUM_SAMPLES)), ("length", LENGTHS)):
        pruner = make_pruner()
        table = datasets.Dataset.from_list(rows)
        PrunedTrainer(
            make_model(max_position_embeddings=LONGEST),
            make_arguments(tmp_path, num_train_epochs=4, length_column_name=name, **GROUPED),
            train_dataset=table,
            data_collator=padded,
            pruner=pruner,
        ).train()
        assert pruner.lengths is not None
        assert pruner.lengths.equal(lengths)
