"""The idx format of the MNIST family: a big-endian header, then the array's bytes."""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emprune_lab.errors import DataError
from emprune_lab.tasks.task import Split, Splits

__all__ = ["read_idx", "read_splits"]

UNSIGNED_BYTE = 0x08


def read_splits(folder: Path) -> Splits:
    """Return the splits in the four files that every data set of the family has."""
    train, test = (
        Split(
            read_idx(folder / f"{part}-images-idx3-ubyte").unsqueeze(1),
            read_idx(folder / f"{part}-labels-idx1-ubyte").long(),
        )
        for part in ("train", "t10k")
    )
    return Splits(train, test)


def read_idx(path: Path) -> Tensor:
    """Return the array of an uncompressed idx file of unsigned bytes as a uint8 tensor.

    Raises:
        DataError: If the file is no such file, or shorter or longer than its header says.
    """
    content = path.read_bytes()
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] != UNSIGNED_BYTE:
        raise DataError(f"{path} is not an idx file of unsigned bytes.")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start]) if len(content) >= start else ()
    if len(content) != start + int(np.prod(shape)) or not shape:
        raise DataError(f"{path} does not hold the {shape} array its header promises.")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
