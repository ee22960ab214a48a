"""A user's own images: a folder of a folder for each class, as torchvision's ImageFolder has them."""

import re
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune_lab.data.augment import flip, shift
from emprune_lab.data.decoding import decoded
from emprune_lab.data.dividing import with_test_part
from emprune_lab.data.image_listing import Layout, digest_of, files_of, find_layout, left_out, list_images
from emprune_lab.data.splits import Split, Splits
from emprune_lab.files import home_expanded
from emprune_lab.tasks.task import ImageTask, Recipe

__all__ = ["PREFIX", "image_folder"]

PREFIX = "image-folder:"
DEFAULT_SIZE, SMALLEST_SIZE, LARGEST_SIZE = 64, 8, 1024


@lru_cache
def image_folder(name: str) -> ImageTask:
    """Return the task that `image-folder:PATH[:size=PIXELS]` names.

    PATH holds `train/CLASS/*` and, if it has its own test part, `test/CLASS/*` or `val/CLASS/*`. Or it holds `CLASS/*`
    alone: then a fixed, stratified fifth is for testing. Images are resized to PIXELS on their shorter side, and
    cropped to a square. They are kept in memory, 8 bits per channel, and decoded once, into the data folder.

    Raises:
        ConfigError: If the folder does not exist, holds fewer than two classes or a test part alone, or the size is no
            positive integer.
    """
    name, path, size = _parse(name)
    layout = find_layout(path)
    files = files_of(layout)
    return ImageTask(
        name=name,
        description="your own images, a folder for each class",
        num_classes=len(layout.classes),
        input_shape=(3, size, size),
        mean=(123.7, 116.3, 103.5),  # ImageNet's, as is usual for photographs
        std=(58.4, 57.1, 57.4),
        read=partial(read, path, size, layout),
        augment=partial(augment, pixels=size // 8),
        recipe=Recipe(model="small-resnet", epochs=40, batch_size=128, max_lr=0.2),
        files=digest_of(path, files),
        classes=layout.classes,
        remarks=tuple(filter(None, (layout.others, left_out(layout, files)))),
    )


def read(path: Path, size: int, layout: Layout, data_dir: Path) -> Splits:
    """Return the splits, decoded on first use."""

    def part(folder: Path) -> Split:
        images, labels = list_images(folder, layout.classes)
        x = decoded(images, size, data_dir / "image-folder")
        return Split(x, torch.tensor(labels), [image.relative_to(path).as_posix() for image in images])

    train = part(layout.train)
    if layout.test is None:
        return with_test_part(train, one_in=5, classes=layout.classes)
    return Splits(train, part(layout.test), classes=layout.classes)


def augment(generator: torch.Generator, x: Tensor, *, pixels: int) -> Tensor:
    """Move by up to an eighth of the size into a reflected border, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=pixels, border="reflect"))


def _parse(name: str) -> tuple[str, Path, int]:
    """Return the name with its path spelled plainly, so that `./img/` and `img` are one task; the path, the size."""
    text, separator, number = name.removeprefix(PREFIX).rpartition(":size=")
    text, size = (text, number) if separator else (number, str(DEFAULT_SIZE))
    path = home_expanded(text).absolute()
    if not re.fullmatch(r"[0-9]{1,4}", size) or not SMALLEST_SIZE <= int(size) <= LARGEST_SIZE:
        raise ConfigError(
            f"`size` of an image folder must be an integer from {SMALLEST_SIZE} to {LARGEST_SIZE}, pixels; "
            f"got {size!r}."
        )
    if not path.is_dir():
        raise ConfigError(f"The task {name!r} needs a folder of images: {path} is none.")
    return f"{PREFIX}{Path(text)}{separator}{size if separator else ''}", path, int(size)
