"""Hugging Face datasets that are streamed: real Parquet files and generators, read from this machine."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets.distributed
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import emprune
from emprune.data import StreamIndex
from emprune.integrations.datasets import HuggingFaceStream, index_dataset
from tests.data.helpers import assert_every_loss_is_its_own, loss_of
from tests.messages import Raises

SIZES = [13, 4, 17, 6]
FEATURES = datasets.Features(
    {"id": datasets.Value("string"), "image": datasets.Image(), "label": datasets.Value("int64")}
)


def write_parquet(folder: Path, *, sizes: list[int] = SIZES, start: int = 0) -> list[str]:
    paths, position = [], start
    for number, size in enumerate(sizes):
        rows = []
        for _ in range(size):
            png = io.BytesIO()
            Image.fromarray(np.full((4, 4), position, dtype=np.uint8)).save(png, "PNG")
            rows.append({"id": f"id{position}", "image": {"bytes": png.getvalue(), "path": None}, "label": position})
            position += 1
        paths.append(str(folder / f"{number:03d}.parquet"))
        pq.write_table(pa.Table.from_pylist(rows), paths[-1], row_group_size=5)
    return paths


@pytest.fixture
def streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> datasets.IterableDataset:
    return load(write_parquet(tmp_path), tmp_path)


def load(paths: list[str], folder: Path) -> Any:
    return datasets.load_dataset(
        "parquet", data_files=paths, split="train", streaming=True, features=FEATURES, cache_dir=str(folder / "cache")
    )


def to_tensors(row: dict[str, Any]) -> tuple[torch.Tensor, int]:
    return torch.from_numpy(np.asarray(row["image"]).copy()), row["label"]


def make(stream: Any, **options: Any) -> emprune.PrunedStream:
    loader = DataLoader(stream, **{"batch_size": 4, **options})
    return emprune.PrunedStream(loader, emprune.Greedy(), num_epochs=3, keep=0.5, shuffle_buffer=5)


def train(loader: emprune.PrunedStream) -> list[int]:
    delivered: list[int] = []
    for index, (image, label) in loader:
        assert index.equal(label)
        assert (image == index.view(-1, 1, 1)).all()
        loader.reduce(index, loss_of(label))
        delivered += index.tolist()
    return delivered


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("key", [None, "id"])
def test_a_run_trains_on_the_plan_and_nothing_else(streamed: Any, workers: int, key: str | None) -> None:
    index = index_dataset(streamed, key=key)
    assert index.sizes.tolist() == SIZES
    loader = make(HuggingFaceStream(streamed, index, transform=to_tensors, key=key), num_workers=workers)
    for _ in loader.epochs():
        assert sorted(train(loader)) == sorted(loader.pruner.plan.index.tolist())
    assert_every_loss_is_its_own(loader.pruner)


def test_an_index_from_a_file(streamed: Any, tmp_path: Path) -> None:
    index_dataset(streamed, key="id").save(tmp_path / "index")
    loader = make(HuggingFaceStream(streamed, tmp_path / "index", transform=to_tensors, key="id"))
    loader.set_epoch(0)
    assert sorted(train(loader)) == sorted(loader.pruner.plan.index.tolist())


def test_what_is_not_in_the_plan_is_not_decoded(streamed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index, decoded = index_dataset(streamed), []
    decode = datasets.Image.decode_example

    def remember(self: Any, value: Any, *arguments: Any, **options: Any) -> Any:
        decoded.append(value)
        return decode(self, value, *arguments, **options)

    monkeypatch.setattr(datasets.Image, "decode_example", remember)
    loader = make(HuggingFaceStream(streamed, index, transform=to_tensors))
    loader.set_epoch(0)
    assert len(train(loader)) == len(decoded) == len(loader.pruner.plan) < sum(SIZES)


def rows(shards: list[int]) -> Iterator[dict[str, int]]:
    for shard in shards:
        for row in range(5):
            yield {"label": 5 * shard + row}


def only_label(row: dict[str, int]) -> int:
    return row["label"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_generator_and_a_dataset_in_memory(workers: int) -> None:
    generated = datasets.IterableDataset.from_generator(rows, gen_kwargs={"shards": [0, 1, 2, 3]})
    in_memory = datasets.Dataset.from_dict({"label": list(range(20))}).to_iterable_dataset(num_shards=4)
    for dataset in (generated, in_memory):
        stream = HuggingFaceStream(dataset, index_dataset(dataset), transform=only_label)
        loader = make(stream, num_workers=workers)
        for _ in loader.epochs():
            for index, label in loader:
                assert index.equal(label)
                loader.reduce(index, loss_of(label))
        assert_every_loss_is_its_own(loader.pruner)


def test_a_dataset_with_positions_goes_to_the_other_loader() -> None:
    dataset: Any = datasets.Dataset.from_dict({"label": list(range(20))}).with_format("torch")
    loader = emprune.PrunedLoader(DataLoader(dataset, batch_size=4), emprune.Greedy(), num_epochs=2, keep=0.5)
    for _ in loader.epochs():
        for index, row in loader:
            assert index.equal(row["label"])
            loader.reduce(index, loss_of(row["label"]))
    assert_every_loss_is_its_own(loader.pruner)


def test_a_run_goes_on_in_mid_epoch(streamed: Any) -> None:
    index = index_dataset(streamed, key="id")

    def fresh() -> emprune.PrunedStream:
        return make(HuggingFaceStream(streamed, index, transform=to_tensors, key="id"))

    whole, stopped, resumed = fresh(), fresh(), fresh()
    expected = [i for _ in whole.epochs() for i in train(whole)]
    stopped.set_epoch(0)
    position, (_, label) = next(iter(stopped))
    stopped.reduce(position, loss_of(label))
    resumed.load_state_dict(stopped.state_dict())
    assert position.tolist() + [i for _ in resumed.epochs() for i in train(resumed)] == expected


def test_a_dataset_with_chosen_columns_only_reads(streamed: Any) -> None:
    changed = streamed.select_columns(["image", "label"])
    read = list(HuggingFaceStream(changed, index_dataset(changed), transform=to_tensors))
    assert [label for _, label in read] == list(range(40))


def test_a_folder_of_images_that_is_decoded_in_threads_is_read(tmp_path: Path) -> None:
    for number in range(6):
        Image.fromarray(np.full((4, 4, 3), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    folder = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), split="train", streaming=True)
    threaded = folder.decode(num_threads=2)  # what load_dataset itself does to a folder on the Hub
    read = list(HuggingFaceStream(threaded, index_dataset(threaded)))
    assert [np.asarray(row["image"]).max() for row in read] == list(range(6))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.map(lambda row: row),
        lambda d: d.filter(lambda row: True),
        lambda d: d.shuffle(seed=0, buffer_size=4),
        lambda d: d.skip(2),
        lambda d: d.take(2),
        lambda d: d.with_format("torch"),
        lambda d: datasets.distributed.split_dataset_by_node(d, rank=0, world_size=2),
        lambda d: list(d),
    ],
    ids=["map", "filter", "shuffle", "skip", "take", "format", "node", "list"],
)
def test_a_dataset_that_does_more_than_read_is_refused(streamed: Any, raises: Raises, change: Any) -> None:
    with raises(emprune.ConfigError, parameter="dataset"):
        index_dataset(change(streamed))


@pytest.mark.parametrize("name", ["map", "filter", "shuffle", "skip", "take", "repeat"])
def test_what_a_dataset_does_is_seen_behind_chosen_columns(streamed: Any, raises: Raises, name: str) -> None:
    arguments = {"map": dict, "filter": bool, "shuffle": 0, "skip": 2, "take": 2, "repeat": 2}
    changed = getattr(streamed, name)(arguments[name]).select_columns(["id", "label"])
    with raises(emprune.ConfigError, parameter="dataset"):
        index_dataset(changed)


class TestRefusals:
    def test_without_an_index(self, streamed: Any, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="dataloader"):
            make(streamed)

    def test_an_index_of_other_shards(self, streamed: Any, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="index", value=1):
            HuggingFaceStream(streamed, StreamIndex(["a"], [40], [str(i) for i in range(40)]))

    def test_a_key_that_is_no_column(self, streamed: Any, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="key", value="name"):
            index_dataset(streamed, key="name")
        with raises(emprune.ConfigError, parameter="key", value="name"):
            HuggingFaceStream(streamed, index_dataset(streamed), key="name")

    def test_a_key_that_is_there_twice(self, raises: Raises) -> None:
        dataset = datasets.Dataset.from_dict({"id": ["a", "b", "a"]}).to_iterable_dataset()
        with raises(emprune.ConfigError, parameter="keys", value="a"):
            index_dataset(dataset, key="id")

    def test_a_key_that_is_missing(self, raises: Raises) -> None:
        dataset = datasets.Dataset.from_dict({"id": ["a", None]}).to_iterable_dataset()
        with raises(emprune.ConfigError, parameter="keys"):
            index_dataset(dataset, key="id")

    @pytest.mark.parametrize("size", [16, 18])
    def test_a_shard_of_another_size(self, streamed: Any, tmp_path: Path, size: int) -> None:
        index = index_dataset(streamed)
        (tmp_path / "other").mkdir()
        other = load(write_parquet(tmp_path / "other", sizes=[13, 4, size, 6]), tmp_path)
        loader = DataLoader(HuggingFaceStream(other, index, transform=to_tensors), batch_size=4)
        stream = emprune.PrunedStream(loader, emprune.Full(), num_epochs=1)
        stream.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match=rf"'shard 2 of 4' must have the 17 samples .* got {size}"):
            list(stream)

    def test_rows_with_other_keys(self, streamed: Any, tmp_path: Path) -> None:
        index = index_dataset(streamed, key="id")
        (tmp_path / "other").mkdir()
        other = load(write_parquet(tmp_path / "other", start=1), tmp_path)
        loader = make(HuggingFaceStream(other, index, transform=to_tensors, key="id"))
        loader.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match="must hold 'id"):
            list(loader)
