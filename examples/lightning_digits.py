"""Handwritten digits with Lightning, at three tenths of the cost.

    python examples/lightning_digits.py --devices 2

Needs scikit-learn, for its 1,797 images, and `pip install 'emprune[lightning]'`.
"""

import argparse
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import emprune
from emprune.integrations.lightning import PruningCallback, prepare


class Digits(L.LightningModule):
    """A small network on pruned data."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep
        self.net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        pixels, labels = load_digits(return_X_y=True)
        digits = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels))
        self.train_set, self.test_set = random_split(digits, [1500, 297])

    def setup(self, stage: str) -> None:
        """Prune the training data; here, where Lightning has started the ranks."""
        if stage == "fit":
            dataloader = DataLoader(self.train_set, batch_size=32, shuffle=True)
            self.train_loader = prepare(self.trainer, dataloader, emprune.EMP(), keep=self.keep, tail_epochs=3)

    def train_dataloader(self) -> Any:
        """The loader that `prepare` returned."""
        return self.train_loader

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """All test images at once."""
        return DataLoader(self.test_set, batch_size=297)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Observe the batch; its index travels with it."""
        index, (x, y) = batch
        logits = self.net(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        return self.train_loader.reduce(index, losses, logits)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Nothing is observed here."""
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """A schedule of exactly the planned length."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=5e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=5e-3, total_steps=self.train_loader.total_steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main(*, num_epochs: int = 30, keep: float = 0.3, accelerator: str = "auto", devices: int = 1) -> float:
    """Train, print what it took, and return the test accuracy."""
    torch.manual_seed(0)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=num_epochs,
        callbacks=[PruningCallback()],
        reload_dataloaders_every_n_epochs=1,  # epochs differ in length
        accelerator=accelerator,
        devices=devices,
        **quiet,
    )
    module = Digits(keep)
    trainer.fit(module)
    accuracy = trainer.test(module, verbose=False)[0]["accuracy"]
    visited, full = int(module.train_loader.pruner.visits.sum()), len(module.train_set) * num_epochs
    trainer.print(f"test accuracy {accuracy:.1%}, after {visited} of {full} visits: {1 - visited / full:.0%} saved")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-epochs", type=int, default=30)
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    main(**vars(parser.parse_args()))
