"""Every framework's checkpoint, at every moment, with and without workers, on one rank and on two.

The matrix is state × moment × workers × ranks; each test goes through the moments. A diagonal of it runs always, all
of it by `make matrix`. tests/data and tests/distributed have the same for emprune's own states.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import start_processes

from emprune.testing import assert_same_state
from tests.integration import resuming
from tests.integration.resuming import MOMENTS, NUM_EPOCHS

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning",
    "ignore:Be aware that when using `ckpt_path`, callbacks used to:UserWarning",
)

ALWAYS = {("accelerate", 1, 0), ("lightning", 1, 0), ("fabric", 1, 2), ("dcp", 2, 0)}


def cells(state: str) -> pytest.MarkDecorator:
    """The cells of a state's table: ranks and workers."""
    table = [(world_size, num_workers) for world_size in (1, 2) for num_workers in (0, 2)]
    marks = {1: [], 2: [pytest.mark.distributed]}
    return pytest.mark.parametrize(
        ("world_size", "num_workers"),
        [
            pytest.param(*cell, marks=marks[cell[0]] + ([] if (state, *cell) in ALWAYS else [pytest.mark.matrix]))
            for cell in table
        ],
    )


@cells("accelerate")
@pytest.mark.usefixtures("fresh_accelerate")
def test_accelerate(tmp_path: Path, world_size: int, num_workers: int) -> None:
    import accelerate

    if world_size == 1:
        resuming.with_accelerate(tmp_path, num_workers)
    else:
        accelerate.debug_launcher(resuming.with_accelerate, args=(tmp_path, num_workers), num_processes=2)


@cells("fabric")
def test_fabric(tmp_path: Path, world_size: int, num_workers: int) -> None:
    lightning = pytest.importorskip("lightning")
    strategy = "auto" if world_size == 1 else "ddp_fork"
    fabric = lightning.Fabric(accelerator="cpu", devices=world_size, strategy=strategy)
    fabric.launch(resuming.with_fabric, tmp_path, num_workers)


@cells("dcp")
def test_torch_distributed_checkpoint(tmp_path: Path, world_size: int, num_workers: int) -> None:
    if world_size == 1:
        resuming.with_distributed_checkpoint(tmp_path, num_workers)
    else:  # the pool's processes may not start workers
        start_processes(resuming.with_distributed_checkpoint_on_two, (tmp_path, num_workers), 2, start_method="fork")


@cells("lightning")
def test_lightning(tmp_path: Path, world_size: int, num_workers: int) -> None:
    pytest.importorskip("lightning")
    from tests.integration.resuming_lightning import fit

    strategy: Any = {} if world_size == 1 else {"devices": 2, "strategy": "ddp_fork"}
    fit(tmp_path, "whole", num_workers, saving=True, **strategy)
    for moment in MOMENTS:
        fit(tmp_path, moment, num_workers, ckpt_path=tmp_path / f"{moment}.ckpt", **strategy)
    for rank in range(world_size):
        whole = torch.load(tmp_path / f"whole-{rank}.pt", weights_only=True)
        assert whole["ended"] == list(range(NUM_EPOCHS))
        for moment in MOMENTS:
            again = torch.load(tmp_path / f"{moment}-{rank}.pt", weights_only=True)
            done = torch.load(tmp_path / f"{moment}.ckpt", weights_only=True)["done"]
            assert again["delivered"] == whole["delivered"][done["delivered"] :], moment
            skipped = moment in ("after the last batch", "after the loop")  # Lightning does not repeat an epoch's end
            assert again["ended"] == whole["ended"][done["ended"] + skipped :], moment
            assert_same_state(again["state"], whole["state"])
            assert_same_state(again["weights"], whole["weights"])
