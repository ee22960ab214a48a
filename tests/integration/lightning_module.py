"""The run of `runs` in Lightning's words."""

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer, callbacks
from torch.utils.data import DataLoader

import emprune
from emprune.integrations.lightning import PruningCallback, prepare
from tests.integration import runs


class Module(LightningModule):
    """Trains as `runs.plain_run` does; keeps what it was given."""

    def __init__(self, method: emprune.Method | None = None, *, identify: bool = False, **options: Any) -> None:
        super().__init__()
        self.method, self.identify, self.options = method, identify, options
        self.net = runs.make_model()
        self.result = runs.Result()
        self.validated: Counter[str] = Counter()

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.loader = prepare(self.trainer, runs.make_dataloader(**self.options), runs.make_pruner(self.method))
            self.pruner = self.loader.pruner

    def train_dataloader(self) -> Any:
        return self.loader

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(runs.DATASET, batch_size=25)

    def on_train_epoch_start(self) -> None:
        self.result.plans.append(self.pruner.plan.index.tolist())
        self.result.delivered.append([])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        index, inner = batch
        if not self.result.delivered:
            self.result.delivered.append([])  # resumed in mid-epoch
        self.result.delivered[-1] += index.tolist()
        return runs.reduce(self.pruner, self.net, index, inner, identify=self.identify)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated["sanity" if self.trainer.sanity_checking else str(self.trainer.current_epoch)] += 1
        self.log("val_loss", F.cross_entropy(self.net(batch[1]), batch[2]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.9)
        scheduler = runs.make_scheduler(optimizer, self.total_steps())
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def total_steps(self) -> int:
        return self.loader.total_steps

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["num_delivered"] = sum(map(len, self.result.delivered))

    def on_train_end(self) -> None:
        self.result.num_steps = self.trainer.global_step
        self.result.learning_rate = learning_rate(self.trainer)
        self.result.weights = [parameter.detach().clone() for parameter in self.net.parameters()]


def learning_rate(trainer: Trainer) -> float:
    return float(trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0])


def make_trainer(*, pruning: bool = True, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_epochs": runs.NUM_EPOCHS,
        "reload_dataloaders_every_n_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, callbacks.ModelCheckpoint) for c in options.get("callbacks", [])),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **options,
        "callbacks": [*options.get("callbacks", []), *([PruningCallback()] if pruning else [])],
    }
    return Trainer(**settings)
