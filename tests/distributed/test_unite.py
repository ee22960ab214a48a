"""What ranks observed is united, bit by bit, whatever each of them saw."""

import math
import struct
from typing import Any

import pytest
import torch
from torch import Tensor

import emprune.distributed
from emprune.distributed import NOT_OBSERVED, NOT_USED, NOT_VALID, Ranks
from tests.distributed.pool import RankPool

pytestmark = pytest.mark.distributed

ODD_NAN = struct.unpack("<i", bytes.fromhex("0d0cc07f"))[0]
"""The bits of a NaN that carries a payload."""

Own = tuple[list[int], list[float], list[bool] | None]


def unite(owns: list[Own], chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unite what rank r gives as ``owns[r]``: places, values and whether they are valid."""
    emprune.distributed._CHUNK_ELEMENTS = chunk
    ranks = Ranks()
    places, values, valid = owns[ranks.rank]
    measured = {"loss": torch.tensor(values), "memory": -torch.tensor(values)} if places else {}
    winner, united = ranks.gather_observed(
        7,
        torch.tensor(places, dtype=torch.int64),
        measured,
        valid=None if valid is None else torch.tensor(valid),
        not_used=torch.tensor(places[:0], dtype=torch.int64),
        names=("loss", "memory"),
        doing="a test",
    )
    return winner, united["loss"], united["memory"]


INF, NAN = math.inf, math.nan
OWNS: dict[str, tuple[list[Own], dict[int, float], list[int]]] = {
    "each its own": ([([5, 1], [0.5, 0.1], None), ([4, 0], [0.4, 0.0], None)], {5: 0.5, 1: 0.1, 4: 0.4, 0: 0.0}, []),
    "one rank saw nothing": ([([], [], None), ([3], [0.25], None)], {3: 0.25}, []),
    "nor did the other": ([([], [], None), ([], [], None)], {}, []),
    "the highest rank's": ([([3, 6], [1.0, 2.0], None), ([3], [7.0], None), ([], [], None)], {3: 7.0, 6: 2.0}, []),
    "unless it is not valid": ([([3], [1.0], None), ([3], [NAN], [False])], {3: 1.0}, []),
    "not valid on either": ([([3, 2], [INF, 1.0], [False, True]), ([3], [NAN], [False])], {2: 1.0}, [3]),
    "four ranks": ([([r], [float(r)], None) for r in range(4)], {r: float(r) for r in range(4)}, []),
    "tiny and huge": ([([0, 2], [1e-45, 3.4e38], None), ([1], [-3.4e38], None)], {0: 1e-45, 2: 3.4e38, 1: -3.4e38}, []),
}  # fmt: skip


@pytest.mark.parametrize("chunk", [2, 1 << 24])
@pytest.mark.parametrize(("owns", "values", "invalid"), OWNS.values(), ids=OWNS)
def test_union(ranks: RankPool, owns: list[Own], values: dict[int, float], invalid: list[int], chunk: int) -> None:
    results = ranks.run(unite, owns, chunk, world_size=len(owns))
    for winner, loss, memory in results:
        assert winner.equal(results[0][0])
        assert (winner > NOT_VALID).nonzero().squeeze(1).tolist() == sorted(values)
        assert (winner == NOT_VALID).nonzero().squeeze(1).tolist() == invalid
        assert int((winner == NOT_OBSERVED).count_nonzero()) == 7 - len(values) - len(invalid)
        for place, value in values.items():
            assert loss[place] == torch.tensor(value)
            assert memory[place] == -torch.tensor(value)


def unite_bits() -> Tensor:
    ranks = Ranks()
    values = torch.tensor([[0, ODD_NAN], [-(2**31), 1]], dtype=torch.int32)[ranks.rank].view(torch.float32)
    _, united = ranks.gather_observed(
        4,
        torch.tensor([[0, 1], [2, 3]])[ranks.rank],
        {"loss": values},
        valid=None,
        not_used=torch.empty(0, dtype=torch.int64),
        names=("loss",),
        doing="a test",
    )
    return united["loss"].view(torch.int32)


def test_not_a_bit_is_lost(ranks: RankPool) -> None:
    for bits in ranks.run(unite_bits):
        assert bits.tolist() == [0, ODD_NAN, -(2**31), 1]  # 0.0, a NaN, -0.0, the smallest number


def unite_not_used() -> Tensor:
    """Rank 0 could not use any of four; rank 1 observed the first, and a NaN for the second."""
    ranks = Ranks()
    index = torch.arange(4)
    observed, not_used = (index[:0], index) if ranks.rank == 0 else (index[:2], index[2:3])
    winner, _ = ranks.gather_observed(
        5,
        observed,
        {"loss": torch.tensor([1.0, NAN])[: len(observed)]},
        valid=torch.tensor([True, False])[: len(observed)],
        not_used=not_used,
        names=("loss",),
        doing="a test",
    )
    return winner


def test_what_one_rank_could_not_use_counts_where_no_other_observed_it(ranks: RankPool) -> None:
    for winner in ranks.run(unite_not_used):
        assert winner[0] > NOT_VALID
        assert winner[1:].tolist() == [NOT_VALID, NOT_USED, NOT_USED, NOT_OBSERVED]


def say() -> list[Any]:
    own = Ranks()
    return own.exchange({"rank": own.rank, "nothing": None}, doing="a test")


def test_everybody_hears_everybody(ranks: RankPool) -> None:
    for heard in ranks.run(say, world_size=3):
        assert heard == [{"rank": rank, "nothing": None} for rank in range(3)]
