"""Hugging Face datasets that are streamed: `datasets.IterableDataset`, shard by shard."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from emprune.data.streams.index import StreamIndex
from emprune.data.streams.stream import OpenShard, ShardedStream, check_key, wrong_size
from emprune.errors import ConfigError

try:
    import datasets
except ModuleNotFoundError as error:
    if error.name != "datasets":
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.datasets needs the package 'datasets': pip install 'emprune[streams]'", name="datasets"
    ) from error

__all__ = ["HuggingFaceStream", "index_dataset"]

_ROWS = 1000
"""Rows that are read at once, as a table, undecoded."""
_PLAIN = {"ExamplesIterable", "ArrowExamplesIterable"}


class HuggingFaceStream(ShardedStream):
    """A streamed Hugging Face dataset that can be pruned.

    Rows are read as tables. Those of the plan alone become Python values, are decoded by the dataset's features, such
    as images, and are given to `transform`.

    Args:
        dataset: What ``load_dataset(..., streaming=True)`` or ``to_iterable_dataset(num_shards=...)`` returned, as it
            is: not shuffled, mapped, filtered or split.
        index: What `index_dataset` made of it, or the path that it was saved to.
        transform: ``transform(row) -> sample``, in place of the dataset's `map`; None for none.
        key: The column of keys that the index was made of; None where there is none.

    Raises:
        ConfigError: If the dataset does more than read, the key is no column, or the index has another number of
            shards.
    """

    def __init__(
        self,
        dataset: "datasets.IterableDataset",
        index: StreamIndex | str | os.PathLike[str],
        *,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        key: str | None = None,
    ) -> None:
        self._plain = _undecoded(dataset)
        _check_key(self._plain, key)
        index = index if isinstance(index, StreamIndex) else StreamIndex.load(index)
        super().__init__(index)
        if len(index.shards) != self._plain.num_shards:
            raise ConfigError(
                f"`index` must be of the dataset's {self._plain.num_shards} shards; got one of {len(index.shards)}. "
                "Make the index again: index_dataset(dataset).",
                parameter="index",
                value=len(index.shards),
            )
        self._features, self._tokens = dataset.features, dataset._token_per_repo_id
        self._transform, self._key = transform, key

    def open(self, shard: int) -> OpenShard:
        """Open one of the dataset's shards."""
        return _Rows(_tables(self._plain, shard), self.index, shard, self._key)

    def decode(self, sample: Any) -> Any:
        """Decode a row by the dataset's features, then transform it."""
        row = sample if self._features is None else self._features.decode_example(sample, self._tokens)
        return row if self._transform is None else self._transform(row)


def index_dataset(dataset: "datasets.IterableDataset", *, key: str | None = None) -> StreamIndex:
    """Return the index of a streamed dataset: its rows are read once, as tables, and not decoded.

    Args:
        dataset: As `HuggingFaceStream` takes it.
        key: A column that names each row, such as "id", which is compared whenever a row is read; None for the
            row's number. Then rows that change places in a shard are not noticed.

    Raises:
        ConfigError: If the dataset does more than read, or a key is missing or there twice.
    """
    plain = _undecoded(dataset)
    _check_key(plain, key)
    shards = {}
    for shard in range(plain.num_shards):
        keys: list[str] = []
        for table in _tables(plain, shard):
            keys += _keys(table, key, len(keys))
        shards[f"shard {shard} of {plain.num_shards}"] = keys
    return StreamIndex.of(shards)


class _Rows(OpenShard):
    def __init__(self, tables: Iterator[Any], index: StreamIndex, shard: int, key: str | None) -> None:
        self._tables, self._index, self._shard, self._key = tables, index, shard, key
        self._table: Any = None
        self._start, self._end = 0, 0

    def read(self, row: int) -> Any:
        while row >= self._end:
            if not self._next():
                raise wrong_size(self._index, self._shard, self._end)
        found = self._table.slice(row - self._start, 1).to_pylist()[0]
        if self._key is not None:
            check_key(self._index, self._shard, row, _text(found[self._key]))
        return found

    def finish(self) -> None:
        while self._next():
            pass
        if self._end != self._index.sizes[self._shard]:
            raise wrong_size(self._index, self._shard, self._end)

    def close(self) -> None:
        self._tables, self._table = iter(()), None

    def _next(self) -> bool:
        table = next(self._tables, None)
        if table is not None:
            self._table, self._start, self._end = table, self._end, self._end + len(table)
        return table is not None


def _tables(dataset: "datasets.IterableDataset", shard: int) -> Iterator[Any]:
    part = dataset.shard(dataset.num_shards, shard)
    return iter(part.with_format("arrow").iter(batch_size=_ROWS))


def _keys(table: Any, key: str | None, start: int) -> list[str]:
    if key is None:
        return [str(row) for row in np.arange(start, start + len(table)).tolist()]
    return [_text(value) for value in table[key].to_pylist()]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _check_key(dataset: Any, key: str | None) -> None:
    if key is not None and dataset.features is not None and key not in dataset.features:
        raise ConfigError(
            f"`key` must be a column, one of {list(dataset.features)}; got {key!r}. Name one of them, or leave it out.",
            parameter="key",
            value=key,
        )


def _innermost(examples: Any) -> str:
    """Return what is read, by the name of its class, under what only chooses columns or casts them."""
    name = type(examples).__name__
    if name == "SelectColumnsIterable" or (name == "FormattedExamplesIterable" and examples.formatting is None):
        return _innermost(examples.ex_iterable)
    return name


def _undecoded(dataset: Any) -> Any:
    """Return a dataset that gives its rows undecoded; raise ConfigError if it does more than read them."""
    if not isinstance(dataset, datasets.IterableDataset):
        raise ConfigError(
            f"`dataset` must be a datasets.IterableDataset; got {type(dataset).__name__}. A Dataset has positions, and "
            "goes to PrunedLoader as it is.",
            parameter="dataset",
            value=dataset,
        )
    plain = dataset if dataset.features is None else dataset.decode(False)
    reading = _innermost(plain._ex_iterable)
    found = None if reading in _PLAIN else f"a {reading}"
    if dataset._formatting is not None:
        found = "a format"
    if dataset._distributed is not None:
        found = "split_dataset_by_node"
    if found is not None:
        raise ConfigError(
            f"`dataset` must only read its shards, since what it does besides is done to all samples; got one with "
            f"{found}. Give functions as `transform`; PrunedStream shuffles, chooses and divides.",
            parameter="dataset",
            value=found,
        )
    return plain
