"""Labelled texts on disk, the same for every task: a line of JSON each, its label first."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from emprune_lab.data.cache import SourceError
from emprune_lab.data.splits import Split, Splits, Texts
from emprune_lab.errors import DataError

__all__ = ["FILES", "Row", "read_rows", "read_splits", "split_of", "splits_of", "write_rows"]

FILES = ("train.jsonl", "test.jsonl")

Row = Sequence[str]
"""A label's name, a text, and the text it is compared with where the task is on pairs."""


def write_rows(into: Path, *parts: Iterable[Row], sizes: Sequence[int] | None = None) -> None:
    """Write the training and the test part, or the one part that there is, of so many rows where that is known."""
    for position, (name, part) in enumerate(zip(FILES, parts, strict=False)):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in part]
        if not lines or (sizes is not None and len(lines) != sizes[position]):
            expected = f"{sizes[position]:,}" if sizes else "some"
            raise SourceError(f"its {name.partition('.')[0]}ing part has {len(lines):,} texts instead of {expected}")
        (into / name).write_text("".join(lines), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of one part."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_splits(folder: Path) -> Splits[Texts]:
    """Return the two parts that `write_rows` wrote."""
    return splits_of(*(read_rows(folder / name) for name in FILES))


def splits_of(train: Sequence[Row], test: Sequence[Row]) -> Splits[Texts]:
    """Return rows as splits; the classes are those of the training part, sorted."""
    classes = sorted({row[0] for row in train})
    strange = sorted({row[0] for row in test} - set(classes))
    if strange:
        raise DataError(f"The test part must have the classes of the training part; got {', '.join(strange)}.")
    return Splits(split_of(train, classes), split_of(test, classes), classes=classes)


def split_of(rows: Sequence[Row], classes: Sequence[str]) -> Split[Texts]:
    """Return rows as a split; a label is a position among the classes."""
    number = {name: position for position, name in enumerate(classes)}
    columns = list(zip(*(row[1:] for row in rows), strict=True))
    return Split(Texts(*columns), torch.tensor([number[row[0]] for row in rows]))
