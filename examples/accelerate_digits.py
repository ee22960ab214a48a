"""Handwritten digits with accelerate, at three tenths of the cost.

    accelerate launch examples/accelerate_digits.py     # or: python examples/accelerate_digits.py

Needs scikit-learn, for its 1,797 images, and `pip install 'emprune[accelerate]'`.
"""

import argparse

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import emprune
from emprune.integrations.accelerate import prepare


def main(*, num_epochs: int = 30, keep: float = 0.3, cpu: bool = False) -> float:
    """Train, print what it took, and return the test accuracy."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels))
    train_set, test_set = random_split(digits, [1500, 297])
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    accelerator = Accelerator(cpu=cpu, step_scheduler_with_optimizer=False)
    dataloader = DataLoader(train_set, batch_size=32, shuffle=True)
    loader = prepare(accelerator, dataloader, emprune.EMP(), num_epochs=num_epochs, keep=keep, tail_epochs=3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=loader.total_steps)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    for _ in loader.epochs():
        for index, (x, y) in loader:
            with accelerator.accumulate(model):
                logits = model(x)
                losses = F.cross_entropy(logits, y, reduction="none")
                accelerator.backward(loader.reduce(index, losses, logits))
                optimizer.step()
                if accelerator.sync_gradients:
                    scheduler.step()
                optimizer.zero_grad()

    accuracy = test_accuracy(accelerator, model, accelerator.prepare(DataLoader(test_set, batch_size=99)))
    visited, full = int(loader.pruner.visits.sum()), len(train_set) * num_epochs
    accelerator.print(f"test accuracy {accuracy:.1%}, after {visited} of {full} visits: {1 - visited / full:.0%} saved")
    return accuracy


@torch.no_grad()
def test_accuracy(accelerator: Accelerator, model: nn.Module, batches: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """The share of the test images whose digit the model tells."""
    hits = [accelerator.gather_for_metrics(model(x).argmax(1) == y) for x, y in batches]
    return float(torch.cat(hits).float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-epochs", type=int, default=30)
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--cpu", action="store_true")
    main(**vars(parser.parse_args()))
