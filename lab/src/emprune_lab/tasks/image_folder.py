"""A user's own images: a folder of a folder for each class, as torchvision's ImageFolder has them."""

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune_lab.data.augment import flip, shift
from emprune_lab.data.cache import data_folder
from emprune_lab.data.decoding import decoded
from emprune_lab.data.image_listing import Layout, find_layout, images_below, list_images
from emprune_lab.data.split import stratified_order
from emprune_lab.files import home_expanded
from emprune_lab.tasks.task import ImageTask, Recipe, Split, Splits

__all__ = ["PREFIX", "image_folder"]

PREFIX = "image-folder:"
DEFAULT_SIZE, SMALLEST_SIZE, LARGEST_SIZE = 64, 8, 1024
TEST_SHARE = 5  # of so many images, one is for testing where the folder has no test part
TEST_SEED = 0


@lru_cache
def image_folder(name: str) -> ImageTask:
    """Return the task that `image-folder:PATH[:size=PIXELS]` names.

    PATH holds `train/CLASS/*` and, if it has its own test part, `test/CLASS/*` or `val/CLASS/*`; or `CLASS/*` alone, of
    which a fixed, stratified fifth is for testing. What is hidden does not count, links
    are followed. Images are resized to PIXELS on their shorter side, cropped to a square and kept in memory, 8 bits per
    channel; decoded once, into the data folder.

    Raises:
        ConfigError: If the folder does not exist, holds fewer than two classes or a test part alone, or the size is no
            positive integer.
    """
    path, size = _parse(name)
    layout = find_layout(path)
    return ImageTask(
        name=name,
        description="your own images, a folder for each class",
        num_classes=len(layout.classes),
        input_shape=(3, size, size),
        mean=(123.7, 116.3, 103.5),  # ImageNet's, as is usual for photographs
        std=(58.4, 57.1, 57.4),
        load=partial(load, path, size, layout),
        augment=partial(augment, pixels=size // 8),
        recipe=Recipe(model="small-resnet", epochs=40, batch_size=128, max_lr=0.2),
        files=lru_cache(partial(_digest, path, layout)),
    )


def load(
    path: Path,
    size: int,
    layout: Layout,
    data_dir: Path | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Splits:
    """Return the splits, decoded on first use.

    Raises:
        DataError: If an image cannot be read, or a part has none.
    """
    cache = (data_folder() if data_dir is None else data_dir) / "image-folder"

    def part(folder: Path) -> Split:
        listing = list_images(folder, layout.classes)
        x = decoded(listing.paths, size, cache, say)
        paths = [image.relative_to(path).as_posix() for image in listing.paths]
        return Split(x, torch.tensor(listing.labels), paths)

    train = part(layout.train)
    if layout.test is not None:
        return Splits(train, part(layout.test), classes=layout.classes)
    order = stratified_order(train.y, seed=TEST_SEED)
    num_test = -(-len(order) // TEST_SHARE)
    return Splits(train.take(order[num_test:]), train.take(order[:num_test]), classes=layout.classes)


def augment(generator: torch.Generator, x: Tensor, *, pixels: int) -> Tensor:
    """Move by up to an eighth of the size into a reflected border, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=pixels, border="reflect"))


def _parse(name: str) -> tuple[Path, int]:
    text, separator, number = name.removeprefix(PREFIX).rpartition(":size=")
    path = home_expanded(text if separator else number).resolve()
    size = number if separator else str(DEFAULT_SIZE)
    if not re.fullmatch(r"\d{1,4}", size) or not SMALLEST_SIZE <= int(size) <= LARGEST_SIZE:
        raise ConfigError(
            f"`size` of an image folder must be an integer from {SMALLEST_SIZE} to {LARGEST_SIZE}, pixels; "
            f"got {size!r}."
        )
    if not path.is_dir():
        raise ConfigError(f"The task {name!r} needs a folder of images: {path} is none.")
    return path, int(size)


def _digest(path: Path, layout: Layout) -> str:
    """Say in a word which images there are: names and sizes in bytes, which another machine's copy has too."""
    key = hashlib.sha256()
    parts = [layout.train] if layout.test is None else [layout.train, layout.test]
    for file in sorted({image for part in parts for image in images_below(part)}):
        key.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
    return key.hexdigest()[:12]
