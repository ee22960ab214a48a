"""Which rows of a user's `datasets.Dataset` are left after a trainer has made its data of them."""

from typing import Any

import torch
from torch import Tensor

from emprune.integrations.trainer_setup import check_positions

__all__ = ["numbered", "taken_rows"]

_ROW = "emprune_row"
"""The column in which the rows' numbers travel through the trainer's maps and filters."""


def numbered(dataset: Any) -> Any:
    """Return the data with a column more, each row's number.

    Raises:
        ConfigError: If the data are a stream.
    """
    if not hasattr(dataset, "add_column"):  # for the trainer to refuse
        return dataset
    check_positions(dataset)
    return dataset.add_column(_ROW, list(range(len(dataset))))


def taken_rows(dataset: Any) -> tuple[Tensor | None, Any]:
    """Return (N,) int64, the number that each row had at first, and the data without the column of `numbered`.

    The first is None where the trainer has made other rows of them.
    """
    if _ROW not in (dataset.column_names or ()):
        return None, dataset
    numbers = dataset.with_format(None).select_columns([_ROW])[:][_ROW]
    return torch.tensor(numbers, dtype=torch.int64), dataset.remove_columns(_ROW)
