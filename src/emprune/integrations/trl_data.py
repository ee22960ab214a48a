"""Which rows of a user's `datasets.Dataset` are left after a trainer has made its data of them, and what they bring.

rows of the user     0  1  2  3  4  5            the user's lengths      7  3  9  4  8  5
rows that are left   0     2  3     5            of the samples          7     9  4     5
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emprune.engine.initial import read_table
from emprune.engine.plan_options import checked_pinned, checked_weights
from emprune.errors import ConfigError
from emprune.groups import Groups
from emprune.integrations.trainer_setup import check_positions
from emprune.lengths import checked_lengths

__all__ = ["numbered", "options_of_rows", "taken_rows"]

_ROW = "emprune_row"
"""The column in which the rows' numbers travel through the trainer's maps and filters."""


def numbered(dataset: Any) -> Any:
    """Return the data with a column more, each row's number.

    Raises:
        ConfigError: If the data are a stream.
    """
    if not hasattr(dataset, "add_column"):  # for the trainer to refuse
        return dataset
    check_positions(dataset, streams=False)
    return dataset.add_column(_ROW, list(range(len(dataset))))


def taken_rows(dataset: Any) -> tuple[Tensor | None, Any]:
    """Return (N,) int64, the number that each row had at first, and the data without the column of `numbered`.

    The first is None where the trainer has made other rows of them.
    """
    if _ROW not in (dataset.column_names or ()):
        return None, dataset
    numbers = dataset.with_format(None).select_columns([_ROW])[:][_ROW]
    return torch.tensor(numbers, dtype=torch.int64, device="cpu"), dataset.remove_columns(_ROW)


def options_of_rows(options: Mapping[str, Any], rows: Tensor | None, num_rows: int) -> dict[str, Any]:
    """Return a pruner's options, with what a user gave for rows as values of the samples.

    Args:
        options: What the pruner takes, by name.
        rows: (N,) int64, the row that each sample is; None where rows were packed.
        num_rows: How many rows the user's data have.

    Raises:
        ConfigError: If there is not a value for each row, a value is out of range, or rows were packed.
    """
    given = {name: options[name] for name in _OF_ROWS if options.get(name) is not None}
    if rows is None and given:
        name = next(iter(given))
        raise ConfigError(
            f"`{name}` must be given with packing=False, because it is for the rows of your data; got packing=True. "
            "Leave one of them out.",
            parameter=name,
            value=given[name],
        )
    if rows is None:
        return dict(options)
    return {**options, **{name: _OF_ROWS[name](value, rows, num_rows) for name, value in given.items()}}


def _check_number(name: str, value: Any, rows: Tensor, num_rows: int) -> None:
    found = value.num_samples if isinstance(value, Groups) else len(value) if hasattr(value, "__len__") else num_rows
    if found != num_rows:
        raise ConfigError(
            f"`{name}` must have a value for each of the {num_rows:,} rows of your `train_dataset`; got {found:,}. "
            f"The trainer has left {len(rows):,} of the rows, and finds their values itself.",
            parameter=name,
            value=value,
        )


def _lengths(lengths: Any, rows: Tensor, num_rows: int) -> Tensor:
    _check_number("lengths", lengths, rows, num_rows)
    checked = checked_lengths(lengths, num_samples=num_rows)
    assert checked is not None
    return checked[rows]


def _weights(weights: Any, rows: Tensor, num_rows: int) -> Tensor:
    _check_number("weights", weights, rows, num_rows)
    return checked_weights(weights, num_rows)[rows]


def _groups(groups: Any, rows: Tensor, num_rows: int) -> Groups:
    whole = groups if isinstance(groups, Groups) else Groups(groups)
    _check_number("groups", whole, rows, num_rows)
    labels = [whole.names[code] for code in whole.codes[rows].tolist()]
    quota = whole.quota
    if isinstance(quota, Mapping):  # without the groups of which no row is left
        quota = {name: quota[name] for name in dict.fromkeys(labels)}
    return replace(whole, labels=labels, quota=quota)


def _pinned(pinned: Any, rows: Tensor, num_rows: int) -> Tensor:
    """Return the positions of pinned rows; a row that is not left cannot be in every epoch."""
    wanted = checked_pinned(pinned, num_rows)
    position = torch.full((num_rows,), -1, device="cpu").index_copy_(0, rows, torch.arange(len(rows), device="cpu"))
    found = position[wanted]
    if bool((found < 0).any()):
        gone = wanted[found < 0].tolist()
        raise ConfigError(
            f"`pinned` must be rows that the trainer has left, {len(rows):,} of {num_rows:,}; got row {gone[0]}, and "
            f"{len(gone) - 1:,} more, which it has dropped. Leave them out.",
            parameter="pinned",
            value=pinned,
        )
    return found


def _initial(initial: Any, rows: Tensor, num_rows: int) -> Any:
    """Return an earlier run's columns, a row for each sample. One that the earlier run did not have is unseen."""
    frame = read_table(Path(initial)) if isinstance(initial, (str, os.PathLike)) else initial
    if "row" not in getattr(frame, "columns", ()):
        if rows.equal(torch.arange(num_rows, device="cpu")):
            return frame
        raise ConfigError(
            f"`initial` must have the column row, because the trainer has left {len(rows):,} of {num_rows:,} rows, or "
            "moved them; got none. Pass what trainer.to_frame() of the earlier run returned. Or, for a "
            "frame with all your rows in their order, write frame.assign(row=range(len(frame))).",
            parameter="initial",
            value=initial,
        )
    if not frame["row"].is_unique or not frame["row"].isin(range(num_rows)).all():
        raise ConfigError(
            f"`initial` must have rows of your data in its column row, each once, in [0, {num_rows}); got "
            f"{frame['row'].min()} to {frame['row'].max()} in {len(frame):,} rows. Start from a run on the same data.",
            parameter="initial",
            value=initial,
        )
    samples = frame.set_index("row").reindex(rows.tolist()).reset_index(drop=True)
    samples.attrs = dict(frame.attrs)
    return samples


_OF_ROWS: dict[str, Callable[[Any, Tensor, int], Any]] = {
    "lengths": _lengths,
    "groups": _groups,
    "weights": _weights,
    "pinned": _pinned,
    "initial": _initial,
}
"""What a user gives for rows, and how it becomes what the pruner takes."""
