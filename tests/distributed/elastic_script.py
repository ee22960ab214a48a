"""A training script as torchrun starts it: it saves after each step, and goes on from what was saved. Rank 1 dies once.

python -m torch.distributed.run --nproc-per-node 2 --max-restarts 3 elastic_script.py FOLDER STEP_TO_DIE_AFTER
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset

import emprune


def main(folder: Path, dies_after: int) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    dataset = TensorDataset(torch.arange(48))
    loader = emprune.PrunedLoader(DataLoader(dataset, batch_size=4, shuffle=True), "greedy", num_epochs=5, keep=0.5)
    saved, delivered, step = folder / "state.pt", [], 0
    if saved.exists():
        checkpoint = torch.load(saved, weights_only=True)
        loader.load_state_dict(checkpoint["loader"])
        delivered, step = checkpoint["delivered"], checkpoint["step"]
    restarted = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    for epoch in loader.epochs():
        for index, _ in loader:
            loader.reduce(index, index.float() + epoch)
            shares: list[list[int]] = [[], []]
            dist.all_gather_object(shares, index.tolist())
            delivered, step = [*delivered, sorted(shares[0] + shares[1])], step + 1
            loader.sync()
            if rank == 0:
                torch.save({"loader": loader.state_dict(), "delivered": delivered, "step": step}, folder / "new.pt")
                (folder / "new.pt").replace(saved)
            dist.barrier()
            if rank == 1 and step == dies_after and not restarted:
                os._exit(3)
    if rank == 0:
        visits = loader.pruner.stats["visits"].tolist()
        torch.save({"delivered": delivered, "visits": visits, "restarted": restarted}, folder / "end.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
