"""The Trainer takes a stream with an index. It decodes the plan's samples alone, at its exact cost, and resumes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.utils.data import DataLoader

import emprune
from emprune.data import KeyedStream

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from emprune.integrations.transformers import INDEX_KEY, PrunedTrainer
from tests.integration.test_transformers_resume import Stopping, assert_same_ends
from tests.integration.trainers import NUM_SAMPLES, RecordingTrainer, Sentences, make_arguments, make_model, make_pruner

SHARDS = {"a": range(20), "b": range(20, 27), "c": range(27, NUM_SAMPLES)}
SENTENCES = Sentences()


def positions(shard: str) -> Iterator[tuple[str, int]]:
    for position in SHARDS[shard]:
        yield f"key{position}", position


class Decoding:
    """Makes a sentence of a position, and counts how often it did."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, position: int) -> dict[str, Any]:
        self.count += 1
        return SENTENCES[position]


class Seeing(RecordingTrainer):
    """Sees that each sample comes under its own index: a sentence begins with its position."""

    shuffle_buffer = 6

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if INDEX_KEY in inputs:
            assert inputs["input_ids"][:, 0].tolist() == inputs[INDEX_KEY].tolist()
        return super().compute_loss(model, inputs, *args, **kwargs)


class StoppingStream(Stopping, Seeing):
    """Dies right after a step's checkpoint."""


def trainer_of(folder: Path, pruner: emprune.DataPruner, *, cls: type[Any] = Seeing, **options: Any) -> Any:
    stream = KeyedStream(positions, decode=options.pop("decode", SENTENCES.__getitem__), shards=list(SHARDS))
    extra = {name: options.pop(name) for name in ("eval_dataset",) if name in options}
    return cls(make_model(dropout=0.1), make_arguments(folder, **options), train_dataset=stream, pruner=pruner, **extra)


@pytest.mark.parametrize("method", [emprune.EMP(), emprune.InfoBatch()], ids=lambda method: method.name)
def test_it_trains_on_the_plan_and_decodes_nothing_else(tmp_path: Path, method: emprune.Method) -> None:
    decode = Decoding()
    trainer = trainer_of(tmp_path, make_pruner(method), decode=decode)
    trainer.train()
    sizes = trainer.pruner.schedule.num_kept_per_epoch(multiple_of=4)
    assert [len(own) for own in trainer.delivered.values()] == sizes
    assert {epoch: sorted(own) for epoch, own in trainer.delivered.items()} == {
        epoch: sorted(own) for epoch, own in trainer.planned.items()
    }
    assert int(trainer.pruner.visits.sum()) == decode.count == sum(sizes)
    assert trainer.state.global_step == trainer.state.max_steps == sum(-(-size // 4) for size in sizes)


def test_its_order_is_the_streams_and_differs_from_epoch_to_epoch(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, make_pruner(emprune.Full(), keep=1.0, tail_epochs=0))
    trainer.train()
    dataloader = DataLoader(trainer.train_dataset, batch_size=4, collate_fn=list)
    pruner = make_pruner(emprune.Full(), keep=1.0, tail_epochs=0)
    loader = emprune.PrunedStream(dataloader, pruner, shuffle_buffer=6)
    delivered = [[position for index, _ in loader for position in index.tolist()] for _ in loader.epochs()]
    assert delivered == list(trainer.delivered.values())
    assert delivered[0] != delivered[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_that_died_goes_on_as_if_it_had_not(tmp_path: Path, num_workers: int) -> None:
    options: dict[str, Any] = {"gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2}
    options["dataloader_num_workers"] = num_workers
    whole = trainer_of(tmp_path / "whole", make_pruner(), **options)
    whole.train()
    first = trainer_of(tmp_path / "stopped", make_pruner(), cls=StoppingStream, **options)
    first.stop_after = 4
    with pytest.raises(Exception, match="^$"):
        first.train()
    resumed = trainer_of(tmp_path / "stopped", make_pruner(), **options)
    resumed.train(resume_from_checkpoint=True)
    assert_same_ends(resumed, whole)


def test_the_trainer_makes_the_pruner_of_a_stream(tmp_path: Path) -> None:
    stream = KeyedStream(positions, decode=SENTENCES.__getitem__, shards=list(SHARDS))
    arguments = make_arguments(tmp_path, num_train_epochs=2)
    trainer = PrunedTrainer(make_model(), arguments, train_dataset=stream, method="greedy", keep=0.5)
    trainer.train()
    assert trainer.pruner.num_samples == NUM_SAMPLES
    assert int(trainer.pruner.visits.sum()) == sum(trainer.pruner.schedule.num_kept_per_epoch(multiple_of=4))


def test_a_method_that_follows_the_gap_measures_it_on_a_part_of_the_stream(tmp_path: Path) -> None:
    pruner = make_pruner(emprune.EMP(pool="gap"), tail_epochs=0)
    options: dict[str, Any] = {"eval_dataset": Sentences(), "eval_strategy": "epoch"}
    trainer = trainer_of(tmp_path, pruner, **options)
    trainer.train()
    assert sum("probe_loss" in entry for entry in trainer.state.log_history) == 5
