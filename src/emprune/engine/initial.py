"""A run that starts from an earlier run's columns: what is taken of them, and what is refused.

Taken are the loss and the method's own columns. A sample with a loss then counts as seen, before this run. The method
chooses it by what is known of it, from the first epoch on. Visits, last visits and failures are of this run alone.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import torch
from torch import Tensor

from emprune.columns import Column
from emprune.errors import ConfigError
from emprune.stats import SampleStats, is_plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATA_KEY", "Initial", "checked_key", "read_table", "start_from"]

Initial: TypeAlias = "pd.DataFrame | str | os.PathLike[str] | Mapping[str, Any]"
"""A frame of `to_frame`, the path of a Parquet file with such a table, or a state of a pruner or a loader."""

DATA_KEY = "data_key"
"""Where a frame's `attrs` and a state's settings have the key. pandas keeps `attrs` in Parquet files."""


def checked_key(data_key: Any) -> str | None:
    """Return the key of the data.

    Raises:
        ConfigError: If it is neither text nor None.
    """
    if data_key is None or (isinstance(data_key, str) and data_key):
        return data_key
    raise ConfigError(
        f"`data_key` must be text that other data do not have, such as a dataset's fingerprint; got {data_key!r}. Or "
        "leave it out.",
        parameter="data_key",
        value=data_key,
    )


def start_from(stats: SampleStats, initial: Any, *, method: str, data_key: str | None) -> str:
    """Enter an earlier run's columns into those of a new one, and return their digest, for ranks to compare.

    Args:
        stats: The new run's, as they were made; unchanged if `initial` is refused.
        initial: An `Initial`.
        method: The new run's, as messages call it.
        data_key: The new run's, if it has one.

    Raises:
        ConfigError: If it is none, is of other data, lacks a column, or holds what is no number.
        ImportError: If it is a path, and pandas or pyarrow is not installed.
    """
    found, found_key = _columns_and_key(initial)
    wanted = stats.loss_and_own
    missing = [column.name for column in wanted if column.name not in found]
    if missing:
        _refuse(
            initial,
            f"must have the columns {', '.join(column.name for column in wanted)}, which {method} remembers; got none "
            f"called {', '.join(missing)}. Start from a run of the same method, or choose a method that needs no more.",
        )
    if data_key is not None and found_key != data_key:
        _refuse(
            initial,
            f"must have the key of the data, data_key={data_key!r}; got data_key={found_key!r}. Start from a run on "
            "the same data, or leave `data_key` out.",
        )
    numbers = {column.name: _numbers(column.name, found[column.name], initial) for column in wanted}
    num_rows = len(numbers["loss"])
    if num_rows != stats.num_samples:
        _refuse(
            initial,
            f"must have a row for each of {stats.num_samples:,} samples; got {num_rows:,}. Start from a run on the "
            "same data.",
        )
    seen = ~numbers["loss"].isnan()
    values = {column.name: _stored(column, numbers[column.name], seen, initial) for column in wanted}
    _check_losses(values["loss"][seen], initial)
    stats.start_from(values, seen)
    digest = hashlib.blake2b(digest_size=8)
    for column in values.values():
        digest.update(column.numpy().tobytes())
    return digest.hexdigest()


def _columns_and_key(initial: Any) -> tuple[Mapping[str, Any], object]:
    """Return the earlier run's columns by name, and the key of its data."""
    if isinstance(initial, (str, os.PathLike)):
        initial = read_table(Path(initial))
    pandas = sys.modules.get("pandas")  # who has a frame has imported it
    if pandas is not None and isinstance(initial, pandas.DataFrame):
        return _in_order(initial), initial.attrs.get(DATA_KEY)
    state = initial
    if isinstance(state, Mapping) and "pruner" in state:
        state = state["pruner"]  # a loader's
    if isinstance(state, Mapping) and all(isinstance(state.get(name), Mapping) for name in ("columns", "settings")):
        return state["columns"], state["settings"].get(DATA_KEY)
    found = f"the keys {sorted(map(str, initial))}" if isinstance(initial, Mapping) else type(initial).__name__
    _refuse(
        initial,
        f"must be a frame, the path of a Parquet file, or a state of another run; got {found}. Pass what "
        "pruner.to_frame() or pruner.state_dict() returned.",
    )


def read_table(path: Path) -> "pd.DataFrame":
    """Return the table in a Parquet file.

    Raises:
        ConfigError: If it is no such file.
        ImportError: If pandas or pyarrow is not installed.
    """
    if not path.is_file():
        _refuse(path, f"must be the path of a Parquet file; got {str(path)!r}, which is no file. Correct the path.")
    try:
        import pandas as pd

        return pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            "`initial` as a path needs the packages 'pandas' and 'pyarrow': pip install pandas pyarrow", name="pandas"
        ) from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ConfigError(
            f"`initial` must be a Parquet file that can be read; got {str(path)!r} ({error}). Write it by "
            "frame.to_parquet(path).",
            parameter="initial",
            value=path,
        ) from error


def _in_order(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a frame with its rows in the order of the dataset, which its index says."""
    index, position = frame.index.to_numpy(), np.arange(len(frame))
    if np.array_equal(index, position):
        return frame
    if index.dtype.kind not in "iu" or not np.array_equal(np.sort(index), position):
        _refuse(
            frame,
            "must have each position from 0 to N - 1 once as its index; got another index. If its rows are in the "
            "order of the dataset, write frame.reset_index(drop=True).",
        )
    return frame.sort_index()


def _numbers(name: str, values: Any, initial: Any) -> Tensor:
    """Return a column as (N,) float64, NaN where nothing is known."""
    numbers: Tensor | None = None
    if is_plain(values):
        numbers = values.detach().cpu().double()
    else:
        with suppress(AttributeError, TypeError, ValueError):
            numbers = torch.from_numpy(values.to_numpy(dtype=np.float64, na_value=np.nan, copy=True))
    if numbers is None or numbers.ndim != 1:
        _refuse(
            initial,
            f"must hold a number for each sample in the column {name!r}; got something else. Pass the frame or the "
            "state as the earlier run gave it.",
        )
    return numbers


def _stored(column: Column, numbers: Tensor, seen: Tensor, initial: Any) -> Tensor:
    """Return a column as it is stored: what is known of the seen samples, and a new run's values for the others."""
    stored = numbers.where(seen, column.initial).to(column.dtype)
    wrong = seen & ~(stored.isfinite() if column.dtype.is_floating_point else stored == numbers)
    if bool(wrong.any()):
        _refuse(
            initial,
            f"must hold finite {str(column.dtype).removeprefix('torch.')} numbers in the column {column.name!r}; got "
            f"others for {int(wrong.count_nonzero()):,} of {len(wrong):,} samples. Set their loss to NaN, so that they "
            "count as unseen.",
        )
    return stored


def _check_losses(losses: Tensor, initial: Any) -> None:
    if len(losses) == 0:
        _refuse(initial, "must know the loss of a sample; got none. Leave it out, or start from a run that observed.")
    if not bool(losses.any()):  # PrunedTrainer records zeros where the method needs no losses
        _refuse(
            initial,
            "must hold the losses of a run that measured them; got 0 for every sample. Start from a run of a method "
            "that scores by the loss.",
        )


def _refuse(initial: Any, rule: str) -> NoReturn:
    raise ConfigError(f"`initial` {rule}", parameter="initial", value=initial)
