"""emprune under Lightning: epochs that shrink are validated, scheduled, checkpointed and shared like others."""

import copy
import csv
import json
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

import emprune
from emprune.errors import EmpruneWarning
from emprune.testing import assert_same_state
from tests.integration import runs

pytest.importorskip("lightning")

from lightning.pytorch import LightningDataModule, Trainer, callbacks, loggers
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities import CombinedLoader

from emprune.integrations.lightning import PruningCallback, prepare
from tests.integration.lightning_module import Module, learning_rate, make_trainer

# Resumed runs save nothing, and Lightning remarks on it.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to:UserWarning")


METHODS = {"emp": emprune.EMP(), "infobatch": emprune.InfoBatch(), "random": emprune.Random()}


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_it_ends_like_the_plain_loop(method: emprune.Method, accumulation: int) -> None:
    """The steps, the learning rate, every bit of the weights; and it validates in every epoch."""
    module = Module(method)
    make_trainer(accumulate_grad_batches=accumulation).fit(module)
    runs.assert_same_run(module.result, runs.plain_run(runs.make_pruner(method), accumulation=accumulation))
    assert module.result.delivered == module.result.plans
    assert module.result.num_steps == module.loader.total_steps
    assert module.result.learning_rate == pytest.approx(0.002)
    assert module.validated == {"sanity": 2, "0": 2, "1": 2, "2": 2, "3": 2, "4": 2}


class Vanilla(Module):
    """Lightning without emprune, given the order."""

    def __init__(self, plans: list[list[int]], total_steps: int) -> None:
        super().__init__()
        self.plans, self._total_steps = plans, total_steps

    def setup(self, stage: str) -> None:
        pass

    def total_steps(self) -> int:
        return self._total_steps

    def train_dataloader(self) -> Any:
        order = self.plans[self.trainer.current_epoch]
        return DataLoader(runs.DATASET, batch_sampler=BatchSampler(order, runs.BATCH_SIZE, drop_last=False))

    def on_train_epoch_start(self) -> None:
        pass

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return F.cross_entropy(self.net(batch[1]), batch[2])


class FullModule(Module):
    def setup(self, stage: str) -> None:
        self.loader = prepare(self.trainer, runs.make_dataloader(), emprune.Full())
        self.pruner = self.loader.pruner


def test_full_is_lightning_as_it_is() -> None:
    module = FullModule()
    make_trainer(accumulate_grad_batches=3).fit(module)
    vanilla = Vanilla(module.result.plans, module.loader.total_steps)
    make_trainer(accumulate_grad_batches=3, pruning=False).fit(vanilla)
    assert vanilla.result.num_steps == module.result.num_steps == 5 * 5
    assert vanilla.result.learning_rate == module.result.learning_rate
    assert all(map(torch.equal, vanilla.result.weights, module.result.weights))


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "in_order": False}], ids=str)
def test_every_loss_is_credited_to_its_own_sample_and_none_from_validation(options: dict[str, Any]) -> None:
    module = Module(emprune.Greedy(), identify=True, **options)
    make_trainer().fit(module)
    runs.assert_every_loss_is_its_own(module.pruner)
    assert int(module.pruner.visits.sum()) == sum(map(len, module.result.plans))


SAVING: dict[str, dict[str, Any]] = {
    "after validation": {},
    "at epoch ends": {"save_on_train_epoch_end": True},
    "in mid-epoch": {"every_n_train_steps": 2},
}


SAFELY: dict[str, Any] = {"weights_only": True} if "weights_only" in signature(Trainer.fit).parameters else {}
"""Lightning 2.5 cannot be asked for it."""


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("when", SAVING.values(), ids=SAVING)
def test_a_resumed_run_ends_like_the_uninterrupted_one(tmp_path: Path, when: dict[str, Any], accumulation: int) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", **when)
    whole = Module(emprune.methods.UCB())
    make_trainer(accumulate_grad_batches=accumulation, callbacks=[saving]).fit(whole)
    expected = whole.result
    whole.pruner.sync()
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert len(saved) >= runs.NUM_EPOCHS
    for path in saved:
        resumed = Module(emprune.methods.UCB())
        trainer = make_trainer(accumulate_grad_batches=accumulation)
        trainer.fit(resumed, ckpt_path=str(path), **SAFELY)
        num_delivered = torch.load(path, weights_only=True)["num_delivered"]
        assert resumed.result.samples == expected.samples[num_delivered:], path
        resumed.pruner.sync()
        assert_same_state(resumed.pruner.state_dict(), whole.pruner.state_dict())
        assert trainer.global_step == expected.num_steps
        assert all(map(torch.equal, resumed.net.parameters(), expected.weights))
        assert learning_rate(trainer) == expected.learning_rate


def test_what_was_kept_is_logged(tmp_path: Path) -> None:
    trainer = make_trainer(logger=loggers.CSVLogger(tmp_path), log_every_n_steps=1)
    trainer.fit(module := Module())
    with Path(trainer.logger.log_dir, "metrics.csv").open() as file:  # type: ignore[union-attr, arg-type]
        rows = [row for row in csv.DictReader(file) if row["pruning/kept_fraction"]]
    kept = [float(row["pruning/kept_fraction"]) for row in rows]
    assert kept == pytest.approx([len(plan) / runs.NUM_SAMPLES for plan in module.result.plans])
    assert [bool(row["pruning/churn"]) for row in rows] == [False, True, True, True, True]
    assert float(trainer.callback_metrics["pruning/planning_seconds"]) > 0


def test_the_steps_lightning_would_estimate_are_not_those_it_makes() -> None:
    """Why schedules take `loader.total_steps`."""
    module = Module()
    trainer = make_trainer()
    trainer.fit(module)
    assert trainer.estimated_stepping_batches != module.result.num_steps == module.loader.total_steps


def test_a_short_run_to_try_out_the_code() -> None:
    module = Module()
    make_trainer(fast_dev_run=2).fit(module)
    assert module.result.num_steps == 2
    assert module.result.samples == module.result.plans[0][: 2 * runs.BATCH_SIZE]


def test_early_stopping() -> None:
    module = Module(emprune.Greedy())
    stopping = callbacks.EarlyStopping("pruning/kept_fraction", patience=2)
    trainer = make_trainer(callbacks=[stopping])
    trainer.fit(module)
    assert len(module.result.plans) == trainer.current_epoch < runs.NUM_EPOCHS
    assert module.result.delivered == module.result.plans
    assert int(module.pruner.visits.sum()) == sum(map(len, module.result.plans))


class StopAfter(callbacks.Callback):
    """Stops the fit at the end of an epoch, as what monitors a validation does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch == self.epoch


@pytest.mark.parametrize("min_epochs", [None, 4], ids=["it may stop", "it must go on"])
def test_a_stopped_fit_plans_no_epoch_that_never_was_and_its_checkpoint_goes_on(
    min_epochs: int | None, tmp_path: Path
) -> None:
    whole, module, resumed = Module(emprune.Greedy()), Module(emprune.Greedy()), Module(emprune.Greedy())
    make_trainer().fit(whole)
    saving = callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    make_trainer(callbacks=[StopAfter(1), saving], min_epochs=min_epochs).fit(module)
    last = 1 if min_epochs is None else runs.NUM_EPOCHS - 1
    assert module.pruner.epoch == last
    assert len(module.pruner.history) == len(module.result.plans) == last + 1
    make_trainer().fit(resumed, ckpt_path=tmp_path / "epoch=1.ckpt")
    assert resumed.result.plans == whole.result.plans[2:]
    assert resumed.pruner.visits.equal(whole.pruner.visits)


class FailingLast(Module):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.current_epoch < runs.NUM_EPOCHS - 1:
            return super().training_step(batch, batch_idx)
        index, inner = batch
        losses = F.cross_entropy(self.net(inner[1]), inner[2], reduction="none")
        self.pruner.observe(index, torch.full_like(losses, torch.nan))
        return losses.mean()


def test_a_loss_of_the_last_epoch_that_is_not_finite_is_a_warning_and_the_model_is_saved(tmp_path: Path) -> None:
    trainer = make_trainer(callbacks=[callbacks.ModelCheckpoint(tmp_path, filename="last")])
    with pytest.warns(EmpruneWarning, match="Losses .* must be finite"):
        trainer.fit(FailingLast(emprune.Greedy()))
    assert (tmp_path / "last.ckpt").exists()


def test_validation_within_epochs() -> None:
    module = Module()
    make_trainer(val_check_interval=0.5).fit(module)
    assert module.validated == {"sanity": 2, "0": 4, "1": 4, "2": 4, "3": 4, "4": 4}


def test_validation_after_a_time() -> None:
    module = Module()
    make_trainer(val_check_interval="00:01:00:00").fit(module)
    assert module.result.num_steps == module.loader.total_steps


@pytest.mark.parametrize("options", [{}, {"check_val_every_n_epoch": None, "val_check_interval": 6}], ids=str)
def test_validation_after_a_number_of_batches(options: dict[str, Any]) -> None:
    module = Module()
    make_trainer(**{"val_check_interval": 4, **options}).fit(module)
    assert module.result.num_steps == module.loader.total_steps
    assert sum(module.validated.values()) > 2 * 5


def test_another_fit_of_the_same_trainer() -> None:
    """Each fit has its own pruner."""
    trainer: Any = make_trainer()
    trainer.fit(first := Module())
    trainer.fit_loop.epoch_progress.reset()
    trainer.fit(second := Module())
    assert second.result.delivered == first.result.delivered
    assert sum(isinstance(callback, PruningCallback) for callback in trainer.callbacks) == 1


class Data(LightningDataModule):
    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        module.loader = self.loader = prepare(self.trainer, runs.make_dataloader(), runs.make_pruner())
        module.pruner = self.loader.pruner

    def train_dataloader(self) -> Any:
        return self.loader

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(runs.DATASET, batch_size=25)


class Bare(Module):
    def setup(self, stage: str) -> None:
        pass


def test_prepared_in_a_datamodule() -> None:
    make_trainer().fit(module := Bare(), datamodule=Data())
    runs.assert_same_run(module.result, runs.plain_run(runs.make_pruner()))


def test_prepared_before_the_fit_on_one_device() -> None:
    trainer, module = make_trainer(), Bare()
    _prepared_before(trainer, module)
    trainer.fit(module, module.loader)
    runs.assert_same_run(module.result, runs.plain_run(runs.make_pruner()))


class Tunable(Module):
    """Has a learning rate and a batch size that a tuner may set."""

    lr, batch_size = 0.2, runs.BATCH_SIZE

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def on_train_end(self) -> None:
        self.result.num_steps = self.trainer.global_step


def test_averaging_weights_adds_an_epoch_for_batch_norm_alone() -> None:
    averaging: Any = {"callbacks": [callbacks.StochasticWeightAveraging(0.01, swa_epoch_start=1)]}
    module = Tunable()
    make_trainer(**averaging).fit(module)
    assert module.result.delivered == module.result.plans
    module = Tunable()
    module.net = torch.nn.Sequential(module.net, torch.nn.BatchNorm1d(3))
    averaging = {"callbacks": [callbacks.StochasticWeightAveraging(0.01)]}
    with pytest.raises(emprune.ConfigError, match=r"StochasticWeightAveraging for a model .* got 6 epochs, and 5 are"):
        make_trainer(**averaging).fit(module)


class BareTunable(Tunable):
    def setup(self, stage: str) -> None:
        pass


def _prepared_before(trainer: Any, module: Any) -> None:
    module.pruner = runs.make_pruner()
    module.loader = prepare(trainer, runs.make_dataloader(), module.pruner)


@pytest.mark.filterwarnings("ignore:The number of training batches", "ignore:`weights_only`")
@pytest.mark.parametrize("before", [False, True])
def test_a_learning_rate_is_looked_for(tmp_path: Path, before: bool) -> None:
    """It trains on the first plan; nothing of that is left when the run begins."""
    trainer, module = make_trainer(default_root_dir=tmp_path), BareTunable() if before else Tunable()
    if isinstance(module, BareTunable):
        _prepared_before(trainer, module)
    Tuner(trainer).lr_find(module, num_training=20)
    assert len(module.result.samples) > 0
    module.lr, module.result = 0.2, runs.Result()
    trainer.fit(module)
    make_trainer().fit(expected := Tunable())
    runs.assert_same_run(module.result, expected.result)
    assert all(map(torch.equal, module.parameters(), expected.parameters()))
    assert_same_state(module.pruner.state_dict(), expected.pruner.state_dict())


@pytest.mark.parametrize("before", [False, True])
def test_a_batch_size_is_not_looked_for(tmp_path: Path, before: bool) -> None:
    trainer, module = make_trainer(default_root_dir=tmp_path), BareTunable() if before else Tunable()
    if isinstance(module, BareTunable):
        _prepared_before(trainer, module)
    with pytest.raises(emprune.ConfigError, match="must not have a BatchSizeFinder, which cannot change the batches"):
        Tuner(trainer).scale_batch_size(module)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "loaders that are not reloaded": (
        {"reload_dataloaders_every_n_epochs": 0},
        r"`reload_dataloaders_every_n_epochs` must be 1, .* got 0\. Write Trainer\(reload_dataloaders",
    ),
    "more epochs": ({"max_epochs": 6}, r"`max_epochs` must be the 5 epochs .* got 6\."),
    "any number of epochs": ({"max_epochs": -1, "max_steps": 5}, r"`max_epochs` must be a number .* got -1\. Write"),
    "some batches": ({"limit_train_batches": 0.5}, r"`limit_train_batches` must be 1\.0, .* got 0\.5\. Lower"),
    "one batch": ({"limit_train_batches": 1}, r"`limit_train_batches` must be 1\.0, .* got 1\. Lower"),
    "the same batches": ({"overfit_batches": 2}, r"`overfit_batches` must be 0, .* got 2\. To overfit a few"),
    "changing accumulation": (
        {"callbacks": [callbacks.GradientAccumulationScheduler({1: 2})]},
        r"`callbacks` must not have a GradientAccumulationScheduler",
    ),
    "pytorch_lightning's": (
        {"callbacks": [type("GradientAccumulationScheduler", (callbacks.Callback,), {})()]},
        r"`callbacks` must not have a GradientAccumulationScheduler",
    ),
    "another batch size": (
        {"callbacks": [callbacks.BatchSizeFinder()]},
        r"`callbacks` must not have a BatchSizeFinder",
    ),
    "validation that some epochs are too short for": (
        {"val_check_interval": 6},
        r"`val_check_interval` must be at most the batches of the smallest epoch, 4; got 6\. Lower it",
    ),
    "several devices before the ranks are there": (
        {"devices": 2, "strategy": "ddp"},
        r"among all 2 device\(s\); got a pruner for 1\. Call `prepare` in the `setup`",
    ),
    "no callback": ({"pruning": False}, r"`callbacks` must have a PruningCallback, .* got .*\. Write Trainer"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(emprune.ConfigError, match=message):
        prepare(make_trainer(**options), runs.make_dataloader(), runs.make_pruner())


def test_a_method_and_its_budget_are_taken_as_a_plain_loader_takes_them() -> None:
    choice: Any = {"keep": 0.7, "warmup_epochs": 1, "tail_epochs": 1, "seed": 3, "nonfinite": "skip"}
    loader = prepare(make_trainer(accumulate_grad_batches=2), runs.make_dataloader(), "greedy", **choice)
    plain = emprune.PrunedLoader(runs.make_dataloader(), "greedy", num_epochs=5, accumulation=2, **choice)
    plain.set_epoch(0)
    assert repr(loader.pruner) == repr(plain.pruner)
    assert loader.total_steps == plain.total_steps


def test_a_short_run_to_try_out_the_code_needs_no_other_budget() -> None:
    loader = prepare(make_trainer(fast_dev_run=2), runs.make_dataloader(), "emp", keep=0.3, tail_epochs=1)
    assert loader.pruner.num_epochs == 1


def test_batches_that_overtake_each_other_on_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emprune.DataPruner, "world_size", 2)
    dataloader = runs.make_dataloader(num_workers=2, in_order=False)
    with pytest.raises(emprune.ConfigError, match=r"`in_order` must be True on several ranks, .* got False"):
        prepare(make_trainer(devices=2, strategy="ddp"), dataloader, runs.make_pruner())


def test_devices_that_share_a_model_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "distributed_sampler_kwargs", {"num_replicas": 1, "rank": 0})
    with pytest.raises(emprune.ConfigError, match=r"got devices that share a model, 2 for 1 shard"):
        prepare(make_trainer(devices=2, strategy="ddp"), runs.make_dataloader(), runs.make_pruner())


def test_preparing_leaves_the_callbacks_of_the_trainer_alone() -> None:
    trainer: Any = make_trainer()
    before = list(trainer.callbacks)
    prepare(trainer, runs.make_dataloader(), runs.make_pruner())
    assert list(map(id, trainer.callbacks)) == list(map(id, before))


def test_copying_a_module_copies_neither_the_data_nor_the_trainer() -> None:
    module = Bare()
    module.loader = prepare(make_trainer(), runs.make_dataloader(), runs.make_pruner())
    assert copy.deepcopy(module).loader is module.loader


def test_training_on_another_loader_is_refused() -> None:
    with pytest.raises(emprune.ConfigError, match=r"`train_dataloader` must return the loader .* got DataLoader\."):
        make_trainer().fit(Module(), runs.make_dataloader())


class Unprepared(Module):
    def setup(self, stage: str) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.2)

    def train_dataloader(self) -> Any:
        return prepare(self.trainer, runs.make_dataloader(), runs.make_pruner())


def test_preparing_too_late_is_refused() -> None:
    with pytest.raises(
        emprune.ConfigError, match=r"must have a pruned loader before its fit begins; got none\. In the"
    ):
        make_trainer().fit(Unprepared())


class WithMethod(Module):
    def setup(self, stage: str) -> None:
        self.loader = prepare(self.trainer, runs.make_dataloader(), emprune.Greedy(), keep=0.5)
        self.pruner = self.loader.pruner


def test_another_fit_with_more_epochs_is_refused() -> None:
    trainer: Any = make_trainer(max_epochs=2)
    trainer.fit(module := WithMethod())
    num_trained = len(module.result.samples)
    trainer.fit(module)  # nothing is left to do
    assert len(module.result.samples) == num_trained > 0
    trainer.fit_loop.max_epochs = 4
    with pytest.raises(
        emprune.errors.EpochError, match=r"got epoch 2 there and epoch 0 here\. The trainer goes on from"
    ):
        trainer.fit(module)


def test_another_fit_with_more_epochs_on_a_loader_that_was_prepared_before_is_refused() -> None:
    trainer, module = make_trainer(), Bare()
    _prepared_before(trainer, module)
    trainer.fit(module)
    trainer.fit_loop.max_epochs = 7
    with pytest.raises(emprune.ConfigError, match=r"`max_epochs` must be the 5 epochs .* got 7\. A run cannot be made"):
        trainer.fit(module)


class Combined(Module):
    """Trains on the pruned loader and on another one."""

    def __init__(self, size: int, mode: str | None) -> None:
        super().__init__(emprune.Greedy())
        self.other: DataLoader[Any] = DataLoader(list(range(size)), batch_size=1)  # type: ignore[arg-type]
        self.mode = mode
        self.others: list[int] = []

    def train_dataloader(self) -> Any:
        loaders = {"other": self.other, "pruned": self.loader}
        return loaders if self.mode is None else CombinedLoader(loaders, self.mode)  # type: ignore[arg-type]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch["other"] is not None:
            self.others += batch["other"].tolist()
        return None if batch["pruned"] is None else super().training_step(batch["pruned"], batch_idx)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")  # the other loader is not
@pytest.mark.parametrize(("mode", "size"), [(None, 4), ("max_size_cycle", 3), ("min_size", 13), ("max_size", 2)])
def test_several_loaders_of_which_one_is_pruned(tmp_path: Path, mode: str | None, size: int) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=3)
    whole = Combined(size, mode)
    make_trainer(callbacks=[saving]).fit(whole)
    assert whole.result.delivered == whole.result.plans
    for path in tmp_path.glob("*.ckpt"):
        make_trainer().fit(resumed := Combined(size, mode), ckpt_path=str(path), **SAFELY)
        num_delivered = torch.load(path, weights_only=True)["num_delivered"]
        assert resumed.result.samples == whole.result.samples[num_delivered:]
        assert all(map(torch.equal, resumed.net.parameters(), whole.result.weights))


@pytest.mark.parametrize(
    ("mode", "size", "message"),
    [
        (None, 5, r"must be the longest in every epoch .*repeated; got 4 batches and another loader of 5"),
        (
            "max_size_cycle",
            99,
            r"must be the longest in every epoch .* of 99\. Use CombinedLoader with mode='min_size'",
        ),
        ("min_size", 12, r"must be the shortest in every epoch .*left out; got 13 batches .* of 12\. Use"),
    ],
)
def test_another_loader_that_would_repeat_or_cut_the_plan_is_refused(mode: str | None, size: int, message: str) -> None:
    module = Combined(size, mode)
    with pytest.raises(emprune.ConfigError, match=message):
        make_trainer().fit(module)
    assert not module.result.samples


def test_the_epoch_reaches_the_dataset() -> None:
    told: list[int] = []
    dataset: Any = TensorDataset(*runs.DATASET.tensors)
    dataset.set_epoch = told.append

    class Told(Module):
        def setup(self, stage: str) -> None:
            dataloader = DataLoader(dataset, batch_size=4)
            self.loader = prepare(self.trainer, dataloader, runs.make_pruner())
            self.pruner = self.loader.pruner

        def on_train_epoch_start(self) -> None:
            super().on_train_epoch_start()
            assert told[-1] == self.trainer.current_epoch

    make_trainer().fit(Told())
    assert told == sorted(told)
    assert set(told) == set(range(runs.NUM_EPOCHS))


def test_a_checkpoint_holds_the_state_once_and_a_plain_loop_goes_on_with_it(tmp_path: Path) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, filename="saved", every_n_train_steps=6, save_top_k=1)
    make_trainer(callbacks=[saving], max_steps=6).fit(Module(emprune.Greedy()))
    checkpoint = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"] == [{"saved_by": "PruningCallback"}]
    loader = emprune.PrunedLoader(runs.make_dataloader(), runs.make_pruner(emprune.Greedy()))
    loader.load_state_dict(checkpoint["callbacks"]["PruningCallback"])
    assert (loader.start_epoch, loader.num_delivered) == (1, 4)


def test_the_state_of_another_loader_is_refused() -> None:
    loader = prepare(make_trainer(), runs.make_dataloader(), runs.make_pruner())
    loader.load_state_dict(loader.state_dict())
    with pytest.raises(emprune.errors.StateError, match="must be loaded by the PruningCallback"):
        loader.load_state_dict({"_num_yielded": 3})


def test_a_checkpoint_without_the_pruner_is_refused(tmp_path: Path) -> None:
    plans = [list(range(runs.NUM_SAMPLES))] * runs.NUM_EPOCHS
    saving = callbacks.ModelCheckpoint(tmp_path, filename="saved", save_on_train_epoch_end=True)
    make_trainer(callbacks=[saving], max_epochs=2, pruning=False).fit(Vanilla(plans, total_steps=26))
    with pytest.raises(emprune.errors.EpochError, match=r"epoch 2 there and epoch 0 here\. The checkpoint was saved"):
        make_trainer().fit(Module(), ckpt_path=str(tmp_path / "saved.ckpt"))


def test_resuming_at_an_epochs_end_with_max_steps_names_the_cause(tmp_path: Path) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}", save_on_train_epoch_end=True)
    make_trainer(callbacks=[saving], max_steps=12).fit(Module(emprune.Greedy()))
    path = str(tmp_path / "epoch=0.ckpt")
    with pytest.raises(
        emprune.errors.EpochError, match=r"got epoch 0 there and epoch 1 here\. With `max_steps` Lightning"
    ):
        make_trainer(max_steps=18).fit(Module(emprune.Greedy()), ckpt_path=path)
    make_trainer().fit(resumed := Module(emprune.Greedy()), ckpt_path=path)
    assert len(resumed.result.plans) == runs.NUM_EPOCHS - 1


def test_another_trainer_on_the_same_loader_is_refused() -> None:
    trainer, module = make_trainer(), Bare()
    _prepared_before(trainer, module)
    with pytest.raises(emprune.ConfigError, match="Call `prepare` for this trainer"):
        make_trainer(pruning=False).fit(module)
    with pytest.raises(emprune.ConfigError, match="must have a pruned loader before its fit begins"):
        make_trainer().fit(module)
    trainer.fit(module)
    with pytest.raises(emprune.ConfigError, match="Call `prepare` for this trainer"):
        make_trainer(pruning=False).fit(module)


def test_evaluating_a_checkpoint_leaves_the_pruner_alone(tmp_path: Path) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    trainer, module = make_trainer(callbacks=[saving]), Module()
    trainer.fit(module)
    before = module.pruner.state_dict()
    trainer.validate(module, ckpt_path=str(tmp_path / "epoch=1.ckpt"), verbose=False)
    assert_same_state(module.pruner.state_dict(), before)


class WithIterator(Module):
    def training_step(self, dataloader_iter: Any) -> torch.Tensor:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        return super().training_step(batch, 0)


@pytest.mark.filterwarnings(
    "ignore:You are using the `dataloader_iter` step flavor", "ignore:Found `dataloader_iter` argument"
)
def test_a_module_that_takes_its_batches_itself() -> None:
    module = WithIterator()
    make_trainer().fit(module)
    assert module.result.num_steps == module.loader.total_steps
    assert runs.flat(module.result.delivered) == runs.flat(module.result.plans)


class Reporting(Module):
    """Writes what its rank did."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(emprune.Greedy(), identify=True)
        self.folder, self.name = folder, name

    def on_train_end(self) -> None:
        super().on_train_end()
        runs.assert_every_loss_is_its_own(self.pruner)
        report = {
            "plans": self.result.plans,
            "delivered": self.result.delivered,
            "num_steps": self.result.num_steps,
            "total_steps": self.loader.total_steps,
            "learning_rate": self.result.learning_rate,
            "validated": dict(self.validated),
            "weights": [weights.tolist() for weights in self.result.weights],
        }
        (self.folder / f"{self.name}-{self.global_rank}.json").write_text(json.dumps(report))


@pytest.mark.distributed
def test_after_ranks_that_end_with_the_fit_the_run_is_in_the_checkpoint(tmp_path: Path) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    trainer: Any = make_trainer(devices=2, strategy="ddp_fork", callbacks=[saving], max_epochs=2)
    trainer.fit(module := WithMethod())
    assert not hasattr(module, "loader")
    assert [callback.loader for callback in trainer.callbacks if isinstance(callback, PruningCallback)] == [None]
    loader = emprune.PrunedLoader(runs.make_dataloader(), "greedy", num_epochs=2, keep=0.5)
    loader.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["PruningCallback"])
    assert int(loader.pruner.visits.sum()) == sum(epoch["num_kept"] for epoch in loader.pruner.history)


@pytest.mark.distributed
def test_two_devices_share_the_plan_and_resume(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"devices": 2, "strategy": "ddp_fork", "accumulate_grad_batches": 2}
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=3)
    make_trainer(callbacks=[saving], **settings).fit(Reporting(tmp_path, "whole"))
    one, other = (json.loads((tmp_path / f"whole-{rank}.json").read_text()) for rank in (0, 1))
    assert one["plans"] == other["plans"]
    for plan, mine, yours in zip(one["plans"], one["delivered"], other["delivered"], strict=True):
        assert (mine, yours) == (plan[0::2], plan[1::2])
    assert one["num_steps"] == other["num_steps"] == one["total_steps"]
    assert one["learning_rate"] == other["learning_rate"] == pytest.approx(0.002)
    assert one["validated"] == other["validated"] == {"sanity": 1, "0": 1, "1": 1, "2": 1, "3": 1, "4": 1}
    assert one["weights"] == other["weights"]
    path = tmp_path / "step=3.ckpt"
    make_trainer(**settings).fit(Reporting(tmp_path, "resumed"), ckpt_path=str(path))
    num_delivered = torch.load(path, weights_only=True)["num_delivered"]
    for rank, report in enumerate((one, other)):
        resumed = json.loads((tmp_path / f"resumed-{rank}.json").read_text())
        assert runs.flat(resumed["delivered"]) == runs.flat(report["delivered"])[num_delivered:]
        assert resumed["weights"] == report["weights"]
