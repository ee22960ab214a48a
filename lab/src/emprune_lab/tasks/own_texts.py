"""A user's own texts: a table with a column of texts and a column of classes."""

import re
from functools import lru_cache, partial
from pathlib import Path

from emprune.errors import ConfigError
from emprune_lab.data.dividing import steady_order, with_test_part
from emprune_lab.data.splits import Split, Splits, Texts
from emprune_lab.data.text_files import split_of
from emprune_lab.data.text_tables import TextTables, find_tables
from emprune_lab.errors import DataError, some
from emprune_lab.files import home_expanded
from emprune_lab.tasks.task import TextTask, fine_tuning

__all__ = ["PREFIX", "own_texts"]

PREFIX = "texts:"
_FORM = re.compile(r"texts:(.*?)((?::(?:text|label)=[^:]+)*)", re.DOTALL)
_OPTION = re.compile(r":(text|label)=([^:]+)")


@lru_cache
def own_texts(name: str) -> TextTask:
    """Return the task that `texts:PATH[:text=COLUMN][:label=COLUMN]` names.

    PATH is a table in CSV, TSV, JSON Lines or Parquet. Then a fixed, stratified fifth is for testing. It stays nearly
    the same where some labels are corrected. Or PATH is a folder that holds `train.csv` and, if it has its own test
    part, `test.csv` or `val.csv`. The columns are `text` and `label` unless the name says others.
    `text=question+answer` makes pairs of texts.

    Raises:
        ConfigError: If there is no table, a column is not there, or the labels are no classes.
        DataError: If a table cannot be read.
    """
    name, tables = _parse(name)
    classes = tuple(tables.classes())
    return TextTask(
        name=name,
        description="your own texts",
        num_classes=len(classes),
        read=partial(read, tables, classes),
        max_length=128,
        recipe=fine_tuning(epochs=6),
        files=tables.digest(),
        classes=classes,
        remarks=(tables.others,) if tables.others else (),
    )


def read(tables: TextTables, classes: tuple[str, ...], _data_dir: Path) -> Splits[Texts]:
    """Return the splits; a sample's path is its table and its row there, such as `reviews.csv[17]`."""

    def part(path: Path) -> Split[Texts]:
        rows = tables.rows(path)
        strange = sorted({row[0] for row in rows} - set(classes))
        if strange:
            raise DataError(
                f"{path} holds classes that the training part lacks: {some(strange)}. It has {some(classes)}."
            )
        split = split_of(rows, classes)
        return Split(split.x, split.y, [f"{path.name}[{row}]" for row in range(len(rows))])

    train = part(tables.train)
    if tables.test is None:
        return with_test_part(train, one_in=5, classes=classes, order=steady_order)
    return Splits(train, part(tables.test), classes=classes)


def _parse(name: str) -> tuple[str, TextTables]:
    """Return the name with its path spelled plainly, so that `./a.csv` and `a.csv` are one task, and the tables."""
    place, options = _FORM.fullmatch(name).groups()  # type: ignore[union-attr]  # it fits every name
    columns = {"text": "text", "label": "label", **dict(_OPTION.findall(options))}
    texts = columns["text"].split("+")
    if len(texts) > 2 or "" in texts:
        raise ConfigError(f"`text` must name one column, or two joined by +; got {columns['text']!r}.")
    tables = find_tables(home_expanded(place).absolute(), texts=texts, label=columns["label"])
    return f"{PREFIX}{Path(place)}{options}", tables
