"""A user's own labelled texts: a table, or a folder of a training and a test table."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from emprune.errors import ConfigError
from emprune_lab.data.parts import find_parts
from emprune_lab.data.text_files import Row
from emprune_lab.errors import DataError

__all__ = ["TextTables", "find_tables"]

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
LONGEST_ROW = 1 << 26
"""Bytes; Arrow reads so much at once, and takes no longer row."""


@dataclass(frozen=True)
class TextTables:
    """Where a user's texts are.

    Args:
        train: The table that is trained on, or all of the data where there is no test part.
        test: The table that is tested on, if there is one.
        texts: The column of the text, or of the two texts.
        label: The column of the class.
    """

    train: Path
    test: Path | None
    texts: tuple[str, ...]
    label: str

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
        columns = [self.label, *self.texts]
        table = _read(path, columns)
        if any(table.column_names.count(name) != 1 for name in columns):
            raise ConfigError(
                f"{path} must have the columns {' and '.join(columns)}, each once; got "
                f"{', '.join(table.column_names)}. Name yours in the task: texts:PATH:text=COLUMN:label=COLUMN."
            )
        if not len(table):
            raise DataError(f"{path} holds no rows.")
        return list(zip(*(_strings(path, name, table[name]) for name in columns), strict=True))

    def classes(self) -> list[str]:
        """Return the classes of the training table, sorted.

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
        return sorted(counts)


def find_tables(path: Path, *, texts: Sequence[str], label: str) -> TextTables:
    """Return the tables at PATH: the file itself, or those of a folder that are named as its parts.

    Raises:
        ConfigError: If there is no such table, or a part has several.
    """
    if path.is_file():
        if path.suffix.lower() not in ENDINGS:
            raise ConfigError(f"A table of texts must end in {', '.join(ENDINGS)}; got {path.name}. Convert it.")
        return TextTables(path, None, tuple(texts), label)
    if not path.is_dir():
        raise ConfigError(f"`texts:` needs a table, or a folder of tables: {path} is none.")
    tables = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in ENDINGS and entry.is_file())
    train, test = find_parts(path, tables)
    if train is None:
        raise ConfigError(f"{path} must hold train.csv, or another of {', '.join(ENDINGS[1:])}; got none of that name.")
    return TextTables(train, test, tuple(texts), label)


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        match path.suffix.lower():
            case ".parquet":
                return pa.parquet.read_table(path)
            case ".jsonl":
                return pa.json.read_json(path, pa.json.ReadOptions(block_size=LONGEST_ROW))
            case ending:
                parsing = pa.csv.ParseOptions(delimiter="\t" if ending == ".tsv" else ",", newlines_in_values=True)
                conversion = pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()))
                reading = pa.csv.ReadOptions(block_size=LONGEST_ROW)
                return pa.csv.read_csv(path, reading, parsing, conversion)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:].lower()}: {error}. Repair it.") from error


def _strings(path: Path, name: str, column: pa.ChunkedArray) -> list[str]:
    """Return a column as strings; DataError where one is missing, or is a list or a record."""
    try:
        strings = column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"The column {name} of {path} must hold texts or numbers; got {column.type}.") from None
    if None in strings:
        raise DataError(f"{path} must have a value in each row; got none in {name}, row {strings.index(None)}.")
    return list(strings)
