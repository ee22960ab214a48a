"""emprune in a Fabric loop: the plain PrunedLoader; test_resume_matrix.py has `fabric.save` at every moment."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import emprune
from emprune.testing import assert_same_state
from tests.integration import runs

lightning = pytest.importorskip("lightning")


@pytest.fixture
def fabric() -> Any:
    fabric = lightning.Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


def test_a_loader_that_fabric_has_set_up_is_refused(fabric: Any) -> None:
    prepared = fabric.setup_dataloaders(runs.make_dataloader())
    with pytest.raises(emprune.ConfigError, match=r"got lightning's _FabricDataLoader\. Hand over the one .*to_device"):
        emprune.PrunedLoader(prepared, "emp", num_epochs=2, keep=0.5)


def test_fabric_itself_refuses_a_pruned_loader(fabric: Any) -> None:
    loader: Any = emprune.PrunedLoader(runs.make_dataloader(), "emp", num_epochs=2, keep=0.5)
    with pytest.raises(TypeError, match="Only PyTorch DataLoader"):
        fabric.setup_dataloaders(loader)


def test_the_loader_inside_is_refused_by_its_first_batch(fabric: Any) -> None:
    loader = emprune.PrunedLoader(runs.make_dataloader(), "emp", num_epochs=2, keep=0.5)
    inside = fabric.setup_dataloaders(loader.loader)
    with pytest.raises(emprune.errors.EpochError, match=r"set_epoch"):
        next(iter(inside))


def test_a_saved_state_holds_the_run_and_loads_safely(fabric: Any, tmp_path: Path) -> None:
    loader = emprune.PrunedLoader(runs.make_dataloader(), "random", num_epochs=2, keep=0.5)
    loader.set_epoch(0)
    next(iter(loader))
    fabric.save(tmp_path / "saved.ckpt", {"loader": loader})
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert_same_state(saved["loader"], loader.state_dict())
    again = emprune.PrunedLoader(runs.make_dataloader(), "random", num_epochs=2, keep=0.5)
    fabric.load(tmp_path / "saved.ckpt", {"loader": again})
    assert again.num_delivered == runs.BATCH_SIZE


def test_evaluation_loaders_are_set_up_as_ever(fabric: Any) -> None:
    loader = emprune.PrunedLoader(runs.make_dataloader(), "random", num_epochs=2, keep=0.5)
    evaluation: DataLoader[Any] = fabric.setup_dataloaders(loader.evaluation())
    assert torch.cat([position for position, _, _ in evaluation]).equal(torch.arange(runs.NUM_SAMPLES))
