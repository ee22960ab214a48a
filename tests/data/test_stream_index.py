"""An index says which samples a stream has, and is refused where it cannot be right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emprune
from emprune.data import KeyedStream, StreamIndex
from tests.messages import Raises

SHARDS = {"a.tar": ["x", "y"], "b.tar": ["x", "ö"], "c.tar": ["z"]}


def test_positions_count_through_the_shards() -> None:
    index = StreamIndex.of(SHARDS)
    assert index.num_samples == 5
    assert [(index.shard(p), index.key(p)) for p in range(5)] == [(s, k) for s, keys in SHARDS.items() for k in keys]
    shard, row = index.locate(np.array([4, 0, 3]))
    assert (shard.tolist(), row.tolist()) == ([2, 0, 1], [0, 0, 1])
    assert [index.position("ö"), index.position("x", "b.tar")] == [3, 2]


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    index = StreamIndex.of(SHARDS)
    index.save(tmp_path / "index")
    loaded = StreamIndex.load(tmp_path / "index")
    assert loaded.shards == index.shards
    assert loaded.fingerprint == index.fingerprint
    assert loaded.keys.tolist() == index.keys.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_shards_may_be_moved_but_not_changed() -> None:
    moved = StreamIndex.of({f"elsewhere/{name}": keys for name, keys in SHARDS.items()})
    changed = StreamIndex.of({**SHARDS, "c.tar": ["other"]})
    assert moved.fingerprint == StreamIndex.of(SHARDS).fingerprint != changed.fingerprint


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_another_file_is_refused(tmp_path: Path, raises: Raises, content: bytes) -> None:
    path = tmp_path / "index"
    path.write_bytes(content)
    with raises(emprune.ConfigError, parameter="path"):
        StreamIndex.load(path)


def test_a_missing_file_is_refused(tmp_path: Path, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="path"):
        StreamIndex.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ((["a", "a"], [1, 1], ["x", "y"]), "shards"),
        ((["a", "b"], [1, 0], ["x"]), "shards"),
        (([], [], []), "sizes"),
        ((["a"], [2], ["x"]), "keys"),
        ((["a"], [2], ["x", ""]), "keys"),
        ((["a", "b"], [1, 2], ["x", "y", "y"]), "keys"),
    ],
)
def test_what_cannot_be_right_is_refused(raises: Raises, arguments: Any, parameter: str) -> None:
    with raises(emprune.ConfigError, parameter=parameter):
        StreamIndex(*arguments)


@pytest.mark.parametrize("key", ["x", "w"])
def test_a_key_of_several_samples_or_none_is_refused(raises: Raises, key: str) -> None:
    with raises(emprune.ConfigError, parameter="key", value=key):
        StreamIndex.of(SHARDS).position(key)


@pytest.mark.parametrize("keys", [["a", 1], [b"a", "b"], [None, "b"], np.arange(2)])
def test_a_key_that_is_no_text_is_refused(keys: Any, raises: Raises) -> None:
    odd = next(key for key in keys if not isinstance(key, str))
    with raises(emprune.ConfigError, parameter="keys", value=odd):
        StreamIndex(["a"], [2], keys)


def test_keys_of_a_function_that_are_numbers_are_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="keys", value=0):
        KeyedStream(lambda _: ((number, number) for number in range(3)), shards=["a"])  # type: ignore[misc]


def test_keys_may_be_an_array_of_text() -> None:
    assert StreamIndex(["a"], [2], np.array(["x", "ö"])).key(1) == "ö"


def test_a_position_is_asked_for_by_text(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="key", value=1):
        StreamIndex.of(SHARDS).position(1)  # type: ignore[arg-type]
