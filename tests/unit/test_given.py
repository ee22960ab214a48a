"""Arrays as people give them: of any kind of number, and theirs to change afterwards."""

from typing import Any

import numpy as np
import pytest
import torch

import emprune
from emprune.errors import ConfigError
from emprune.given import as_tensor
from tests.messages import Raises

COUNTS = np.arange(1, 13)
KINDS: dict[str, Any] = {
    **{kind: COUNTS.astype(kind) for kind in ("uint8", "uint16", "uint32", "uint64", ">i8", ">u2", "int16")},
    "torch's uint16": torch.arange(1, 13).to(torch.uint16),
    "reversed": COUNTS[::-1].copy()[::-1],
    "every second": np.repeat(COUNTS, 2)[::2],
    "read only": np.broadcast_to(COUNTS, (1, 12))[0],
}


def make_pruner(**options: Any) -> emprune.DataPruner:
    return emprune.DataPruner("random", num_samples=12, num_epochs=4, keep=0.5, **options)


@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_any_array_of_integers_is_taken(values: Any) -> None:
    assert as_tensor(values)[0].tolist() == COUNTS.tolist()
    pruner = make_pruner(lengths=values, weights=values, pinned=values[:3])
    assert {1, 2, 3} <= set(pruner.begin_epoch(0, multiple_of=2).index.tolist())


@pytest.mark.parametrize(
    "values", [np.arange(12.0).astype(">f4"), np.arange(12.0)[::-1]], ids=["big-endian", "reversed"]
)
def test_any_array_of_floats_is_taken(values: Any) -> None:
    assert as_tensor(values)[0].tolist() == values.tolist()


@pytest.mark.parametrize("kind", ["an array", "a tensor"])
def test_what_is_given_may_be_changed_afterwards(kind: str) -> None:
    given: dict[str, Any] = {
        "lengths": np.arange(12),
        "weights": np.arange(1, 13, dtype=np.float32),
        "pinned": np.array([1, 3]),
        "groups": np.arange(12) % 2,
    }
    options = {name: torch.from_numpy(a) if kind == "a tensor" else a for name, a in given.items()}
    pruner, other = make_pruner(**options), make_pruner(**{name: a.copy() for name, a in given.items()})
    for values in given.values():
        values[:] = 1
    for epoch in range(4):
        assert pruner.begin_epoch(epoch, multiple_of=2) == other.begin_epoch(epoch, multiple_of=2)


@pytest.mark.parametrize("pinned", [[], torch.zeros(12, dtype=torch.bool)], ids=["an empty list", "no True"])
def test_pinned_samples_that_are_none_are_refused(pinned: Any, raises: Raises) -> None:
    with raises(ConfigError, parameter="pinned"):
        make_pruner(pinned=pinned)
