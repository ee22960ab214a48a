"""A training that torchrun restarts when a rank dies. It goes on from the last saved state.

    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1  # else gloo may find the addresses of the ranks that died
    torchrun --standalone --nproc-per-node 2 --max-restarts 1 examples/elastic.py --folder runs/elastic

With ``--die-at 13`` rank 1 ends its process at that step of the first attempt, to show it.
"""

import argparse
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import emprune

SAVE_EVERY = 5


def main() -> None:
    """Train, save every few steps, and at the end write the weights, the visits and what each epoch delivered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--die-at", type=int, default=0)
    options = parser.parse_args()
    first_attempt = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    options.folder.mkdir(parents=True, exist_ok=True)

    dist.init_process_group("gloo")  # "nccl" on GPUs
    rank = dist.get_rank()
    pixels, labels = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels))
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dataloader = DataLoader(dataset, batch_size=32, shuffle=True)
    loader = emprune.PrunedLoader(dataloader, emprune.EMP(), num_epochs=5, keep=0.3)
    parts = model, optimizer, loader
    step, checkpoint = 0, options.folder / "checkpoint.pt"
    if checkpoint.exists():  # every rank loads what one rank saved
        saved = torch.load(checkpoint, weights_only=True)
        step = saved["step"]
        for part, state in zip(parts, saved["parts"], strict=True):
            part.load_state_dict(state)
        print(f"rank {rank} goes on after step {step}", flush=True)

    for epoch in loader.epochs():  # goes on in mid-epoch, too
        for index, (x, y) in loader:
            logits = model(x)
            loader.reduce(index, F.cross_entropy(logits, y, reduction="none"), logits).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % SAVE_EVERY == 0:
                loader.sync()  # on every rank
                if rank == 0:
                    state = {"step": step, "parts": [part.state_dict() for part in parts]}
                    whole = checkpoint.with_suffix(".new")
                    torch.save(state, whole)
                    whole.replace(checkpoint)
            if first_attempt and rank == 1 and step == options.die_at:
                os._exit(1)
        if rank == 0:
            torch.save(loader.pruner.plan.index, options.folder / f"plan-{epoch}.pt")
    if rank == 0:
        end = {"step": step, "model": model.state_dict(), "visits": loader.pruner.visits}
        torch.save(end, options.folder / "end.pt")
    dist.barrier()
    # A thread of gloo frees the last tensors, and needs Python's lock for it. The group's end holds that lock while it
    # waits for the thread, so it must come later: else both wait for ever.
    time.sleep(0.2)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
