"""Labelled texts on disk, the same for every task: a line of JSON each, its label first."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from emprune_lab.data.cache import SourceError
from emprune_lab.errors import DataError
from emprune_lab.tasks.task import Recipe, Split, Splits, Texts

__all__ = ["FILES", "Row", "fine_tuning", "read_rows", "read_splits", "split_of", "write_rows"]

FILES = ("train.jsonl", "test.jsonl")

Row = Sequence[str]
"""A label's name, a text, and the text it is compared with where the task is on pairs."""


def fine_tuning(*, epochs: int, max_lr: float = 1e-4, batch_size: int = 32) -> Recipe:
    """Return the recipe of a text task: MiniLM by AdamW, without label smoothing."""
    return Recipe(
        model="minilm",
        epochs=epochs,
        batch_size=batch_size,
        max_lr=max_lr,
        optimizer="adamw",
        schedule="linear",
        weight_decay=0.01,
        label_smoothing=0.0,
    )


def write_rows(into: Path, *parts: Iterable[Row], sizes: Sequence[int] | None = None) -> None:
    """Write the training and the test part, or the one part that there is.

    Args:
        into: The data set's folder.
        *parts: Rows.
        sizes: How many there must be in each, where that is known.

    Raises:
        SourceError: If there are other than so many.
    """
    for place, (name, part) in enumerate(zip(FILES, parts, strict=False)):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in part]
        if not lines or (sizes is not None and len(lines) != sizes[place]):
            expected = f"{sizes[place]:,}" if sizes else "some"
            raise SourceError(f"its {name.partition('.')[0]}ing part has {len(lines):,} texts instead of {expected}")
        (into / name).write_text("".join(lines), encoding="utf-8")


def read_splits(folder: Path, *, num_classes: int) -> Splits[Texts]:
    """Return the training and the test part that `write_rows` wrote.

    Raises:
        DataError: If there are not as many classes, or the parts do not have the same.
    """
    train, test = (read_rows(folder / name) for name in FILES)
    classes = sorted({row[0] for row in train})
    strange = {row[0] for row in test} - set(classes)
    if len(classes) != num_classes or strange:
        also = f", and {', '.join(sorted(strange))} in the test part alone" if strange else ""
        raise DataError(f"{folder} has {len(classes)} classes instead of {num_classes}{also}.")
    return Splits(split_of(train, classes), split_of(test, classes), classes=classes)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of one part."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def split_of(rows: Sequence[Row], classes: Sequence[str]) -> Split[Texts]:
    """Return rows as a split; a label is its place among the classes."""
    number = {name: place for place, name in enumerate(classes)}
    columns = list(zip(*(row[1:] for row in rows), strict=True))
    return Split(Texts(*columns), torch.tensor([number[row[0]] for row in rows]))
