"""`EMP(pool="gap")` under Lightning: after each validation the two logged losses are handed over."""

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset

import emprune
from emprune.testing import assert_same_state
from tests.integration import runs
from tests.messages import Raises

pytest.importorskip("lightning")

from lightning.pytorch import callbacks

from emprune.integrations.lightning import PruningCallback
from tests.integration.lightning_module import Module, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to:UserWarning")

GAP = emprune.EMP(pool="gap")
VALIDATION = Subset(runs.DATASET, range(0, 50, 3))


class GapModule(Module):
    """Validates on a part of the data, and on the probe."""

    def __init__(self, **options: Any) -> None:
        super().__init__(GAP, **options)
        self.gaps: list[float | None] = []

    def val_dataloader(self) -> Any:
        return [DataLoader(VALIDATION, batch_size=25), self.loader.evaluation(index=self.pruner.probe(), batch_size=25)]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[1]), batch[2]), sync_dist=True)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.gaps.append(self.pruner.gap)


class Named(GapModule):
    """Logs under names of its own."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        name = ("heldout", "probe")[dataloader_idx]
        self.log(name, F.cross_entropy(self.net(batch[1]), batch[2]), sync_dist=True, add_dataloader_idx=False)


def measured(module: Module) -> float:
    """The gap of a module's weights."""
    with torch.no_grad():
        losses = F.cross_entropy(module.net(runs.DATASET.tensors[1]), runs.DATASET.tensors[2], reduction="none")
    return float(losses[::3].mean() - losses.mean())  # the probe is all of so little data


def test_each_validation_is_handed_over_before_the_next_epoch_is_planned() -> None:
    module = GapModule()
    make_trainer().fit(module)
    assert module.gaps[0] is None
    assert all(gap is not None for gap in module.gaps[1:])
    assert module.pruner.gap == pytest.approx(measured(module), abs=1e-6)
    assert module.result.delivered == module.result.plans


def test_the_losses_may_have_other_names() -> None:
    named, plain = Named(), GapModule()
    callback = PruningCallback(validation_loss="heldout", train_loss="probe")
    make_trainer(pruning=False, callbacks=[callback]).fit(named)
    make_trainer().fit(plain)
    assert named.gaps == plain.gaps
    assert named.result.plans == plain.result.plans


def test_losses_that_are_not_logged_are_named(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="validation_loss", value="val_loss/dataloader_idx_0"):
        make_trainer().fit(Module(GAP))


def test_a_validation_outside_of_the_fit_changes_nothing() -> None:
    module = GapModule()
    trainer = make_trainer()
    trainer.fit(module)
    before = module.pruner.state_dict()
    trainer.validate(module, verbose=False)
    assert_same_state(module.pruner.state_dict(), before)


def test_a_loop_that_hands_over_itself_is_left_alone() -> None:
    module = Module(GAP)
    module.on_train_batch_end = lambda *_: module.pruner.observe_validation(1.5, train_loss=1.0)  # type: ignore[method-assign]
    make_trainer(pruning=False, callbacks=[PruningCallback(validation_loss=None)]).fit(module)
    assert module.pruner.gap == 0.5


@pytest.mark.parametrize(
    "when",
    [{}, {"save_on_train_epoch_end": True}, {"every_n_train_steps": 2}],
    ids=["after validation", "at epoch ends", "in mid-epoch"],
)
def test_a_resumed_run_ends_like_the_uninterrupted_one(tmp_path: Path, when: dict[str, Any]) -> None:
    """Unless it was saved between an epoch's last batch and its validation, which Lightning then leaves out."""
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", **when)
    whole = GapModule()
    make_trainer(callbacks=[saving]).fit(whole)
    saved = {int(path.stem.removeprefix("step=")): path for path in tmp_path.glob("*.ckpt")}
    steps = [-(-epoch["num_kept"] // runs.BATCH_SIZE) for epoch in whole.pruner.history]
    before_validation = {*accumulate(steps)} if "every_n_train_steps" in when else set()
    assert len(saved.keys() - before_validation) >= runs.NUM_EPOCHS
    for path in (saved[step] for step in saved.keys() - before_validation):
        resumed = GapModule()
        make_trainer().fit(resumed, ckpt_path=str(path))
        assert_same_state(resumed.pruner.state_dict(), whole.pruner.state_dict())
        weights = zip(resumed.net.parameters(), whole.net.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in weights)


class Reporting(GapModule):
    """Writes what its rank followed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self) -> None:
        super().on_train_end()
        report = {"gaps": self.gaps, "plans": self.result.plans, "weights": [w.tolist() for w in self.result.weights]}
        (self.folder / f"{self.global_rank}.json").write_text(json.dumps(report))


@pytest.mark.distributed
def test_two_devices_follow_one_gap(tmp_path: Path) -> None:
    make_trainer(devices=2, strategy="ddp_fork").fit(Reporting(tmp_path))
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one == other
    assert all(gap is not None for gap in one["gaps"][1:])
