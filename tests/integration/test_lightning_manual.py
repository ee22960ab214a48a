"""Lightning's manual optimisation: the module steps where the loader says, and the run is that of a plain loop."""

from pathlib import Path
from typing import Any

import pytest
import torch

import emprune
from tests.integration import runs

pytest.importorskip("lightning")

from lightning.pytorch import LightningModule, callbacks

from emprune.integrations.lightning import prepare
from tests.integration.lightning_module import Module, learning_rate, make_trainer
from tests.messages import Raises

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to:UserWarning"),
    # Lightning 2.6 remarks that a checkpoint holds the weights after the step: they are what a run goes on from.
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization:UserWarning"),
]


class Manual(Module):
    """Steps one or two optimizers itself, after so many batches."""

    def __init__(self, accumulation: int | None, *, second: bool = False) -> None:
        super().__init__(emprune.EMP())
        self.automatic_optimization = False
        self.accumulation, self.other = accumulation, torch.nn.Linear(2, 1) if second else None

    def setup(self, stage: str) -> None:
        pruner = runs.make_pruner(self.method)
        self.loader = prepare(self.trainer, runs.make_dataloader(), pruner, accumulation=self.accumulation)
        self.pruner = self.loader.pruner

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx) / (self.accumulation or 1)
        if self.other is not None:
            loss = loss + self.other(torch.ones(2)).sum()
        self.manual_backward(loss)
        if self.loader.ends_step:
            optimizers: Any = self.optimizers()
            for optimizer in [optimizers] if self.other is None else optimizers:
                optimizer.step()
                optimizer.zero_grad()
            scheduler: Any = self.lr_schedulers()
            scheduler.step()
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.net.parameters(), lr=0.2, momentum=0.9)
        others = [] if self.other is None else [torch.optim.SGD(self.other.parameters(), lr=0.1)]
        return [optimizer, *others], [runs.make_scheduler(optimizer, self.total_steps())]


@pytest.mark.parametrize("accumulation", [None, 3])
def test_a_module_that_steps_itself_ends_like_the_plain_loop(accumulation: int | None) -> None:
    make_trainer().fit(module := Manual(accumulation))
    pruner = runs.make_pruner(emprune.EMP())
    runs.assert_same_run(module.result, runs.plain_run(pruner, accumulation=accumulation or 1))
    assert module.result.num_steps == module.loader.total_steps


@pytest.mark.parametrize("second", [False, True])
def test_a_module_that_steps_itself_resumes_in_mid_epoch(tmp_path: Path, second: bool) -> None:
    saving = callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=1 + second)
    make_trainer(callbacks=[saving]).fit(whole := Manual(3, second=second))
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert len(saved) > runs.NUM_EPOCHS
    for path in saved:
        trainer = make_trainer()
        trainer.fit(resumed := Manual(3, second=second), ckpt_path=str(path))
        assert all(map(torch.equal, resumed.net.parameters(), whole.result.weights)), path
        assert resumed.pruner.visits.equal(whole.pruner.visits)
        assert learning_rate(trainer) == whole.result.learning_rate


class Automatic(Module):
    def setup(self, stage: str) -> None:
        self.loader = prepare(self.trainer, runs.make_dataloader(), emprune.EMP(), keep=0.5, accumulation=3)


@pytest.mark.parametrize("module", [Automatic(), None])
def test_another_accumulation_than_the_trainers_is_refused_where_the_trainer_steps(
    raises: Raises, module: LightningModule | None
) -> None:
    trainer = make_trainer(accumulate_grad_batches=2)
    with raises(emprune.ConfigError, parameter="accumulation", value=3):
        if module is None:
            prepare(trainer, runs.make_dataloader(), emprune.EMP(), keep=0.5, accumulation=3)
        else:
            trainer.fit(module)
