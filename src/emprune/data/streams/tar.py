"""Tar shards: an index of what they hold, made from their headers, and samples read without their neighbours.

A sample is a run of members of one name, such as 0001.jpg and 0001.cls, as WebDataset has it. The index knows where
each member lies. So a reader jumps to a sample, or reads past what lies before it where a file cannot jump. It compares
the members' headers with the index: a shard that was changed is seen, and no sample is taken for another.
"""

import gzip
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from emprune.data.streams.index import Positions, StreamIndex
from emprune.data.streams.opening import Opener, go_to, jumps, length_of, opened
from emprune.data.streams.stream import OpenShard
from emprune.errors import ConfigError

__all__ = ["TarIndex", "TarShard"]

_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
_META = re.compile(r"__[^/]*__($|/)")
_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")


@dataclass(frozen=True)
class _Member:
    """Where a file lies in a shard: its headers, its content."""

    key: str
    suffix: str
    header: int
    content: int
    size: int


class TarIndex(StreamIndex):
    """The samples of tar shards, and where their members lie.

    Args:
        shards: The shards' names.
        sizes: (S,) samples in each.
        keys: (N,) keys.
        num_bytes: (S,) the length of each shard.
        first: (N + 1,) the number of each sample's first member, and M.
        members: (M, 3) of each member: where its headers begin, where its content begins, and how long that is.
        suffix: (M,) the number of each member's suffix.
        suffixes: The suffixes, such as "jpg".
    """

    kind = "tar"

    def __init__(
        self,
        shards: list[str],
        sizes: list[int] | Positions,
        keys: list[str] | npt.NDArray[np.bytes_],
        *,
        num_bytes: list[int] | Positions,
        first: list[int] | Positions,
        members: Any,
        suffix: Any,
        suffixes: list[str],
    ) -> None:
        super().__init__(shards, sizes, keys)
        self.num_bytes: Positions = np.asarray(num_bytes, dtype=np.int64)
        self.first: Positions = np.asarray(first, dtype=np.int64)
        self.members: Positions = np.asarray(members, dtype=np.int64).reshape(-1, 3)
        self.suffix: npt.NDArray[np.int32] = np.asarray(suffix, dtype=np.int32)
        self.suffixes = list(suffixes)

    @classmethod
    def of_tars(cls, shards: Iterable[str], opener: Opener) -> Self:
        """Read the headers of tar shards; what the files hold is not decoded, and passed over where a file can jump.

        Raises:
            ConfigError: If a shard is no tar file, is damaged, or holds a sample twice.
        """
        names, sizes, num_bytes = list(shards), [], []
        keys: list[str] = []
        first, members, suffix = [0], [], []
        numbers: dict[str, int] = {}
        for name in names:
            before, last = len(keys), None
            with opened(name, opener) as file:
                for member in _members(file, name):
                    if member.key != last:
                        keys.append(member.key)
                        first.append(first[-1])
                        last, seen = member.key, set()
                    if member.suffix.lower() in seen:
                        raise ConfigError(
                            f"`shards` must hold one file of each kind for a sample; got {member.key}.{member.suffix} "
                            f"twice in {name!r}. Write the shard again.",
                            parameter="shards",
                            value=name,
                        )
                    seen.add(member.suffix.lower())
                    first[-1] += 1
                    members.append((member.header, member.content, member.size))
                    suffix.append(numbers.setdefault(member.suffix, len(numbers)))
                num_bytes.append(length_of(file))
            sizes.append(len(keys) - before)
        return cls(
            names,
            sizes,
            keys,
            num_bytes=num_bytes,
            first=first,
            members=members,
            suffix=suffix,
            suffixes=list(numbers),
        )

    def _arrays(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("num_bytes", "first", "members", "suffix")}
        return {**super()._arrays(), **own, "suffixes": np.array(self.suffixes, dtype=np.str_)}

    @classmethod
    def _of_arrays(cls, arrays: dict[str, Any]) -> Self:
        shards, suffixes = arrays.pop("shards").tolist(), arrays.pop("suffixes").tolist()
        return cls(shards, arrays.pop("sizes"), arrays.pop("keys"), suffixes=suffixes, **arrays)


class TarShard(OpenShard):
    """A tar file that is being read, forwards.

    Args:
        index: The index.
        shard: Which of its shards.
        name: Where it is now.
        opener: Opens it.

    Raises:
        ConfigError: If it is not as long as when it was indexed.
    """

    def __init__(self, index: TarIndex, shard: int, name: str, opener: Opener) -> None:
        self._index, self._name = index, name
        self._start, self._num_bytes = int(index.starts[shard]), int(index.num_bytes[shard])
        self._file = opened(name, opener)
        if jumps(self._file) and length_of(self._file) != self._num_bytes:
            found = length_of(self._file)
            self.close()
            raise self._changed(f"{self._num_bytes} bytes long", found)

    def read(self, row: int) -> dict[str, Any]:
        """Return a sample as WebDataset reads it: "__key__", "__url__", and the content of each file by its suffix."""
        index, position = self._index, self._start + row
        key = index.key(position)
        numbers = range(int(index.first[position]), int(index.first[position + 1]))
        members = index.members[numbers.start : numbers.stop].tolist()
        begin, (_, content, size) = members[0][0], members[-1]
        data = self._read(begin, content + size - begin)
        sample: dict[str, Any] = {"__key__": key, "__url__": self._name}
        for number, (header, content, size) in zip(numbers, members, strict=True):
            suffix = index.suffixes[index.suffix[number]]
            found = _described(data[header - begin : content - begin], f"{key}.{suffix}")
            if found != (f"{key}.{suffix}", size):
                raise self._changed(f"the file {key}.{suffix} of {size} bytes", " of ".join(map(str, found)))
            sample[suffix.lower()] = data[content - begin : content - begin + size]
        return sample

    def finish(self) -> None:
        """Read on to the end where the length was not known, and compare it."""
        if not jumps(self._file):
            found = length_of(self._file)
            if found != self._num_bytes:
                raise self._changed(f"{self._num_bytes} bytes long", found)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, begin: int, size: int) -> bytes:
        go_to(self._file, begin)
        data: bytes = self._file.read(size)
        return data

    def _changed(self, expected: str, found: object) -> ConfigError:
        rule = f"must be {expected}" if expected.endswith("long") else f"must hold {expected} where it was indexed"
        return ConfigError(
            f"The shard {self._name!r} {rule}; got {found}. It has changed since: make the index again, and a new run.",
            parameter="index",
            value=found,
        )


def _members(file: Any, name: str) -> Iterator[_Member]:
    """Yield the files of a tar file that belong to samples, in order."""
    try:
        with tarfile.open(fileobj=file, mode="r:" if jumps(file) else "r|") as tar:
            while (found := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # all of them are not needed, and take room
                parts = _NAME.match(found.name)
                if found.isreg() and parts is not None and not _META.match(found.name):
                    yield _Member(parts[1], parts[2], found.offset, found.offset_data, found.size)
    except _DAMAGE as error:
        raise ConfigError(
            f"`shards` must be whole tar files, plain or packed by gzip, bzip2 or xz; got {name!r} ({error}). "
            "Write the shard again.",
            parameter="shards",
            value=name,
        ) from error


def _described(headers: bytes, expected: str) -> tuple[str, int | str]:
    """Return the name and the size that a member's headers say.

    A name that is too long for a header stands in another one before it, in more than one form. There it is looked for.
    """
    last = headers[-tarfile.BLOCKSIZE :]
    size = last[124:136].strip(b" \0")
    if len(last) < tarfile.BLOCKSIZE or not size.isdigit():
        return "no file", "no bytes"
    name = last[:100].rstrip(b"\0")
    if last[257:262] == b"ustar" and (prefix := last[345:500].rstrip(b"\0")) and last[263:265] == b"00":
        name = prefix + b"/" + name
    if expected.encode() in headers[: -tarfile.BLOCKSIZE]:
        return expected, int(size, 8)
    return name.decode(errors="replace"), int(size, 8)
