"""Image files as pixels in memory: decoded once, kept in the data folder, damaged ones named."""

import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune_lab.errors import DataError
from emprune_lab.files import sweep, write_whole

__all__ = ["decoded"]

DECODING = 2
"""Of how images are read; what another one left in the cache is not used."""

SIXTEEN_BITS = 65_535

UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, NotImplementedError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises at a file that is damaged, by the format; a bomb is named by its own class."""


def decoded(paths: Sequence[Path], size: int, cache: Path) -> Tensor:
    """Return images (N, 3, size, size) uint8, from the cache if they were decoded before and have not changed since.

    Args:
        paths: The N files.
        size: Pixels of the shorter side, to which a square is cut.
        cache: The folder of what was decoded.

    Raises:
        DataError: If one cannot be read as an image.
    """
    key = hashlib.sha256(f"{DECODING}\0{size}".encode())
    for path in paths:
        status = path.stat()
        key.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    file = cache / f"{key.hexdigest()[:32]}.npy"
    shape = (len(paths), 3, size, size)
    try:
        pixels = np.load(file)
    except (FileNotFoundError, EOFError, ValueError):  # there is nothing, or it is cut short
        pixels = None
    if pixels is None or pixels.shape != shape or pixels.dtype != np.uint8:
        pixels = np.empty(shape, np.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # in memory: whoever is killed leaves nothing behind
            for position, image in enumerate(pool.map(partial(_decode, size=size), paths)):
                pixels[position] = image
        cache.mkdir(parents=True, exist_ok=True)
        sweep(cache, r"[0-9a-f]{32}\.npy")  # of other images too, which nobody may decode again
        write_whole(file, lambda content: np.save(content, pixels))
    return torch.from_numpy(pixels)


def _decode(path: Path, *, size: int) -> NDArray[np.uint8]:
    """Return (3, size, size) pixels, turned as the camera was held."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            upright: Image.Image = image
            with suppress(*UNREADABLE):  # a damaged header says of no orientation, and leaves the picture as it is
                upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(("I", "F")):  # Pillow would cut off what is above 255
            upright = Image.fromarray(_eight_bits(np.asarray(upright), path))
        square = ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}). Repair or remove it.") from error
    return np.asarray(square).transpose(2, 0, 1)


def _eight_bits(pixels: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Return 16-bit grey values as 8-bit ones."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > SIXTEEN_BITS:
        raise DataError(
            f"{path} must have 8 or 16 bits per channel, so that its range is known; got {pixels.dtype} pixels from "
            f"{pixels.min()} to {pixels.max()}. Save it with 8 or 16 bits."
        )
    return np.round(pixels / SIXTEEN_BITS * 255).astype(np.uint8)
