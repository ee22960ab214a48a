"""What is remembered per sample between epochs: (N,) columns, and how a set of observations enters them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError, EmpruneError, StateError

__all__ = ["BASE_COLUMNS", "Column", "Fold", "SampleStats", "all_finite"]

Fold = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Column:
    """One number per sample that a method remembers.

    Args:
        name: Its name, the key in `SampleStats`.
        meaning: What it holds, in a few words.
        dtype: How it is stored.
        initial: Its value before the first visit.
    """

    name: str
    meaning: str
    dtype: torch.dtype = torch.float32
    initial: float = 0.0


_NEVER = -1

BASE_COLUMNS = (
    Column("visits", "epochs in which the sample was observed", torch.int32),
    Column(
        "last_visit",
        "epoch of the last valid observation; -1 before it, less by 1 for each in vain",
        torch.int32,
        _NEVER,
    ),
    Column("loss", "the last observed loss", torch.float32, torch.nan),
)
"""Remembered for every method: 12 bytes per sample."""


class SampleStats:
    """The (N,) columns of a run, on the CPU.

    Every method has `visits`, `last_visit` and `loss`; its own columns come on top. Columns hold what has been folded
    in; observations of the running epoch are folded when the next one is planned, or by `DataPruner.sync`.

    Args:
        num_samples: N.
        columns: The method's own columns.

    Raises:
        ConfigError: If two columns share a name.

    Example:
        >>> stats = SampleStats(3, ())
        >>> stats["visits"]
        tensor([0, 0, 0], dtype=torch.int32)
    """

    def __init__(self, num_samples: int, columns: Sequence[Column]) -> None:
        self.columns = (*BASE_COLUMNS, *columns)
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ConfigError(f"Column names must be unique and differ from the built-in ones: got {names}.")
        self.num_samples = num_samples
        self._values = {c.name: torch.full((num_samples,), c.initial, dtype=c.dtype) for c in self.columns}

    def __getitem__(self, name: str) -> Tensor:
        """Return a column, (N,); read it, do not write to it."""
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(f"No column {name!r}; there are {', '.join(self._values)}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._values

    @property
    def seen(self) -> Tensor:
        """(N,) bool: samples with at least one valid observation."""
        return self._values["last_visit"] >= 0

    @property
    def given_up(self) -> Tensor:
        """(N,) bool: samples that are not seen although they were tried twice: their losses are not finite."""
        return self._values["last_visit"] <= _NEVER - 2

    @property
    def bytes_per_sample(self) -> int:
        """What the columns cost in memory."""
        return sum(column.dtype.itemsize for column in self.columns)

    def fold(self, epoch: int, index: Tensor, measured: Mapping[str, Tensor], method_fold: Fold | None) -> None:
        """Enter an epoch's observations, or a part of them.

        A sample that was entered in the same epoch before keeps what it has where a rule makes new values of old ones,
        which would count the epoch twice, and is overwritten where not.

        Args:
            epoch: The epoch they were made in.
            index: (M,) int64, each sample at most once.
            measured: (M,) for "loss" and each quantity the method measures.
            method_fold: The method's rule, `Method.fold`; None where what was measured replaces what was there.

        Raises:
            EmpruneError: If a column of the method's own has no new values; nothing is entered then.
        """
        visits, last_visit = self._values["visits"], self._values["last_visit"]
        own = [column.name for column in self.columns[len(BASE_COLUMNS) :]]
        entered = measured
        if own and method_fold is not None:
            last = last_visit.index_select(0, index)
            fresh = last != epoch
            if not bool(fresh.all()):
                index, last = index[fresh], last[fresh]
                measured = {name: values[fresh] for name, values in measured.items()}
            old = {name: self._values[name].index_select(0, index) for name in own}
            entered = method_fold(old, measured, last < 0)
        missing = [name for name in own if name not in entered]
        if missing:
            raise EmpruneError(
                f"The method's `measure`, or its `fold` where it has one, must return every column of its own: got "
                f"{sorted(entered)}, without {missing[0]!r}."
            )
        for name in own:
            self._values[name].index_copy_(0, index, entered[name].to(self._values[name].dtype))
        self._values["loss"].index_copy_(0, index, measured["loss"])
        # One scattered write, into a mask of a byte per sample; the rest in order, which costs less than by index.
        observed = torch.zeros(self.num_samples, dtype=torch.bool).index_fill_(0, index, True)
        np.add(visits.numpy(), (observed & (last_visit != epoch)).numpy(), out=visits.numpy())
        last_visit.masked_fill_(observed, epoch)

    def count_failures(self, epoch: int, index: Tensor, *, forget: bool) -> None:
        """Count visits whose observations were not valid.

        Args:
            epoch: The epoch they were made in.
            index: (M,) int64, each sample at most once.
            forget: Treat samples that were seen before as never seen, so that they are visited first.
        """
        last_visit = self._values["last_visit"]
        last = last_visit.index_select(0, index)
        self._values["visits"].index_add_(0, index, (last != epoch).int())
        was_seen = last.new_full((), _NEVER) if forget else last
        last_visit.index_copy_(0, index, torch.where(last >= 0, was_seen, last - 1))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the columns by name, copied."""
        return {name: values.clone() for name, values in self._values.items()}

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Raise StateError unless `state` has exactly these columns, shapes and dtypes."""
        if set(state) != set(self._values):
            raise StateError(f"The saved columns are {sorted(state)}, this method remembers {sorted(self._values)}.")
        for name, mine in self._values.items():
            saved = state[name]
            if saved.shape != mine.shape or saved.dtype != mine.dtype:
                raise StateError(
                    f"The saved column {name!r} is {tuple(saved.shape)} {saved.dtype}, "
                    f"this run's is {tuple(mine.shape)} {mine.dtype}."
                )

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state that `check_state` accepts."""
        self.check_state(state)
        self._values = {name: state[name].detach().cpu().clone() for name in self._values}


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite: either would be among the extremes, so no mask of all values is made."""
    return len(values) == 0 or all(math.isfinite(end) for end in torch.aminmax(values))
