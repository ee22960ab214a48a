"""Fashion-MNIST: the size of MNIST, but not solved by everything."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from emprune_lab.data.augment import flip, shift
from emprune_lab.data.cache import DataSet
from emprune_lab.data.idx import read_splits
from emprune_lab.data.sources import debian_package, local_folder, web_address
from emprune_lab.tasks.task import ImageTask, Recipe, Splits

__all__ = ["DATA", "FASHION_MNIST"]

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SYSTEM_FOLDER = "/usr/share/datasets/fashion-mnist"
OFFICIAL_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

DATA = DataSet(
    name="fashion-mnist",
    sha256=SHA256,
    sources=(
        local_folder(SYSTEM_FOLDER, list(SHA256)),
        web_address(OFFICIAL_ADDRESS, list(SHA256)),
        debian_package("dataset-fashion-mnist", SYSTEM_FOLDER, list(SHA256)),
    ),
)


def load(data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits:
    """Return the official splits: 60,000 training and 10,000 test images.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    return read_splits(DATA.ensure(data_dir, say=say))


def augment(generator: torch.Generator, x: Tensor) -> Tensor:
    """Move by up to two pixels, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=2))


FASHION_MNIST = ImageTask(
    name="fashion-mnist",
    description="60,000 + 10,000 grey images of clothes, 28x28 pixels, 10 classes; 31 MB to fetch",
    num_classes=10,
    input_shape=(1, 28, 28),
    mean=(0.2860 * 255,),
    std=(0.3530 * 255,),
    load=load,
    augment=augment,
    recipe=Recipe(model="small-resnet", epochs=60, batch_size=128, max_lr=0.2),
)
