"""What is remembered per sample between epochs: (N,) columns, and how a set of observations enters them."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from emprune.columns import BASE_COLUMNS, BEFORE, MOST_FAILURES, NEVER, Column
from emprune.errors import ConfigError, MethodError, StateError
from emprune.indexing import are_all, mask_of, taken

__all__ = ["Fold", "SampleStats", "all_finite", "is_plain"]

Fold = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor], Mapping[str, Tensor]]


class SampleStats:
    """The (N,) columns of a run, on the CPU.

    Every method has `visits`, `last_visit`, `failures` and `loss`; its own columns come on top. They hold what was
    folded in. `DataPruner` folds when it plans an epoch, when it is saved, and in `sync`.

    Args:
        num_samples: N.
        columns: The method's own columns.
        recorded: Further columns, which enter by `enter`.

    Raises:
        ConfigError: If two columns share a name.

    Example:
        >>> stats = SampleStats(3, ())
        >>> stats["visits"]
        tensor([0, 0, 0], dtype=torch.int32)
    """

    def __init__(self, num_samples: int, columns: Sequence[Column], recorded: Sequence[Column] = ()) -> None:
        self.columns, self._num_recorded = (*BASE_COLUMNS, *columns, *recorded), len(recorded)
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ConfigError(f"Column names must be unique and differ from the built-in ones; got {names}.")
        self.num_samples = num_samples
        self._values = {c.name: torch.full((num_samples,), c.initial, dtype=c.dtype) for c in self.columns}

    def __getitem__(self, name: str) -> Tensor:
        """Return a column, (N,); read it, do not write to it."""
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(f"No column {name!r}; there are {self._names}.") from None

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)

    def __repr__(self) -> str:
        return f"SampleStats({self.num_samples} samples, columns: {self._names})"

    @property
    def _names(self) -> str:
        return ", ".join(column.name for column in self.columns)

    def take(self, positions: Tensor) -> "SampleStats":
        """Return the columns of some samples, to read; each is gathered when it is first asked for.

        Args:
            positions: (n,) int64, in the order that the columns are to have.
        """
        other = copy.copy(self)
        other.num_samples, other._values = len(positions), _Taken(self._values, positions)
        return other

    @property
    def by_name(self) -> Mapping[str, Tensor]:
        """The columns by name, (N,) each; read them, do not write to them."""
        return self._values

    @property
    def seen(self) -> Tensor:
        """(N,) bool: samples with at least one valid observation."""
        return self["last_visit"] != NEVER

    @property
    def given_up(self) -> Tensor:
        """(N,) bool: samples that are not seen although they were tried twice: no finite loss, or left out."""
        return (self["last_visit"] == NEVER) & (self["failures"] >= 2)

    @property
    def loss_and_own(self) -> tuple[Column, ...]:
        """The loss and the method's own columns: what is known of a sample, and not how often it was visited."""
        return self.columns[len(BASE_COLUMNS) - 1 : len(self.columns) - self._num_recorded]

    @property
    def bytes_per_sample(self) -> int:
        """What the columns cost in memory."""
        return sum(column.dtype.itemsize for column in self.columns)

    def fold(
        self,
        epoch: int,
        index: Tensor,
        measured: Mapping[str, Tensor],
        method_fold: Fold | None,
        *,
        counted: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> None:
        """Enter valid observations of an epoch.

        A sample that was entered in the same epoch before is overwritten. It keeps what it has where `method_fold`
        makes new values of old ones: that would count the epoch twice.

        Args:
            epoch: The epoch they were made in.
            index: (M,) int64, each sample at most once.
            measured: (M,) for "loss" and each quantity the method measures.
            method_fold: The method's rule, `Method.fold`; None where what was measured replaces what was there.
            counted: (M',) int64, samples with a failed observation that counted as this epoch's visit.
            observed: (N,) bool, True at `index`, where there is such a mask already.

        Raises:
            MethodError: If a column of the method's own has no new values; nothing is entered then.
        """
        visits, last_visit = self._values["visits"], self._values["last_visit"]
        own = [column.name for column in self.loss_and_own[1:]]
        entered = measured
        if own and method_fold is not None:
            last = taken(last_visit, index)
            fresh = last != epoch
            if not are_all(fresh):
                index, last, observed = index[fresh], last[fresh], None
                measured = {name: values[fresh] for name, values in measured.items()}
            old = {name: taken(self._values[name], index) for name in own}
            entered = method_fold(old, measured, last == NEVER)
        missing = [name for name in own if name not in entered]
        if missing:
            raise MethodError(
                f"The method's `measure`, or its `fold` where it has one, must return every column of its own; got "
                f"{sorted(entered)}, without {missing[0]!r}."
            )
        self.enter(index, {**{name: entered[name] for name in own}, "loss": measured["loss"]})
        # At most one scattered write, into a mask of a byte per sample; the rest in order, which costs less than by
        # index. Arithmetic with a random mask costs a fraction of what filling by it does.
        at = (mask_of(index, self.num_samples) if observed is None else observed).numpy()
        new = at & (last_visit.numpy() != epoch)
        if counted is not None:
            new[counted.numpy()] = False
        np.add(visits.numpy(), new, out=visits.numpy())
        now = np.multiply(at, np.int32(epoch - BEFORE), dtype=np.int32)
        now += BEFORE  # the epoch where observed, else the least that there is
        np.maximum(last_visit.numpy(), now, out=last_visit.numpy())
        failures = self._values["failures"].numpy()
        np.multiply(failures, ~at, out=failures)

    def enter(self, index: Tensor, values: Mapping[str, Tensor]) -> None:
        """Write (M,) values of some columns, for (M,) samples that are there once each."""
        for name, new in values.items():
            self._values[name].numpy()[index.numpy()] = new.to(self._values[name].dtype).numpy()

    def count_failures(self, epoch: int, index: Tensor) -> None:
        """Count visits without a finite observation.

        Args:
            epoch: The epoch they were made in.
            index: (M,) int64, each sample once, none of them counted in this epoch before.
        """
        last_visit, failures = self._values["last_visit"], self._values["failures"]
        self._values["visits"].index_add_(0, index, (last_visit.index_select(0, index) != epoch).int())
        more = failures.index_select(0, index).clamp_(max=MOST_FAILURES - 1) + 1
        failures.index_copy_(0, index, more)

    def forget(self, index: Tensor) -> None:
        """Treat samples as never seen, so that they are visited first."""
        self._values["last_visit"].index_fill_(0, index, NEVER)

    def start_from(self, values: Mapping[str, Tensor], seen: Tensor) -> None:
        """Enter what an earlier run knew; samples are then seen, and none is visited.

        Args:
            values: (N,) of the loss and each of the method's own columns, in the columns' dtypes.
            seen: (N,) bool, the samples that the earlier run observed; the loss of the others is NaN.
        """
        self._values.update(values)
        self._values["last_visit"].masked_fill_(seen, BEFORE)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the columns by name, copied."""
        return {name: values.clone() for name, values in self._values.items()}

    def check_state(self, state: Mapping[str, Tensor], *, epoch: int) -> None:
        """Raise StateError unless these are the columns of such a run in an epoch.

        Args:
            state: Columns by name.
            epoch: The run's current epoch, -1 before the first.
        """
        if not isinstance(state, Mapping) or set(state) != set(self._values):
            found = str(sorted(map(str, state))) if isinstance(state, Mapping) else type(state).__name__
            raise StateError(f"The saved columns must be {sorted(self._values)}; got {found}. Resume with this method.")
        for name, mine in self._values.items():
            saved = state[name]
            if not is_plain(saved) or saved.shape != mine.shape or saved.dtype != mine.dtype:
                found = f"{tuple(saved.shape)} {saved.dtype}" if isinstance(saved, Tensor) else type(saved).__name__
                raise StateError(f"The saved column {name!r} must be {tuple(mine.shape)} {mine.dtype}; got {found}.")
        limits = {"visits": (0, epoch + 1), "last_visit": (BEFORE, epoch), "failures": (0, MOST_FAILURES)}
        for name, (lowest, highest) in limits.items():
            least, most = (int(end) for end in torch.aminmax(state[name]))
            if not lowest <= least <= most <= highest:
                raise StateError(
                    f"The saved column {name!r} must be in [{lowest}, {highest}] in epoch {epoch}; got {least} to "
                    f"{most}."
                )
        seen = state["last_visit"] != NEVER
        if not bool(state["loss"].isfinite().logical_or_(~seen).all()):
            raise StateError("The saved column 'loss' must be finite for every seen sample; got NaN or infinity.")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over columns that `check_state` accepts."""
        self._values = {name: state[name].detach().cpu().clone() for name in self._values}

    def holding(self, state: Mapping[str, Tensor]) -> "SampleStats":
        """Return other stats with columns that `check_state` accepts, not copied where they are on the CPU."""
        other = copy.copy(self)
        other._values = {name: state[name].detach().cpu() for name in self._values}
        return other


class _Taken(dict[str, Tensor]):
    """Some samples' columns, gathered when they are first read."""

    def __init__(self, columns: Mapping[str, Tensor], positions: Tensor) -> None:
        super().__init__()
        self._columns, self._positions = columns, positions

    def __missing__(self, name: str) -> Tensor:
        self[name] = taken(self._columns[name], self._positions)
        return self[name]


def is_plain(value: object) -> bool:
    """Whether a value is a dense tensor that holds data, and not sparse, meta or a DTensor."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_meta
        and not hasattr(value, "full_tensor")
    )


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite: either would be among the extremes, so no mask of all values is made."""
    return len(values) == 0 or all(math.isfinite(end) for end in torch.aminmax(values))
