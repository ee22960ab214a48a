"""The training and the test part of a user's own data, known by their names: folders of images, or tables of texts."""

import re
from collections.abc import Sequence
from pathlib import Path

from emprune.errors import ConfigError

__all__ = ["PART", "TEST_NAMES", "TRAIN_NAMES", "find_parts", "other_parts"]

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
"""Names of the parts in small letters, the preferred first."""

PART = re.compile(
    r"(train|training|trn|test|testing|tst|val|valid|validation|dev|eval|evaluation|holdout)"
    r"([-_. ]?(set|data|dataset|images?|imgs?|split|part|fold|\d+))*"
)
"""What names a part of a data set and hardly ever a class, in small letters."""


def find_parts(folder: Path, entries: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """Return the training and the test part among a folder's entries; None for one that is not there.

    Raises:
        ConfigError: If there is a test part alone, there are several parts of one kind, or an entry beside the training
            part is named as a part that is not understood.
    """
    train, test = _part(folder, entries, TRAIN_NAMES), _part(folder, entries, TEST_NAMES)
    if train is None and test is not None:
        raise ConfigError(
            f"{folder} holds {_listed(test)} and no training part, so that it would train on what it is to test on. "
            f"Name the training part {TRAIN_NAMES[0]}."
        )
    unknown = [entry for entry in entries if entry != train and PART.fullmatch(_name_of(entry).lower())]
    if train is not None and test is None and unknown:
        raise ConfigError(
            f"{folder} must name its parts {' or '.join(TRAIN_NAMES)} and {' or '.join(TEST_NAMES)}; "
            f"got {_listed(train, *unknown)}. Rename the test part, or move it away."
        )
    return train, test


def other_parts(entries: Sequence[Path], used: Sequence[Path | None]) -> str | None:
    """Say which parts are not read beside those that are used; None for none."""
    others = [entry for entry in entries if entry not in used and PART.fullmatch(_name_of(entry).lower())]
    if not others:
        return None
    return f"Not read: {_listed(*others)}. --validation splits a part off the training data instead."


def _part(folder: Path, entries: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Return the entry of a part, by the first of its names that there is in any case."""
    for name in names:
        found = [entry for entry in entries if _name_of(entry).lower() == name]
        if len(found) > 1:
            raise ConfigError(f"{folder} must hold each part once; got {_listed(*found)}. Move one of them away.")
        if found:
            return found[0]
    return None


def _name_of(entry: Path) -> str:
    """Return the name of a folder, or that of a file without its ending."""
    return entry.name if entry.is_dir() else entry.stem


def _listed(*entries: Path) -> str:
    return ", ".join(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
