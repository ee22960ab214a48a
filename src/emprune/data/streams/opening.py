"""Opening a shard: a file that can jump, one that can not, such as a pipe, or a packed one, which is read past."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from typing import IO, Any, Self, TypeAlias

__all__ = ["Opener", "go_to", "jumps", "length_of", "opened"]

Opener: TypeAlias = Callable[[str], IO[bytes]]
"""Opens a shard by its name, for reading."""

PIECE = 1 << 20
"""Bytes that are read at once where nothing is kept of them."""
PACKINGS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
"""What unpacks a file, by how it begins: its name may say something else, as that of a pipe does."""


def opened(name: str, opener: Opener) -> Any:
    """Return an open shard, unpacked if its content is packed."""
    file: Any = opener(name)
    head = file.read(tarfile.BLOCKSIZE)
    unpack = next((unpack for mark, unpack in PACKINGS.items() if head.startswith(mark)), None)
    if head[257:262] == b"ustar":  # a tar file, whatever its first name begins with
        unpack = None
    if jumps(file):
        file.seek(0)
        return file if unpack is None else _Forward(file, inside=unpack(file))
    whole = _Rejoined(head, file)
    return _Forward(whole, inside=None if unpack is None else unpack(whole))


def jumps(file: Any) -> bool:
    """Return whether an open shard can jump to an offset."""
    return not isinstance(file, _Forward) and hasattr(file, "seekable") and bool(file.seekable())


def go_to(file: Any, offset: int) -> None:
    """Move to an offset; what cannot jump reads on to it."""
    if jumps(file):
        file.seek(offset)
        return
    while file.tell() < offset and file.read(min(PIECE, offset - file.tell())):
        pass


def length_of(file: Any) -> int:
    """Return how long a file is; one that cannot jump is read to its end for it."""
    if jumps(file):
        return int(file.seek(0, os.SEEK_END))
    while file.read(PIECE):
        pass
    return int(file.tell())


class _Forward:
    """A file that is only read forwards, such as a pipe or a packed file; it knows how far it has come."""

    def __init__(self, file: Any, *, inside: Any = None) -> None:
        self._file, self._around, self._at = file if inside is None else inside, file, 0

    def read(self, size: int = -1) -> bytes:
        parts, left = [], size
        while left and (part := self._file.read(min(left, PIECE) if size >= 0 else PIECE)):
            parts.append(part)
            left -= len(part)
        data = b"".join(parts)
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()
        self._around.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Rejoined(io.RawIOBase):
    """A file that cannot jump, and what was read of its head."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head, self._rest = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._rest.close()
        super().close()
