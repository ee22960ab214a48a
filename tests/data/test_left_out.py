"""Samples that a collate function or a stream leaves out are given up, and the run goes on without them."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import emprune
from emprune.data import LEFT_OUT, KeptSamples, KeyedStream
from emprune.testing import assert_same_state, through_disk
from tests.data.datasets import Positions
from tests.data.helpers import assert_every_loss_is_its_own, loss_of
from tests.data.streams import Shards

NUM_SAMPLES, NUM_EPOCHS, BATCH = 200, 24, 10
DAMAGED = torch.arange(NUM_SAMPLES) % 8 == 3


def decode(sample: str) -> Any:
    return LEFT_OUT if DAMAGED[int(sample)] else torch.tensor(int(sample))


def collate(samples: list[Any]) -> KeptSamples:
    kept = [number for number, sample in enumerate(samples) if not DAMAGED[int(sample)]]
    return KeptSamples(torch.tensor([int(samples[number]) for number in kept]), kept)


def make(kind: str, method: str = "greedy", **options: Any) -> Any:
    settings: dict[str, Any] = {"num_epochs": NUM_EPOCHS, "keep": 0.1, **options}
    if kind == "stream":
        stream = KeyedStream(Shards([NUM_SAMPLES]), decode=decode, shards=["s0"])
        return emprune.PrunedStream(DataLoader(stream, batch_size=BATCH), method, **settings)
    dataloader = DataLoader(Positions(NUM_SAMPLES), batch_size=BATCH, collate_fn=collate)
    return emprune.PrunedLoader(dataloader, method, **settings)


def train(loader: Any, *, stop: tuple[int, int] | None = None) -> list[int]:
    """Train to the end or to a batch of an epoch; return how many samples each epoch trained on."""
    trained = []
    for epoch in loader.epochs():
        trained.append(0)
        for number, (index, batch) in enumerate(loader):
            assert index.equal(batch)
            if len(index):
                loader.reduce(index, loss_of(index))
            trained[-1] += len(index)
            if (epoch, number) == stop:
                return trained
    return trained


@pytest.mark.parametrize("nonfinite", ["error", "skip", "revisit"])
@pytest.mark.parametrize("method", ["greedy", "random-permutation", "order-dp"])
@pytest.mark.parametrize("kind", ["positions", "stream"])
def test_damaged_samples_are_tried_twice_and_then_given_up(kind: str, method: str, nonfinite: str) -> None:
    loader = make(kind, method, nonfinite=nonfinite)
    trained = train(loader)
    assert trained[-8:] == [20] * 8
    assert sum(trained) == NUM_EPOCHS * 20 - 2 * int(DAMAGED.count_nonzero())
    assert int(loader.pruner.visits.sum()) == NUM_EPOCHS * 20
    assert loader.pruner.visits[DAMAGED].tolist() == [2] * int(DAMAGED.count_nonzero())
    assert_every_loss_is_its_own(loader.pruner)


@pytest.mark.parametrize("stop", [(0, 0), (2, 1), (7, 0), (11, 1)])
@pytest.mark.parametrize("kind", ["positions", "stream"])
def test_a_run_with_damaged_samples_goes_on_exactly(kind: str, stop: tuple[int, int]) -> None:
    whole, stopped, resumed = (make(kind) for _ in range(3))
    train(whole)
    train(stopped, stop=stop)
    resumed.load_state_dict(through_disk(stopped.state_dict()))
    train(resumed)
    assert_same_state(resumed.state_dict(), whole.state_dict())


def test_a_second_pass_over_an_epoch_tells_nothing_of_its_samples() -> None:
    loader = make("positions")
    loader.set_epoch(0)
    train_on = [index for index, _ in loader]
    loader.reduce(train_on[0], loss_of(train_on[0]))
    loader.sync()
    before = through_disk(loader.state_dict())
    assert int(loader.pruner.stats["failures"].sum()) > 0
    for _ in loader:
        pass
    loader.sync()
    assert_same_state(loader.state_dict(), before)
