"""One process is one rank, and knows of no other; several are in tests/distributed."""

import pytest
import torch
import torch.distributed as dist

import emprune
from emprune.distributed import Ranks, launched_ranks
from tests.messages import Raises
from tests.unit.support import make_pruner


def test_one_process_is_one_rank() -> None:
    assert not dist.is_initialized()
    ranks = Ranks()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.exchange("said", doing="anything") == ["said"]


def test_ranks_that_came_after_the_pruner_are_noticed(monkeypatch: pytest.MonkeyPatch, raises: Raises) -> None:
    pruner = make_pruner()
    pruner.observe(pruner.begin_epoch(0).index, torch.rand(5))
    monkeypatch.setattr(Ranks, "_current_size", lambda self: 2)
    for act in (pruner.sync, lambda: pruner.begin_epoch(1)):
        with raises(emprune.errors.RankError, value=2):
            act()


def test_fewer_gpus_than_ranks(raises: Raises, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("LOCAL_WORLD_SIZE", "2"), ("TORCHELASTIC_RUN_ID", "a run")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with raises(emprune.ConfigError, value="2 ranks and 1 GPUs"), launched_ranks():
        pass
