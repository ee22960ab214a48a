"""StreamIndex: which samples a stream has, known beforehand, and in which order its shards hold them."""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from emprune.errors import ConfigError

__all__ = ["StreamIndex"]

Positions: TypeAlias = npt.NDArray[np.int64]

_VERSION = 1


class StreamIndex:
    """The samples of a stream: its shards in order, and the key of each sample, in the order of its shard.

    A sample's position counts through all shards in this order. It is what a loader hands out as `index`, and what a
    pruner knows a sample by. A key says which sample it is: readers compare it with what they find in a shard.

    Args:
        shards: The shards' names, such as their paths, each once.
        sizes: (S,) samples in each shard, at least 1.
        keys: (N,) keys, each once within its shard.

    Raises:
        ConfigError: If a shard or a key is there twice, a key is no text or empty, or there are not as many keys as
            samples.

    Attributes:
        shards: The shards' names.
        sizes: (S,) int64, samples in each.
        keys: (N,) bytes, the keys in UTF-8.

    Example:
        >>> index = StreamIndex.of({"a.tar": ["cat", "dog"], "b.tar": ["cow"]})
        >>> index.num_samples, index.key(2), index.shard(2), index.position("dog")
        (3, 'cow', 'b.tar', 1)
    """

    kind = "stream"
    """What a saved index says it is of."""

    def __init__(self, shards: Sequence[str], sizes: Sequence[int] | Positions, keys: Sequence[str] | Any) -> None:
        self.shards = tuple(shards)
        self.sizes: Positions = np.asarray(sizes, dtype=np.int64)
        self.keys = _encoded(keys)
        self._check()

    @classmethod
    def of(cls, shards: Mapping[str, Iterable[str]] | Iterable[tuple[str, Iterable[str]]]) -> Self:
        """Return the index of shards, by name, and of the keys in each, in order; they are read once, in turn."""
        names, sizes, keys = [], [], []
        for name, of_shard in shards.items() if isinstance(shards, Mapping) else shards:
            found = list(of_shard)
            names.append(name)
            sizes.append(len(found))
            keys += found
        return cls(names, sizes, keys)

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.keys)

    @cached_property
    def starts(self) -> Positions:
        """(S + 1,) int64: the position of each shard's first sample, and N."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def locate(self, positions: Positions) -> tuple[Positions, Positions]:
        """Return (B,) the shard's number and (B,) the row in it of each position."""
        shard = np.searchsorted(self.starts, positions, side="right") - 1
        return shard, positions - self.starts[shard]

    def key(self, position: int) -> str:
        """Return a sample's key."""
        return bytes(self.keys[position]).decode()

    def shard(self, position: int) -> str:
        """Return the name of the shard that holds a sample."""
        return self.shards[int(self.locate(np.array([position]))[0][0])]

    def position(self, key: str, shard: str | None = None) -> int:
        """Return a sample's position, by its key.

        Args:
            key: The key.
            shard: The shard's name, where several shards have this key; None for any.

        Raises:
            ConfigError: If there is no such key, or there are several.
        """
        found = np.flatnonzero(self.keys == key.encode()) if isinstance(key, str) else np.empty(0, dtype=np.int64)
        found = found if shard is None else found[[self.shard(int(position)) == shard for position in found]]
        if len(found) != 1:
            raise ConfigError(
                f"`key` must be of one sample; got {key!r}, which {len(found)} samples have. Look among `index.keys`; "
                "where shards share keys, name the shard too.",
                parameter="key",
                value=key,
            )
        return int(found[0])

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the shards' sizes and of all keys; shards may be moved or renamed."""
        digest = hashlib.blake2b(self.sizes.tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(self.keys).tobytes())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, whole or not at all."""
        target = Path(path)
        beside = target.with_name(f"{target.name}.part")
        with beside.open("wb") as file:
            np.savez(file, version=np.array(_VERSION), kind=np.array(self.kind), **self._arrays())
        beside.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a saved index.

        Raises:
            ConfigError: If it is no index of this kind and version.
        """
        if not Path(path).is_file():
            raise ConfigError(
                f"`path` must be a file that an index was saved to; got {os.fspath(path)!r}. Make the index, and save "
                "it.",
                parameter="path",
                value=os.fspath(path),
            )
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            found = f"{arrays.pop('kind')} of version {arrays.pop('version')}"
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            arrays, found = {}, "another file"
        if found != f"{cls.kind} of version {_VERSION}":
            raise ConfigError(
                f"`path` must be an index that {cls.__name__}.save wrote; got {found}. Make the index again.",
                parameter="path",
                value=path,
            )
        return cls._of_arrays(arrays)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_samples} samples in {len(self.shards)} shards)"

    def _arrays(self) -> dict[str, Any]:
        return {"shards": np.array(self.shards), "sizes": self.sizes, "keys": self.keys}

    @classmethod
    def _of_arrays(cls, arrays: dict[str, Any]) -> Self:
        return cls(arrays["shards"].tolist(), arrays["sizes"], arrays["keys"])

    def _check(self) -> None:
        if len(set(self.shards)) < len(self.shards):
            twice = next(name for name in self.shards if self.shards.count(name) > 1)
            raise ConfigError(
                f"`shards` must be named once each; got {twice!r} twice. Leave it out.", parameter="shards", value=twice
            )
        if len(self.sizes) != len(self.shards) or not self.shards:
            raise ConfigError(
                f"`sizes` must be one for each shard, and there must be shards; got {len(self.sizes)} sizes and "
                f"{len(self.shards)} shards. Name the shards.",
                parameter="sizes",
                value=len(self.sizes),
            )
        if self.sizes.min() < 1:
            empty = self.shards[int(self.sizes.argmin())]
            raise ConfigError(
                f"`shards` must hold at least one sample each; got {empty!r} without. Leave it out.",
                parameter="shards",
                value=empty,
            )
        if len(self.keys) != self.sizes.sum():
            raise ConfigError(
                f"`keys` must be one for each of {self.sizes.sum()} samples; got {len(self.keys)}. Make the index "
                "again.",
                parameter="keys",
                value=len(self.keys),
            )
        if (self.keys == b"").any():
            shard = self.shard(int(np.flatnonzero(self.keys == b"")[0]))
            raise ConfigError(
                f"`keys` must be given for all samples; got one without in shard {shard!r}. Give it a key.",
                parameter="keys",
                value=shard,
            )
        self._check_unique()

    def _check_unique(self) -> None:
        shard = np.repeat(np.arange(len(self.shards)), self.sizes)
        order = np.lexsort((self.keys, shard))
        keys, shard = self.keys[order], shard[order]
        twice = np.flatnonzero((keys[1:] == keys[:-1]) & (shard[1:] == shard[:-1]))
        if len(twice):
            key, name = bytes(keys[twice[0]]).decode(), self.shards[shard[twice[0]]]
            raise ConfigError(
                f"`keys` must be there once in each shard; got {key!r} twice in {name!r}. Give each sample a key of "
                "its own, and keep the files of one sample together.",
                parameter="keys",
                value=key,
            )


def _encoded(keys: Sequence[str] | Any) -> Any:
    """Return (N,) bytes, the keys in UTF-8, as they are where they are that already."""
    if isinstance(keys, np.ndarray) and keys.dtype.kind == "S":
        return keys
    for key in keys:
        if not isinstance(key, str):
            raise ConfigError(
                f"`keys` must be text, by which readers know the samples; got {key!r} of type {type(key).__name__}. "
                "Give str(key) in the index and in the shards.",
                parameter="keys",
                value=key,
            )
    return np.array([key.encode() for key in keys], dtype=np.bytes_)
