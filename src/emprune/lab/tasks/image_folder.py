"""A user's own images: a folder of a folder for each class, as torchvision's ImageFolder has them."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune.errors import ConfigError
from emprune.lab.errors import DataError
from emprune.lab.tasks.augment import flip, shift
from emprune.lab.tasks.base import ImageTask, Recipe, Split, Splits
from emprune.lab.tasks.cache import data_folder
from emprune.lab.tasks.split import stratified_order

__all__ = ["PREFIX", "image_folder"]

PREFIX = "image-folder:"
DEFAULT_SIZE = 64
ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TEST_NAMES = ("test", "val", "valid", "validation")
TEST_SHARE = 5  # of so many images, one is for testing where the folder has no test part
TEST_SEED = 0
DECODING = 2
"""Of how images are read; what another one left in the cache is not used."""

SIXTEEN_BITS = 65_535


@dataclass(frozen=True)
class Listing:
    """The images of one part: paths, and the class of each by its place in the sorted class names."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]


@lru_cache
def image_folder(name: str) -> ImageTask:
    """Return the task that `image-folder:PATH[:size=PIXELS]` names.

    PATH holds `train/CLASS/*` and, if it has its own test part, `test/CLASS/*` or `val/CLASS/*`; or `CLASS/*` alone, of
    which a fixed, stratified fifth is for testing. Images are resized to PIXELS on their shorter side, cropped to a
    square and kept in memory, 8 bits per channel; decoded once, into the data folder.

    Raises:
        ConfigError: If the folder does not exist, holds fewer than two classes or a test part alone, or the size is no
            positive integer.
    """
    path, size = _parse(name)
    train_part, test_part = _part(path, ("train",)), _part(path, TEST_NAMES)
    if train_part is None and test_part is not None:
        raise ConfigError(
            f"{path} holds {test_part.name}/ and no train/, so that the images to test on would be trained on. Put the "
            "training classes into train/."
        )
    classes = _classes(train_part or path)
    return ImageTask(
        name=name,
        description="your own images, a folder for each class",
        num_classes=len(classes),
        input_shape=(3, size, size),
        mean=(123.7, 116.3, 103.5),  # ImageNet's, as is usual for photographs
        std=(58.4, 57.1, 57.4),
        load=partial(load, path, size, classes),
        augment=partial(augment, pixels=size // 8),
        recipe=Recipe(model="small-resnet", epochs=40, batch_size=128, max_lr=0.2),
        files=lru_cache(partial(_digest, path, [part for part in (train_part or path, test_part) if part is not None])),
    )


def load(
    path: Path,
    size: int,
    classes: Sequence[str],
    data_dir: Path | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Splits:
    """Return the splits, decoded on first use.

    Raises:
        DataError: If an image cannot be read, or a part has none.
    """
    cache = (data_folder() if data_dir is None else data_dir) / "image-folder"
    train = _decoded(_list(_part(path, ("train",)) or path, classes), size, cache, say)
    test_part = _part(path, TEST_NAMES)
    if test_part is not None:
        return Splits(train, _decoded(_list(test_part, classes), size, cache, say))
    order = stratified_order(train.y, seed=TEST_SEED)
    num_test = -(-len(order) // TEST_SHARE)
    return Splits(train.take(order[num_test:]), train.take(order[:num_test]))


def augment(generator: torch.Generator, x: Tensor, *, pixels: int) -> Tensor:
    """Move by up to an eighth of the size into a reflected border, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=pixels, border="reflect"))


def _parse(name: str) -> tuple[Path, int]:
    text, separator, number = name.removeprefix(PREFIX).rpartition(":size=")
    path = Path(text if separator else number).expanduser().resolve()
    size = number if separator else str(DEFAULT_SIZE)
    if not size.isdecimal() or int(size) < 8:
        raise ConfigError(f"`size` of an image folder must be an integer of at least 8, pixels: got {number!r}.")
    if not path.is_dir():
        raise ConfigError(f"The task {name!r} needs a folder of images: {path} is none.")
    return path, int(size)


def _part(path: Path, names: Sequence[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _classes(folder: Path) -> tuple[str, ...]:
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and any(_images(entry)))
    if len(classes) < 2:
        raise ConfigError(
            f"{folder} must hold a folder of images for each of at least two classes: got {len(classes)}. "
            f"Images end in {', '.join(sorted(ENDINGS))}."
        )
    return tuple(classes)


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS and path.is_file())


def _digest(path: Path, parts: Sequence[Path]) -> str:
    """Say in a word which images there are: names and sizes in bytes, which another machine's copy has too."""
    key = hashlib.sha256()
    for file in sorted({image for part in parts for image in _images(part)}):
        key.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
    return key.hexdigest()[:12]


def _list(folder: Path, classes: Sequence[str]) -> Listing:
    found = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    strange = sorted({entry.name for entry in folder.iterdir() if entry.is_dir()} - set(classes))
    if not found or (strange and any(any(_images(folder / name)) for name in strange)):
        what = f"classes that the training part lacks: {', '.join(strange)}" if strange else "no images"
        raise DataError(f"{folder} holds {what}.")
    return Listing(tuple(path for path, _ in found), tuple(label for _, label in found))


def _decoded(listing: Listing, size: int, cache: Path, say: Callable[[str], None]) -> Split:
    """Return the images, from the cache if they were decoded before and have not changed since."""
    key = hashlib.sha256(f"{DECODING}\0{size}".encode())
    for path in listing.paths:
        status = path.stat()
        key.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    file = cache / f"{key.hexdigest()[:32]}.npy"
    if not file.is_file():
        say(f"decoding {len(listing.paths):,} images to {size}x{size} pixels")
        _decode_all(listing.paths, size, file)
    return Split(torch.from_numpy(np.load(file)), torch.tensor(listing.labels))


def _decode_all(paths: Sequence[Path], size: int, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".decoding-") as temporary:
        whole = Path(temporary) / file.name
        shape = (len(paths), 3, size, size)
        pixels = np.lib.format.open_memmap(whole, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for place, image in enumerate(pool.map(partial(_decode, size=size), paths)):
                pixels[place] = image
        pixels.flush()
        shutil.move(whole, file)


def _decode(path: Path, *, size: int) -> NDArray[np.uint8]:
    """Return (3, size, size) pixels, turned as the camera was held."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}). Mend or remove it.") from error
    if upright.mode.startswith(("I", "F")):  # Pillow would cut off what is above 255
        upright = Image.fromarray(_eight_bits(np.asarray(upright), path))
    square = ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1)


def _eight_bits(pixels: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Return 16-bit grey values as 8-bit ones."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > SIXTEEN_BITS:
        raise DataError(
            f"{path} must have 8 or 16 bits per channel, whose range is known: it has {pixels.dtype} pixels from "
            f"{pixels.min()} to {pixels.max()}. Save it with 8 or 16 bits."
        )
    return np.round(pixels / SIXTEEN_BITS * 255).astype(np.uint8)
