"""Every loader here keeps the contract that third parties' loaders are held to."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune
from emprune.testing.loaders import Loader, LoaderContract
from tests.data.datasets import Positions
from tests.data.streams import keyed


class TestPrunedLoader(LoaderContract):
    options: dict[str, Any] = {}  # noqa: RUF012 - a constant

    def make_loader(self, pruner: emprune.DataPruner, *, accumulation: int = 1) -> Loader:
        loader = DataLoader(Positions(pruner.num_samples), batch_size=self.batch_size, shuffle=True, **self.options)
        return emprune.PrunedLoader(loader, pruner, accumulation=accumulation)

    def positions(self, batch: Any) -> Tensor:
        assert isinstance(batch, Tensor)
        return batch


class TestPrunedLoaderWithWorkers(TestPrunedLoader):
    num_epochs = 4  # processes cost
    options = {"num_workers": 2, "persistent_workers": True}  # noqa: RUF012


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
class TestStatefulDataLoader(TestPrunedLoader):
    def make_loader(self, pruner: emprune.DataPruner, *, accumulation: int = 1) -> Loader:
        loader = StatefulDataLoader(Positions(pruner.num_samples), batch_size=self.batch_size, shuffle=True)
        return emprune.PrunedLoader(loader, pruner, accumulation=accumulation)


class TestArrayLoader(LoaderContract):
    def make_loader(self, pruner: emprune.DataPruner, *, accumulation: int = 1) -> Loader:
        arrays = (torch.arange(pruner.num_samples), torch.zeros(pruner.num_samples, 2))
        return emprune.ArrayLoader(arrays, pruner, batch_size=self.batch_size, accumulation=accumulation)

    def positions(self, batch: Any) -> Tensor:
        position = batch[0]
        assert isinstance(position, Tensor)
        return position


class TestPrunedStream(LoaderContract):
    options: dict[str, Any] = {}  # noqa: RUF012

    def make_loader(self, pruner: emprune.DataPruner, *, accumulation: int = 1) -> Loader:
        stream = DataLoader(keyed([9, 1, 7, 5]), batch_size=self.batch_size, **self.options)
        return emprune.PrunedStream(stream, pruner, accumulation=accumulation, shuffle_buffer=5)

    def positions(self, batch: Any) -> Tensor:
        assert isinstance(batch, Tensor)
        return batch

    def order(self, pruner: emprune.DataPruner, loader: Any) -> list[int]:
        delivered: list[int] = loader._deal(pruner.plan).index.tolist()
        return delivered


class TestPrunedStreamWithWorkers(TestPrunedStream):
    num_epochs = 4  # processes cost
    options = {"num_workers": 2, "persistent_workers": True}  # noqa: RUF012
