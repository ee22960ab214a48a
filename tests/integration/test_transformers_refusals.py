"""What the Trainer cannot do on a plan is refused, and each message says what to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, WeightedRandomSampler

import emprune

pytest.importorskip("accelerate", reason="needs emprune[transformers]")
pytest.importorskip("transformers", reason="needs emprune[transformers]")

from accelerate import ParallelismConfig
from transformers import Trainer, TrainingArguments, default_data_collator

from emprune.integrations.transformers import PrunedTrainer, PrunedTrainerMixin
from tests.forks import run_forked
from tests.integration.trainers import NUM_SAMPLES, Sentences, make_arguments, make_model, make_pruner, make_trainer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 7}, "`max_steps` must stay -1, .*got 7. Make the pruner with this `num_steps`"),
        ({"num_train_epochs": 4}, "`num_train_epochs` must be the pruner's, 5; got num_train_epochs=4"),
        ({"train_sampling_strategy": "sequential"}, "`train_sampling_strategy` must stay 'random'.*group_by_length"),
        ({"data_seed": 3}, "`data_seed` must stay None, .*got 3. Give the pruner a `seed`"),
        ({"ignore_data_skip": True}, "`ignore_data_skip` must stay False"),
        ({"dataloader_in_order": False}, "`dataloader_in_order` must stay True"),
        ({"auto_find_batch_size": True}, "`auto_find_batch_size` must stay False"),
        ({"accelerator_config": {"split_batches": True}}, "`accelerator_config.split_batches` must stay False"),
        ({"accelerator_config": {"dispatch_batches": True}}, "`accelerator_config.dispatch_batches` must stay None"),
    ],
)
def test_arguments_that_contradict_the_plan_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(emprune.ConfigError, match=message):
        make_trainer(tmp_path, make_pruner(), **options)


def test_processes_that_share_a_model_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever said so: the arguments, `accelerate launch` in the environment, or a model that was loaded in parts."""
    trainer = make_trainer(tmp_path, make_pruner())
    monkeypatch.setattr(trainer.accelerator.state, "parallelism_config", ParallelismConfig())
    with pytest.raises(emprune.ConfigError, match=r"`parallelism_config` must be None.* without a `tp_plan`"):
        trainer.train()


def test_the_pruners_number_of_epochs_may_be_said_again(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner(), num_train_epochs=5)
    trainer.train()
    assert trainer.state.num_train_epochs == 5


def test_the_pruners_number_of_steps_may_be_said_again(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner(num_steps=31), max_steps=31)
    trainer.train()
    assert trainer.state.global_step == trainer.state.max_steps == 31
    assert trainer.delivered == trainer.planned


def test_a_short_last_batch_is_not_delivered_where_it_is_dropped(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner(), dataloader_drop_last=True)
    trainer.train()
    assert all(len(delivered) % 4 == 0 for delivered in trainer.delivered.values())
    assert trainer.state.global_step == trainer.state.max_steps


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from map(Sentences().__getitem__, range(NUM_SAMPLES))


def test_a_dataset_without_positions_or_of_another_length_is_refused(tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path)
    with pytest.raises(emprune.ConfigError, match="`train_dataset` must have positions.*got Stream"):
        PrunedTrainer(make_model(), arguments, train_dataset=Stream(), pruner=make_pruner())
    trainer = PrunedTrainer(make_model(), arguments, train_dataset=Sentences(size=44), pruner=make_pruner())
    with pytest.raises(emprune.ConfigError, match=r"`num_samples` must be len\(trainer.train_dataset\), 44; got 45"):
        trainer.train()


def test_a_sampler_of_ones_own_is_refused(tmp_path: Path) -> None:
    class Weighted(PrunedTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
            return WeightedRandomSampler([1.0] * NUM_SAMPLES, NUM_SAMPLES)

    with pytest.raises(emprune.ConfigError, match="sampler must be its own; got a WeightedRandomSampler"):
        make_trainer(tmp_path, make_pruner(), cls=Weighted).train()


def test_a_run_is_not_trained_twice_but_with_a_new_pruner(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner())
    trainer.train()
    with pytest.raises(emprune.errors.EpochError, match="0; the run is over. A new run takes a new pruner"):
        trainer.train()
    trainer.pruner = make_pruner()
    trainer.train()
    assert trainer.pruner.epoch == trainer.pruner.num_epochs - 1


def test_the_trainers_default_number_of_epochs_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    """It cannot be told from a 3 that somebody wrote."""
    trainer = make_trainer(tmp_path, make_pruner(), num_train_epochs=3)
    with pytest.warns(
        emprune.errors.EmpruneWarning, match=r"`num_train_epochs` is 3.*num_epochs=5.*Say num_train_epochs=5"
    ):
        trainer.train()
    assert trainer.state.epoch == 5


def test_batches_of_a_trainers_own_are_refused_and_the_advice_works(tmp_path: Path) -> None:
    """As sentence-transformers' trainers make them."""

    class OwnBatches(BatchSampler): ...

    class OwnDataLoader(Trainer):
        def get_train_dataloader(self) -> DataLoader[Any]:
            sampler = OwnBatches(RandomSampler(Sentences()), 4, drop_last=False)
            return DataLoader(Sentences(), batch_sampler=sampler)

    class Pruned(PrunedTrainerMixin, OwnDataLoader): ...

    with pytest.raises(emprune.ConfigError, match="got a OwnBatches.*override `get_train_dataloader`"):
        make_trainer(tmp_path, make_pruner(), cls=Pruned).train()

    class Plain(OwnDataLoader):
        def get_train_dataloader(self) -> DataLoader[Any]:
            size, collate_fn = self.args.train_batch_size, self.data_collator
            return DataLoader(self.train_dataset, size, shuffle=True, collate_fn=collate_fn)  # type: ignore[arg-type]

    class Advised(PrunedTrainerMixin, Plain): ...

    pruner = make_pruner()
    make_trainer(tmp_path, pruner, cls=Advised).train()
    assert int(pruner.visits.sum()) == sum(pruner.schedule.num_kept_per_epoch(multiple_of=4))


@pytest.mark.parametrize(("name", "strategy"), [("packing", "bfd"), ("padding_free", "wrapped")])
def test_packing_as_trl_does_it_is_refused_by_its_name(tmp_path: Path, name: str, strategy: str) -> None:
    @dataclass
    class Arguments(TrainingArguments):
        packing: bool = False
        packing_strategy: str = "bfd"
        padding_free: bool = False

    plain = make_arguments(tmp_path)
    options: dict[str, Any] = {name: True, "packing_strategy": strategy}
    arguments = Arguments(str(tmp_path), use_cpu=True, report_to=[], num_train_epochs=5, **options)
    for allowed, pruner in ((plain, make_pruner()), (arguments, make_pruner(emprune.RandomPermutation()))):
        PrunedTrainer(make_model(), allowed, train_dataset=Sentences(), pruner=pruner)
    with pytest.raises(emprune.ConfigError, match=f"`{name}` must be False.*got {name}=True"):
        PrunedTrainer(make_model(), arguments, train_dataset=Sentences(), pruner=make_pruner())


def test_a_row_that_holds_several_samples_is_refused(tmp_path: Path) -> None:
    def packed(samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = default_data_collator([{**sample, "note": None} for sample in samples])
        return {name: value.reshape(1, -1)[:, :8] for name, value in batch.items()}

    trainer = make_trainer(tmp_path, make_pruner(), task="causal")
    trainer.data_collator = packed
    with pytest.raises(emprune.errors.ObservationError, match=r"got 1 row\(s\) for 4 samples. Turn packing"):
        trainer.train()


class OutOfMemory(PrunedTrainer):
    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        raise MemoryError


def test_a_plan_that_was_made_for_another_batch_size_is_refused(tmp_path: Path) -> None:
    pruner = make_pruner()
    with pytest.raises(MemoryError):
        make_trainer(tmp_path, pruner, cls=OutOfMemory, per_device_train_batch_size=8).train()
    smaller = make_trainer(tmp_path, pruner, per_device_train_batch_size=3)
    with pytest.raises(
        emprune.errors.EpochError, match=r"must have 18 samples; got a plan of 16, .* takes a new pruner"
    ):
        smaller.train()


def test_arguments_that_were_changed_later_are_refused_when_training_begins(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner())
    trainer.args.num_train_epochs = 2
    with pytest.raises(emprune.ConfigError, match="`num_train_epochs`.*5; got num_train_epochs=2"):
        trainer.train()


@pytest.mark.parametrize("remove_unused_columns", [True, False])
def test_a_collator_that_sorts_its_list_is_refused(tmp_path: Path, remove_unused_columns: bool) -> None:
    """Also where the Trainer hands it another list than the one it was given."""
    trainer = make_trainer(tmp_path, make_pruner(), remove_unused_columns=remove_unused_columns)
    collate = trainer.data_collator

    def sorting(samples: list[Any]) -> Any:
        samples.sort(key=lambda sample: -int(sample["input_ids"][0]))
        return collate([{name: value for name, value in sample.items() if name != "note"} for sample in samples])

    trainer.data_collator = sorting
    with pytest.raises(emprune.ConfigError, match="must keep the samples and their order"):
        trainer.train()


def test_a_batch_must_be_a_dict(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, make_pruner())
    trainer.data_collator = lambda samples: [torch.stack([sample["input_ids"] for sample in samples])]
    with pytest.raises(emprune.ConfigError, match="`data_collator` must return a dict .* got a list"):
        trainer.train()


def test_a_compute_loss_func_stays_and_cannot_be_weighted(tmp_path: Path) -> None:
    def squared(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        return F.cross_entropy(outputs.logits, labels) ** 2

    trainer = make_trainer(tmp_path, make_pruner(), compute_loss_func=squared)
    trainer.train()
    assert int(trainer.pruner.visits.sum()) == sum(map(len, trainer.delivered.values()))
    trainer = make_trainer(tmp_path, make_pruner(emprune.InfoBatch()), compute_loss_func=squared)
    with pytest.raises(emprune.ConfigError, match="infobatch's weights of single samples cannot enter"):
        trainer.train()


def test_a_models_own_loss_cannot_be_weighted(tmp_path: Path) -> None:
    class Routed(Trainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss, outputs = super().compute_loss(*args, **kwargs)
            return loss + 3, {**outputs, "aux_loss": torch.tensor(3.0)}

    class PrunedRouted(PrunedTrainerMixin, Routed):
        pass

    make_trainer(tmp_path, make_pruner(), cls=PrunedRouted).train()
    trainer = make_trainer(tmp_path, make_pruner(emprune.InfoBatch()), cls=PrunedRouted)
    with pytest.raises(emprune.ConfigError, match=r"infobatch's weights.*got `aux_loss`.*output_router_logits=False"):
        trainer.train()


def test_a_model_without_logits_is_an_error_that_says_so(tmp_path: Path) -> None:
    class Fused(Trainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss, _ = super().compute_loss(*args, **kwargs)
            return loss, {"loss": loss, "logits": None}

    class Pruned(PrunedTrainer, Fused): ...

    trainer = make_trainer(tmp_path, make_pruner(), cls=Pruned)
    with pytest.raises(
        emprune.errors.ObservationError, match=r"`logits`.*got logits=None.*use_liger_kernel=False.*`observation"
    ):
        trainer.train()


@pytest.mark.parametrize("missing", ["transformers", "accelerate"])
def test_without_the_extra_the_import_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import emprune.integrations.transformers"
    finished = run_forked(code)
    assert finished.returncode == 1
    assert f"ImportError: This needs the package '{missing}': pip install 'emprune[transformers]'" in finished.stderr
