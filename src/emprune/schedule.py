"""How many samples each epoch visits: fixed before any selection, so that a run's cost is exact."""

import math
from dataclasses import dataclass
from typing import Any

from emprune.checks import as_real, whole_number
from emprune.errors import ConfigError

__all__ = ["Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The cost of a run, epoch by epoch: full warm-up epochs, pruned epochs, a full-data tail.

    The run's budget is `keep` · `num_samples` · `num_epochs` visits. Full epochs take their visits first. The pruned
    epochs divide the rest evenly. An epoch's size is its cumulative target minus the visits before it, rounded to the
    nearest size that a loader can deliver. So rounding is carried forward and never adds up.

    Args:
        num_samples: Samples in the dataset, N >= 1.
        num_epochs: Epochs in the run, E >= 1.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1].
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
    keep: float
    warmup_epochs: int = 0
    tail_epochs: int = 0

    def __post_init__(self) -> None:
        values: dict[str, Any] = {
            "num_samples": whole_number("num_samples", self.num_samples, least=1, meaning="the length of the dataset"),
            "num_epochs": whole_number("num_epochs", self.num_epochs, least=1, meaning="the length of the run"),
            "keep": _checked_keep(self.keep),
            "warmup_epochs": whole_number("warmup_epochs", self.warmup_epochs, least=0),
            "tail_epochs": whole_number("tail_epochs", self.tail_epochs, least=0),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.num_pruned_epochs < 0:
            raise ConfigError(
                f"`warmup_epochs` and `tail_epochs` must be at most num_epochs={self.num_epochs} together; got "
                f"{self.warmup_epochs} and {self.tail_epochs}. Lower one of them."
            )
        if self.keep < 1 and self._pruned_budget(self.num_samples) < self.num_pruned_epochs:
            self._refuse()

    @property
    def num_full_epochs(self) -> int:
        """Epochs of the warm-up and of the tail."""
        return self.warmup_epochs + self.tail_epochs

    @property
    def num_pruned_epochs(self) -> int:
        """Epochs that are neither warm-up nor tail."""
        return self.num_epochs - self.num_full_epochs

    @property
    def budget(self) -> int:
        """Visits of the whole run."""
        return math.floor(self.keep * self.num_samples * self.num_epochs + 0.5)

    def is_full(self, epoch: int) -> bool:
        """Whether an epoch visits all the data: warm-up, tail, and every epoch at `keep=1`."""
        return self.keep == 1.0 or not self.warmup_epochs <= epoch < self.num_epochs - self.tail_epochs

    def num_kept(
        self, epoch: int, *, spent: int, multiple_of: int = 1, world_size: int = 1, drop_last: bool = False
    ) -> int:
        """Return how many samples an epoch visits.

        Args:
            epoch: The epoch, 0-based.
            spent: Visits planned for all epochs before this one.
            multiple_of: The quantum: world size · batch size · accumulation. Pruned epochs are multiples of it. If
                their mean size is smaller, they are multiples of `world_size` alone.
            world_size: World size; every epoch is a multiple of it.
            drop_last: Make the full epochs multiples of `multiple_of` too, so that no batch is ever short.

        Returns:
            The number of samples.

        Raises:
            ConfigError: If the dataset or the budget is smaller than one epoch must be.
        """
        full = self._full_size(multiple_of if drop_last else world_size)
        if self.keep < 1:
            self._check_deliverable(full, multiple_of)
        if self.is_full(epoch):
            return full
        budget = self._pruned_budget(full)
        mean = budget / self.num_pruned_epochs
        grain = multiple_of if mean >= multiple_of or drop_last else world_size
        if mean < grain:
            self._refuse(f" Each must visit at least {grain}. Lower the batch size, or raise `keep`.")
        rank = epoch - self.warmup_epochs + 1
        target = self.warmup_epochs * full + budget * rank // self.num_pruned_epochs
        return _nearest_size(target - spent, grain, full)

    def num_kept_per_epoch(self, *, multiple_of: int = 1, world_size: int = 1, drop_last: bool = False) -> list[int]:
        """Return the size of every epoch of the run, in order; raises the errors of `num_kept`."""
        sizes: list[int] = []
        spent = 0
        for epoch in range(self.num_epochs):
            size = self.num_kept(
                epoch, spent=spent, multiple_of=multiple_of, world_size=world_size, drop_last=drop_last
            )
            sizes.append(size)
            spent += size
        return sizes

    def _full_size(self, grain: int) -> int:
        size = self.num_samples // grain * grain
        if size == 0:
            raise ConfigError(
                f"Every epoch must be a multiple of {grain} samples; the dataset has only {self.num_samples}. Lower "
                "the batch size or the number of ranks, or use drop_last=False."
            )
        return size

    def _check_deliverable(self, full: int, quantum: int) -> None:
        """Raise ConfigError if even full epochs, in the sizes that can be delivered, are below the budget."""
        if self.budget - self.num_epochs * full > quantum:
            most = math.floor(1e4 * full / self.num_samples) / 1e4
            raise ConfigError(
                f"`keep` must be at most {most}; got keep={self.keep}. A full epoch delivers {full} of the "
                f"{self.num_samples} samples here, so that batches and ranks are equal. Lower `keep`, or use "
                "drop_last=False."
            )

    def _pruned_budget(self, full: int) -> int:
        return self.budget - self.num_full_epochs * full

    def _refuse(self, advice: str = "") -> None:
        left = max(0, self._pruned_budget(self.num_samples))
        if not advice and self.num_full_epochs == 0:
            advice = f" Each must visit at least 1. Raise `keep` to 1/{self.num_samples} or more."
        if not advice:
            most = max(0, (self.budget - self.num_epochs) // max(1, self.num_samples - 1))
            advice = f" At this keep at most {most} full epochs fit. Lower `warmup_epochs` or `tail_epochs`."
        raise ConfigError(
            f"The budget must suffice for all epochs; `keep`={self.keep} over {self.num_epochs} epochs of "
            f"{self.num_samples} samples is {self.budget} visits. {self.num_full_epochs} full epochs (warm-up and "
            f"tail) leave {left} of them for {self.num_pruned_epochs} pruned epochs.{advice}"
        )


def _checked_keep(keep: Any) -> float:
    """Return `keep` as a `float`; raise ConfigError unless it is a number in (0, 1]."""
    number = as_real(keep)
    if number is None or not 0 < number <= 1:
        raise ConfigError(
            f"`keep` must be in (0, 1], the mean fraction of the dataset visited per epoch; got {keep=}. "
            "A pruning rate of 70 % is keep=0.3."
        )
    return number


def _nearest_size(target: int, grain: int, full: int) -> int:
    """The deliverable size nearest to `target`: a multiple of `grain`, at least one, or the whole of the data."""
    largest = full // grain * grain
    if 2 * target > largest + full:
        return full
    return min(max((2 * target + grain) // (2 * grain) * grain, grain), largest)
