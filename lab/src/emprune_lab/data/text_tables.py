"""A user's own labelled texts: a table, or a folder of a training and a test table."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from emprune.errors import ConfigError
from emprune_lab.data.parts import find_parts, other_parts
from emprune_lab.data.text_files import Row
from emprune_lab.errors import DataError, some

__all__ = ["TextTables", "find_tables"]

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
FORM = "texts:PATH[:text=COLUMN][:label=COLUMN]"


@dataclass(frozen=True)
class TextTables:
    """Where a user's texts are.

    Args:
        train: The table that is trained on, or all of the data where there is no test part.
        test: The table that is tested on, if there is one.
        texts: The column of the text, or of the two texts.
        label: The column of the class.
        others: Says which tables are not read; None for none.
    """

    train: Path
    test: Path | None
    texts: tuple[str, ...]
    label: str
    others: str | None = None

    def digest(self) -> str:
        """Say in a word what the tables hold, byte for byte, and which columns of it are meant."""
        key = hashlib.sha256(repr((self.texts, self.label)).encode())
        for path in (self.train, *([self.test] if self.test else [])):
            with path.open("rb") as file:
                key.update(hashlib.file_digest(file, "sha256").digest())
        return key.hexdigest()[:12]

    def rows(self, path: Path) -> list[Row]:
        """Return the rows of one table: the name of the class first, then the texts.

        Raises:
            ConfigError: If a column is not there.
            DataError: If the file cannot be read, holds nothing, or a row lacks its class or a text.
        """
        wanted = [self.label, *self.texts]
        heads, columns = _read(path, wanted)
        if columns.keys() != set(wanted):
            separate = "Separate the columns by commas, or by tabs in a .tsv."
            advice = separate if len(heads) == 1 else f"Name yours in the task: {FORM}."
            raise ConfigError(
                f"{path} must have the columns {' and '.join(wanted)}, each once; got {some(heads)}. {advice}"
            )
        found: list[Row] = list(zip(*(_strings(path, name, columns[name]) for name in wanted), strict=True))
        if not found:
            raise DataError(f"{path} holds no rows.")
        return found

    def classes(self) -> list[str]:
        """Return the classes of the training table, in the order of their numbers or names.

        Raises:
            ConfigError: If there is one class alone, or the labels are no classes: more than half of them occur once.
        """
        counts = Counter(row[0] for row in self.rows(self.train))
        once = [label for label, count in counts.items() if count == 1]
        if 2 * len(once) > counts.total():
            raise ConfigError(
                f"The column {self.label} must hold classes; got {len(counts):,} values in {counts.total():,} rows of "
                f"{self.train}, such as {once[0][:40]!r}. Name the column of the classes: texts:PATH:label=COLUMN."
            )
        if len(counts) < 2:
            raise ConfigError(f"{self.train} must have at least two classes; got {', '.join(counts)} in {self.label}.")
        whole = all(label.removeprefix("-").isdecimal() for label in counts)
        return sorted(counts, key=int) if whole else sorted(counts)


def find_tables(path: Path, *, texts: Sequence[str], label: str) -> TextTables:
    """Return the tables at PATH: the file itself, or those of a folder that are named as its parts.

    Raises:
        ConfigError: If there is no such table, or a part has several or is in another form.
    """
    if path.is_file():
        return TextTables(_in_a_form(path), None, tuple(texts), label)
    if not path.is_dir():
        raise ConfigError(f"A task of texts is {FORM}, with a table or a folder of tables; {path} is none.")
    files = sorted(entry for entry in path.iterdir() if entry.is_file())
    train, test = find_parts(path, files)
    if train is None:
        raise ConfigError(f"{path} must hold train.csv, or another of {', '.join(ENDINGS[1:])}; got none of that name.")
    others = other_parts(files, (train, test))
    return TextTables(_in_a_form(train), test and _in_a_form(test), tuple(texts), label, others)


def _in_a_form(path: Path) -> Path:
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"A table of texts must end in {', '.join(ENDINGS)}; got {path.name}. Convert it.")
    return path


def _read(path: Path, wanted: Sequence[str]) -> tuple[list[str], Mapping[str, Sequence[Any]]]:
    """Return the heads of a table's columns, and those of the wanted columns that are there once."""
    try:
        match path.suffix.lower():
            case ".parquet":
                heads = list(pq.read_schema(path).names)
                once = [name for name in dict.fromkeys(wanted) if heads.count(name) == 1]
                table = pq.read_table(path, columns=once)
                return heads, {name: table[name].to_pylist() for name in once}
            case ".jsonl":
                rows = list(_objects(path))
                heads = list(dict.fromkeys(name for row in rows for name in row))
                return heads, {name: [row.get(name) for row in rows] for name in wanted if name in heads}
            case ending:
                cells = pd.read_csv(
                    path, sep="\t" if ending == ".tsv" else ",", header=None, dtype=str, keep_default_na=False,
                    encoding="utf-8-sig",
                )  # fmt: skip
                heads = [str(head) for head in cells.iloc[0]]
                place = {name: heads.index(name) for name in wanted if heads.count(name) == 1}
                return heads, {name: cells[number].tolist()[1:] for name, number in place.items()}
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8; got other bytes ({error}). Save it as UTF-8.") from error
    except (ValueError, OSError) as error:
        what = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise DataError(f"{path} cannot be read as {path.suffix[1:].lower()}: {what}. Repair it.") from error


def _objects(path: Path) -> Iterable[dict[str, Any]]:
    """Yield the objects of a file of JSON Lines; ValueError names the line that is none."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number:,}: {error}") from error
                if not isinstance(row, dict):
                    raise ValueError(f"line {number:,} is no object")
                yield row


def _strings(path: Path, name: str, column: Sequence[Any]) -> list[str]:
    """Return a column as strings, as pandas writes them; DataError where one is missing, or is a list or a record."""
    found = []
    for row, value in enumerate(column):
        if isinstance(value, (list, dict)):
            raise DataError(f"The column {name} of {path} must hold texts or numbers; got {value!r:.40} in row {row}.")
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if value is None or not text.strip() or (isinstance(value, float) and math.isnan(value)):
            raise DataError(f"{path} must have a value in each row; got none in {name}, row {row} (the first is 0).")
        found.append(text)
    return found
