"""Room for what must be in an epoch, with the batches that the run has or is resumed with."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import emprune
from emprune import Groups
from emprune.errors import ConfigError
from tests.messages import Raises

NUM_SAMPLES = 110
LABELS = torch.tensor([0] * 60 + [1] * 40 + [2] * 10)
BOTH = [({"pinned": list(range(40))}, "pinned"), ({"groups": Groups(LABELS, floor=0.3)}, "floor")]
"""About 44 samples an epoch have room for either, and 32 do not."""


def make_pruner(**options: Any) -> emprune.DataPruner:
    return emprune.DataPruner("random", **{"num_samples": NUM_SAMPLES, "num_epochs": 6, "keep": 0.4, **options})


def make_loader(pruner: emprune.DataPruner, batch_size: int, *, accumulation: int = 1) -> emprune.PrunedLoader:
    dataloader = DataLoader(TensorDataset(LABELS), batch_size=batch_size, shuffle=True)
    return emprune.PrunedLoader(dataloader, pruner, accumulation=accumulation)


@pytest.mark.parametrize(("options", "parameter"), BOTH)
def test_a_later_epoch_whose_larger_batches_leave_no_room_is_refused(
    options: dict[str, Any], parameter: str, raises: Raises
) -> None:
    first, second = make_pruner(**options), make_pruner(**options)
    first.begin_epoch(0, multiple_of=2)
    second.load_state_dict(first.state_dict())
    with raises(ConfigError, parameter=parameter):
        second.begin_epoch(1, multiple_of=32)
    assert len(second.begin_epoch(1, multiple_of=4)) == 44


@pytest.mark.parametrize(("options", "parameter"), BOTH)
def test_a_loader_whose_batches_leave_no_room_is_refused_when_it_is_made(
    options: dict[str, Any], parameter: str, raises: Raises
) -> None:
    with raises(ConfigError, parameter=parameter):
        make_loader(make_pruner(**options), 32)
    make_loader(make_pruner(**options), 4)


def test_per_batch_must_divide_a_batch_and_not_only_an_accumulated_step(raises: Raises) -> None:
    pruner = make_pruner(groups=Groups(LABELS, quota="equal", per_batch=2))
    with raises(ConfigError, parameter="per_batch", value=2):
        make_loader(pruner, 3, accumulation=2)
    loader = make_loader(pruner, 4, accumulation=2)
    loader.set_epoch(0)
    whole = [torch.bincount(labels, minlength=3) % 2 for _, (labels,) in loader]
    assert sum(int(odd.any()) for odd in whole) <= 1  # what a group has beyond whole runs comes last


def test_per_batch_is_checked_in_each_epoch(raises: Raises) -> None:
    pruner = make_pruner(groups=Groups(LABELS, per_batch=4))
    pruner.begin_epoch(0, multiple_of=4)
    with raises(ConfigError, parameter="per_batch", value=4):
        pruner.begin_epoch(1, multiple_of=2)


def test_a_floor_beside_per_batch_is_kept_by_epochs_of_all_data() -> None:
    pruner = make_pruner(groups=Groups(LABELS, per_batch=2, floor=0.5), keep=1.0)
    assert len(pruner.begin_epoch(0, multiple_of=10)) == NUM_SAMPLES
