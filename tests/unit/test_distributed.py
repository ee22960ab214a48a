"""One process is one rank, and knows of no other; several are in tests/distributed."""

import pytest
import torch
import torch.distributed as dist

import emprune
from emprune.distributed import Ranks
from tests.unit.support import make_pruner


def test_one_process_is_one_rank() -> None:
    assert not dist.is_initialized()
    ranks = Ranks()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.exchange("said", doing="anything") == ["said"]


def test_ranks_that_came_after_the_pruner_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pruner = make_pruner()
    pruner.observe(pruner.begin_epoch(0).index, torch.rand(5))
    monkeypatch.setattr(Ranks, "_current_size", lambda self: 2)
    for act in (pruner.sync, lambda: pruner.begin_epoch(1)):
        with pytest.raises(emprune.errors.RankError) as caught:
            act()
        assert str(caught.value) == (
            "The pruner was made for 1 rank(s), and there are 2 now. Make it after torch.distributed is initialised; "
            "to go on with other ranks, load its state into a new one."
        )
