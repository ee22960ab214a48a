"""ArrayLoader: batches straight from tensors."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import emprune
from tests.data.helpers import assert_every_loss_is_its_own, loss_of, make_pruner, train
from tests.messages import ANY, Raises

ARRAYS = (torch.arange(22), torch.arange(22.0)[:, None].expand(22, 3), torch.arange(22) % 5 == 0)


def _jitter(generator: torch.Generator, position: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return position, x + torch.rand(x.shape, generator=generator, device=x.device), y


def _batches(seed: int = 0, *, stop: int = 99) -> list[list[Any]]:
    """All batches of a run with a random transform; after `stop` of them in a resumed loader."""

    def fresh() -> emprune.ArrayLoader:
        return emprune.ArrayLoader(ARRAYS, make_pruner(seed=seed), batch_size=4, transform=_jitter)

    def train(loader: emprune.ArrayLoader) -> Iterator[list[Any]]:
        for index, arrays in loader.batches():
            loader.pruner.observe(index, loss_of(index))
            yield [index.tolist(), *(array.tolist() for array in arrays)]

    loader, again = fresh(), fresh()
    batches = list(islice(train(loader), stop))
    again.load_state_dict(loader.state_dict())
    return batches + list(train(again))


def test_a_batch_is_the_arrays_at_its_index() -> None:
    pruner = make_pruner()
    loader = emprune.ArrayLoader(ARRAYS, pruner, batch_size=4)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        for index, arrays in loader:
            assert type(arrays) is tuple
            for whole, part in zip(ARRAYS, arrays, strict=True):
                assert part.equal(whole[index])
                assert part.dtype == whole.dtype
            pruner.observe(index, loss_of(index))
    assert_every_loss_is_its_own(pruner)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bool])
def test_arrays_of_any_type(dtype: torch.dtype) -> None:
    array = torch.arange(22).to(dtype)
    loader = emprune.ArrayLoader((array,), make_pruner(), batch_size=4)
    loader.set_epoch(0)
    for index, (part,) in loader:
        assert part.dtype == dtype
        assert part.tolist() == [array[i].item() for i in index]


def test_writing_to_a_delivered_index_changes_neither_the_plan_nor_whose_loss_it_is() -> None:
    pruner = make_pruner()
    loader = emprune.ArrayLoader(ARRAYS, pruner, batch_size=4)
    loader.set_epoch(0)
    planned = pruner.plan.index.clone()
    for index, _ in loader:
        pruner.observe(index, loss_of(index))
        index.floor_divide_(2)
    assert pruner.plan.index.equal(planned)
    assert_every_loss_is_its_own(pruner)


def test_a_transform_draws_by_seed_epoch_and_batch() -> None:
    assert _batches(0) == _batches(0)
    assert _batches(0) != _batches(1)
    noise = [np.subtract(x, np.array(position)[:, None]).tolist() for _, position, x, _ in _batches(0)]
    flat = [value for batch in noise for row in batch for value in row]
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize("stop", range(1, 10))
def test_a_transform_resumes_bit_equal(stop: int) -> None:
    assert _batches(stop=stop) == _batches()


def test_a_transform_that_failed_once() -> None:
    pruner = make_pruner()
    failures = [True]

    def fail_once(generator: torch.Generator, position: Tensor) -> tuple[Tensor]:
        if failures and failures.pop():
            raise ValueError("broken")
        return (position,)

    loader = emprune.ArrayLoader((torch.arange(22),), pruner, batch_size=4, transform=fail_once)
    loader.set_epoch(0)
    iterator = iter(loader)
    with pytest.raises(ValueError, match="broken"):
        next(iterator)
    assert [int(i) for index, _ in iterator for i in index] == pruner.plan.index[4:].tolist()
    assert loader.state_dict()["delivery"]["num_delivered"] == 0
    assert loader.num_delivered == len(pruner.plan) - 4
    assert train(pruner, loader) == pruner.plan.index.tolist()


def test_no_python_per_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch costs a handful of tensor operations, however large it is."""
    calls = 0
    select = Tensor.index_select

    def counting(self: Tensor, dim: int, index: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return select(self, dim, index)

    monkeypatch.setattr(Tensor, "index_select", counting)
    pruner = emprune.DataPruner(emprune.Random(), num_samples=5000, num_epochs=1, keep=1.0)
    loader = emprune.ArrayLoader((torch.arange(5000), torch.zeros(5000)), pruner, batch_size=1000)
    loader.set_epoch(0)
    assert sum(len(index) for index, _ in loader) == 5000
    assert calls == 2 * len(loader) == 10


@pytest.mark.parametrize(
    ("arrays", "parameter", "value"),
    [
        ((), "arrays", ANY),
        (torch.arange(22), "arrays", ANY),
        ((np.arange(22),), "arrays", ANY),
        ((torch.arange(22), torch.tensor(3)), "arrays", ANY),
        ((torch.arange(22), torch.arange(21)), "arrays", "21 on cpu"),
        ((torch.arange(22), torch.empty(22, device="meta")), "arrays", "22 on meta"),
        ((torch.arange(21),), "num_samples", 22),
    ],
    ids=["none", "no tuple", "NumPy", "a scalar", "another length", "another device", "another dataset"],
)
def test_arrays_that_are_refused(arrays: Any, parameter: str, value: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter=parameter, value=value):
        emprune.ArrayLoader(arrays, make_pruner(), batch_size=4)


@pytest.mark.parametrize("batch_size", [0, -4, 2.0, True])
def test_batch_size_is_a_positive_integer(batch_size: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="batch_size", value=batch_size):
        emprune.ArrayLoader(ARRAYS, make_pruner(), batch_size=batch_size)


@pytest.mark.parametrize("drop_last", ["no", 0, None])
def test_drop_last_is_true_or_false(drop_last: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="drop_last", value=drop_last):
        emprune.ArrayLoader(ARRAYS, make_pruner(), batch_size=4, drop_last=drop_last)
    with raises(emprune.ConfigError, parameter="drop_last", value=drop_last):
        make_pruner().begin_epoch(0, drop_last=drop_last)
    with raises(emprune.ConfigError, parameter="drop_last", value=drop_last):
        make_pruner().schedule.for_steps(num_steps=8, samples_per_step=4, num_samples=22, keep=0.5, drop_last=drop_last)


def test_a_transform_must_return_a_tuple(raises: Raises) -> None:
    pruner = make_pruner()
    loader = emprune.ArrayLoader((torch.arange(22),), pruner, batch_size=4, transform=lambda generator, x: x)
    loader.set_epoch(0)
    with raises(emprune.ConfigError, parameter="transform", value="Tensor"):
        next(iter(loader))
