"""How many samples each epoch visits, fixed before anything is selected, so that a run's cost is exact."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from emprune.errors import ConfigError

__all__ = ["Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The cost of a run, epoch by epoch: full warm-up epochs, pruned epochs, a full-data tail.

    The run's budget is `keep` · `num_samples` · `num_epochs` visits. Full epochs take their share first; the pruned
    epochs divide the rest evenly. An epoch's size is its cumulative target less what was spent before it, rounded to
    the nearest size a loader can deliver, so rounding is carried forward and never adds up.

    Args:
        num_samples: Samples in the dataset, N >= 1.
        num_epochs: Epochs in the run, E >= 1.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1]; None leaves the pruned epochs' sizes to the
            method (only InfoBatch's paper form).
        warmup_epochs: Full epochs at the start.
        tail_epochs: Full epochs at the end.

    Raises:
        ConfigError: If a value is out of range, or the full epochs leave no visits for the pruned ones.

    Example:
        >>> schedule = Schedule(num_samples=1000, num_epochs=4, keep=0.3)
        >>> schedule.num_kept_per_epoch(multiple_of=128)
        [256, 384, 256, 256]
    """

    num_samples: int
    num_epochs: int
    keep: float | None
    warmup_epochs: int = 0
    tail_epochs: int = 0

    def __post_init__(self) -> None:
        _check_count("num_samples", self.num_samples, "the length of the dataset")
        _check_count("num_epochs", self.num_epochs, "the length of the run")
        if self.keep is not None:
            _check_keep(self.keep)
        for name, epochs in (("warmup_epochs", self.warmup_epochs), ("tail_epochs", self.tail_epochs)):
            if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0:
                raise ConfigError(f"`{name}` must be an integer of at least 0: got {name}={epochs!r}.")
        if self.num_pruned_epochs < 0:
            raise ConfigError(
                f"The warm-up ({self.warmup_epochs} epochs) and the tail ({self.tail_epochs} epochs) are longer than "
                f"the run: got num_epochs={self.num_epochs}. Shorten them."
            )
        if self.keep is not None and self.keep < 1 and self._pruned_budget(self.num_samples) < self.num_pruned_epochs:
            self._refuse()

    @classmethod
    def from_fractions(
        cls,
        *,
        num_samples: int,
        num_epochs: int,
        keep: float | None,
        warmup_fraction: float,
        tail_fraction: float | None,
        default_tail_epochs: Callable[..., int],
    ) -> "Schedule":
        """Make a schedule from shares of the run's visits, rounded to full epochs.

        Args:
            num_samples: N.
            num_epochs: E.
            keep: Mean fraction per epoch, or None.
            warmup_fraction: Share of the visits spent on full epochs at the start, in [0, 1).
            tail_fraction: Likewise at the end; None for the method's default.
            default_tail_epochs: ``(num_epochs=, keep=) -> int``, that default.

        Raises:
            ConfigError: If a value is out of range, or the cost cannot be met.
        """
        plain = cls(num_samples=num_samples, num_epochs=num_epochs, keep=keep)
        if keep is None and (warmup_fraction or tail_fraction):
            raise ConfigError(
                "`warmup_fraction` and `tail_fraction` are shares of the run's visits, which are not known with "
                f"keep=None: got {warmup_fraction=}, {tail_fraction=}. Use InfoBatch(delta=...) for the tail."
            )
        if tail_fraction is None:
            tail = default_tail_epochs(num_epochs=num_epochs, keep=keep)
        else:
            tail = plain._full_epochs("tail_fraction", tail_fraction)
        warmup = plain._full_epochs("warmup_fraction", warmup_fraction)
        return replace(plain, warmup_epochs=warmup, tail_epochs=tail)

    @property
    def num_full_epochs(self) -> int:
        """Epochs of the warm-up and of the tail."""
        return self.warmup_epochs + self.tail_epochs

    @property
    def num_pruned_epochs(self) -> int:
        """Epochs that are neither warm-up nor tail."""
        return self.num_epochs - self.num_full_epochs

    @property
    def budget(self) -> int | None:
        """Visits of the whole run, or None where they follow from the losses (`keep=None`)."""
        return None if self.keep is None else math.floor(self.keep * self.num_samples * self.num_epochs + 0.5)

    def is_full(self, epoch: int) -> bool:
        """Whether an epoch visits all the data: warm-up, tail, and every epoch at `keep=1`."""
        return self.keep == 1.0 or not self.warmup_epochs <= epoch < self.num_epochs - self.tail_epochs

    def num_kept(
        self, epoch: int, *, spent: int, multiple_of: int = 1, world_size: int = 1, drop_last: bool = False
    ) -> int | None:
        """Return how many samples an epoch visits.

        Args:
            epoch: The epoch, 0-based.
            spent: Visits planned for all epochs before this one.
            multiple_of: The quantum: world size · batch size · accumulation. Pruned epochs are multiples of it, or of
                `world_size` alone where their mean size is smaller.
            world_size: World size; every epoch whose size is planned is a multiple of it.
            drop_last: Make the full epochs multiples of `multiple_of` too, so that no batch is ever short.

        Returns:
            The number of samples, or None for a pruned epoch under `keep=None`.

        Raises:
            ConfigError: If the dataset or the budget is smaller than what a single epoch must visit.
        """
        full = self._full_size(multiple_of if drop_last else world_size)
        if self.keep is not None and self.keep < 1:
            self._check_deliverable(full, multiple_of)
        if self.is_full(epoch):
            return full
        if self.keep is None:
            return None
        budget = self._pruned_budget(full)
        mean = budget / self.num_pruned_epochs
        grain = multiple_of if mean >= multiple_of or drop_last else world_size
        if mean < grain:
            self._refuse(f" Each must visit at least {grain}; lower the batch size or raise `keep`.")
        rank = epoch - self.warmup_epochs + 1
        target = self.warmup_epochs * full + budget * rank // self.num_pruned_epochs
        return _nearest_size(target - spent, grain, full)

    def num_kept_per_epoch(self, *, multiple_of: int = 1, world_size: int = 1, drop_last: bool = False) -> list[int]:
        """Return the size of every epoch of the run, in order.

        Raises:
            ConfigError: If the sizes are unknown before the run (`keep=None`).
        """
        if self.keep is None:
            raise ConfigError(
                "`keep=None` (InfoBatch's paper form) has no planned cost: it follows from the losses. "
                "Give `keep` a value to have the steps of the run planned."
            )
        sizes: list[int] = []
        spent = 0
        for epoch in range(self.num_epochs):
            size = self.num_kept(
                epoch, spent=spent, multiple_of=multiple_of, world_size=world_size, drop_last=drop_last
            )
            assert size is not None
            sizes.append(size)
            spent += size
        return sizes

    def _full_epochs(self, name: str, fraction: float) -> int:
        """Turn a share of the run's visits into full epochs, rounded to the nearest and never silently to none."""
        if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 <= fraction < 1:
            raise ConfigError(f"`{name}` must be in [0, 1), a share of the run's visits: got {name}={fraction!r}.")
        if fraction == 0 or self.keep is None:
            return 0
        budget = self.keep * self.num_epochs
        epochs = math.floor(fraction * budget + 0.5)
        if epochs == 0:
            raise ConfigError(
                f"`{name}`={fraction} of {budget:.4g} full-data epochs' worth of visits is {fraction * budget:.2g} "
                f"epochs, less than half of one. Use {name}=0, or at least {math.ceil(50 / budget) / 100:.2f}."
            )
        return epochs

    def _full_size(self, grain: int) -> int:
        size = self.num_samples // grain * grain
        if size == 0:
            raise ConfigError(
                f"The dataset has {self.num_samples} samples, fewer than the {grain} that every epoch must be a "
                f"multiple of. Lower the batch size or the number of ranks, or use drop_last=False."
            )
        return size

    def _check_deliverable(self, full: int, quantum: int) -> None:
        """Raise ConfigError where even full epochs, less what makes them unequal, fall short of the budget."""
        assert self.budget is not None
        if self.budget - self.num_epochs * full > quantum:
            most = math.floor(1e4 * full / self.num_samples) / 1e4
            raise ConfigError(
                f"`keep`={self.keep} cannot be met: a full epoch delivers {full} of the {self.num_samples} samples "
                f"here, the rest would make batches or ranks unequal. Use `keep` of at most {most}, or drop_last=False."
            )

    def _pruned_budget(self, full: int) -> int:
        assert self.budget is not None
        return self.budget - self.num_full_epochs * full

    def _refuse(self, advice: str = "") -> None:
        assert self.budget is not None
        left = max(0, self._pruned_budget(self.num_samples))
        if not advice and self.num_full_epochs == 0:
            advice = f" Each must visit at least 1: raise `keep` to 1/{self.num_samples} or more."
        if not advice:
            most = max(0, (self.budget - self.num_epochs) // max(1, self.num_samples - 1))
            advice = f" At this keep at most {most} full epochs fit: lower `warmup_fraction` or `tail_fraction`."
        raise ConfigError(
            f"The budget cannot be met: `keep`={self.keep} over {self.num_epochs} epochs of {self.num_samples} samples "
            f"is {self.budget} visits, and {self.num_full_epochs} full epochs (warm-up and tail) leave {left} for "
            f"{self.num_pruned_epochs} pruned epochs.{advice}"
        )


def _check_keep(keep: float) -> None:
    """Raise ConfigError unless `keep` is a number in (0, 1]."""
    if not isinstance(keep, (int, float)) or isinstance(keep, bool) or not 0 < keep <= 1:
        raise ConfigError(
            f"`keep` must be in (0, 1], the mean fraction of the dataset visited per epoch: got {keep=}. "
            "A pruning rate of 70 % is keep=0.3."
        )


def _nearest_size(target: int, grain: int, full: int) -> int:
    """The deliverable size nearest to `target`: a multiple of `grain`, at least one, or the whole of the data."""
    largest = full // grain * grain
    if 2 * target > largest + full:
        return full
    return min(max((2 * target + grain) // (2 * grain) * grain, grain), largest)


def _check_count(name: str, value: int, meaning: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"`{name}` must be an integer of at least 1, {meaning}: got {name}={value!r}.")
