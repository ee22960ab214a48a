"""How many samples each epoch visits: fixed before any selection, so that a run's cost is exact."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from emprune.checks import as_real, flag, whole_number
from emprune.errors import ConfigError
from emprune.request import Request

__all__ = ["Schedule"]

_LONGEST = 10_000_000
"""Epochs, or steps: more are a slip, and would be counted for minutes."""
_WHETHER = "whether no batch is ever short"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The cost of a run, epoch by epoch: full warm-up epochs, pruned epochs, a full-data tail.

    The run's budget is `keep` · `num_samples` · `num_epochs` visits. Full epochs take their visits first. The pruned
    epochs divide the rest evenly. An epoch's size is its cumulative target minus the visits before it, rounded to the
    nearest size that a loader can deliver. So rounding is carried forward and never adds up.

    With `num_steps` the budget is that many optimizer steps, exactly: the full epochs take theirs, and the pruned
    epochs divide the rest evenly. At `keep=1` the last epoch is as short as it has to be.

    Args:
        num_samples: Samples in the dataset, N >= 1.
        num_epochs: Epochs in the run, E >= 1.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1].
        warmup_epochs: Full epochs at the start.
        tail_epochs: Full epochs at the end.
        num_steps: Optimizer steps of the run; None where `keep` fixes its visits. `for_steps` finds the epochs.

    Raises:
        ConfigError: If a value is out of range, or the full epochs leave no visits for the pruned ones. It names
            arguments that are possible.

    Example:
        >>> schedule = Schedule(num_samples=1000, num_epochs=4, keep=0.3)
        >>> schedule.num_kept_per_epoch(multiple_of=128)
        [256, 384, 256, 256]
        >>> schedule.steps_per_epoch(batch_size=128)
        [2, 3, 2, 2]
    """

    num_samples: int
    num_epochs: int
    keep: float
    warmup_epochs: int = 0
    tail_epochs: int = 0
    num_steps: int | None = None

    def __post_init__(self) -> None:
        for name, value in _checked({field.name: getattr(self, field.name) for field in fields(self)}).items():
            object.__setattr__(self, name, value)
        whole = self._request()
        if self.num_steps is not None:  # how many an epoch has is not known before the batch size is
            whole = replace(whole, num_steps=None, keep=1.0)
        whole.check()

    @classmethod
    def for_steps(
        cls,
        *,
        num_steps: int,
        samples_per_step: int,
        num_samples: int,
        keep: float,
        warmup_epochs: int = 0,
        tail_epochs: int = 0,
        accumulation: int | None = None,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> Self:
        """Return the schedule of a run of so many optimizer steps: about `num_steps` · quantum / (`keep` · N) epochs.

        Args:
            num_steps: Optimizer steps of the run, at least 1.
            samples_per_step: The quantum, world size · batch size · accumulation.
            num_samples: N.
            keep: Mean fraction of the dataset visited per epoch, in (0, 1], at least a quantum.
            warmup_epochs: Full epochs at the start.
            tail_epochs: Full epochs at the end.
            accumulation: Batches per step, for errors that name `batch_size`; None for those that name the quantum.
            world_size: World size.
            drop_last: Whether full epochs are multiples of the quantum too.

        Raises:
            ConfigError: If the steps cannot be met. It names arguments that are possible.

        Example:
            >>> schedule = Schedule.for_steps(num_steps=100, samples_per_step=128, num_samples=10_000, keep=0.3)
            >>> schedule.num_epochs, sum(schedule.steps_per_epoch(batch_size=128))
            (4, 100)
        """
        settings: dict[str, Any] = {
            "num_samples": num_samples,
            "keep": keep,
            "warmup_epochs": warmup_epochs,
            "tail_epochs": tail_epochs,
            "num_steps": whole_number("num_steps", num_steps, least=1),
        }
        request = Request(
            **_checked(settings),
            num_epochs=None,
            multiple_of=whole_number("samples_per_step", samples_per_step, least=1),
            step_name="samples_per_step",
            accumulation=accumulation,
            world_size=world_size,
            drop_last=flag("drop_last", drop_last, meaning=_WHETHER),
        )
        request.check()
        return cls(**settings, num_epochs=request.epochs)

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
        """Visits of the whole run by `keep`; of one with `num_steps` about those."""
        return self._request().budget

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
            ConfigError: If the dataset or the budget is smaller than what a single epoch must visit. It names
                arguments that are possible.
        """
        request = self._request(multiple_of=multiple_of, world_size=world_size, drop_last=drop_last)
        request.check()
        return self._size(request, epoch, spent)

    def progress(
        self, epoch: int, *, visits: int, multiple_of: int = 1, world_size: int = 1, drop_last: bool = False
    ) -> float:
        """Return the share of the run that is made once an epoch is over: of its visits, or of its `num_steps`.

        Args:
            epoch: The epoch, 0-based.
            visits: Visits planned for this epoch and all before.
            multiple_of: As `num_kept` takes it.
            world_size: World size.
            drop_last: As `num_kept` takes it.

        Returns:
            The share, in (0, 1].
        """
        if self.num_steps is None:
            return min(1.0, visits / self.budget)
        request = self._request(multiple_of=multiple_of, world_size=world_size, drop_last=drop_last)
        return self._steps_through(request, epoch) / self.num_steps

    def num_kept_per_epoch(
        self,
        *,
        multiple_of: int = 1,
        world_size: int = 1,
        drop_last: bool = False,
        step_name: str = "multiple_of",
    ) -> list[int]:
        """Return the size of every epoch of the run, in order; raises what `num_kept` does.

        Args:
            multiple_of: As `num_kept` takes it.
            world_size: World size.
            drop_last: As `num_kept` takes it.
            step_name: What errors call the quantum; the caller's own name of it.
        """
        request = self._request(
            multiple_of=multiple_of, world_size=world_size, drop_last=drop_last, step_name=step_name
        )
        return self._sizes(request)

    def steps_per_epoch(
        self, *, batch_size: int, accumulation: int = 1, world_size: int = 1, drop_last: bool = False
    ) -> list[int]:
        """Return the optimizer steps of every epoch of the run, in order; their sum is the run's.

        Args:
            batch_size: Samples per batch and rank.
            accumulation: Batches per step.
            world_size: World size.
            drop_last: Whether no batch is ever short.

        Raises:
            ConfigError: If the run is not possible with these batches. It names arguments that are.
        """
        quantum = batch_size * accumulation * world_size
        request = self._request(
            multiple_of=quantum, accumulation=accumulation, world_size=world_size, drop_last=drop_last
        )
        return [-(-size // quantum) for size in self._sizes(request)]

    def _request(self, *, drop_last: bool = False, **batches: Any) -> Request:
        batches["drop_last"] = flag("drop_last", drop_last, meaning=_WHETHER)
        return Request(**{field.name: getattr(self, field.name) for field in fields(self)}, **batches)

    def _sizes(self, request: Request) -> list[int]:
        request.check()
        sizes: list[int] = []
        spent = 0
        for epoch in range(self.num_epochs):
            sizes.append(self._size(request, epoch, spent))
            spent += sizes[-1]
        return sizes

    def _size(self, request: Request, epoch: int, spent: int) -> int:
        if self.num_steps is not None:
            steps = self._steps_through(request, epoch) - self._steps_through(request, epoch - 1)
            return min(steps * request.multiple_of, request.full)
        if self.is_full(epoch):
            return request.full
        done = epoch - self.warmup_epochs + 1
        target = self.warmup_epochs * request.full + request.pruned_budget * done // self.num_pruned_epochs
        return _nearest_size(target - spent, request.grain, request.full)

    def _steps_through(self, request: Request, epoch: int) -> int:
        """The steps that are made once an epoch is over, in a run that counts them."""
        assert self.num_steps is not None
        done = epoch + 1
        if self.keep == 1:
            return min(done * request.full_steps, self.num_steps)
        pruned = min(max(done - self.warmup_epochs, 0), self.num_pruned_epochs)
        return (done - pruned) * request.full_steps + request.pruned_steps * pruned // max(1, self.num_pruned_epochs)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a schedule's settings as Python's own numbers; raise ConfigError where one is out of range."""
    meanings = {"num_samples": "the length of the dataset", "num_epochs": "the length of the run"}
    checked: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "keep":
            checked[name] = _checked_keep(value)
        elif name == "num_steps" and value is None:
            checked[name] = None
        else:
            least = 0 if name in ("warmup_epochs", "tail_epochs") else 1
            checked[name] = whole_number(name, value, least=least, meaning=meanings.get(name, ""))
            if name in ("num_epochs", "num_steps") and checked[name] > _LONGEST:
                raise ConfigError(
                    f"`{name}` must be at most {_LONGEST:,}, each is planned; got {value!r}. Use {_LONGEST}.",
                    parameter=name,
                    value=value,
                    suggestion={name: _LONGEST},
                )
    return checked


def _checked_keep(keep: Any) -> float:
    """Return `keep` as a `float`; raise ConfigError unless it is a number in (0, 1]."""
    number = as_real(keep)
    if number is None or not 0 < number <= 1:
        raise ConfigError(
            f"`keep` must be a number in (0, 1], the mean fraction of the dataset visited per epoch; got {keep=}. "
            "A pruning rate of 70 % is keep=0.3."
        )
    return number


def _nearest_size(target: int, grain: int, full: int) -> int:
    """The deliverable size nearest to `target`: a multiple of `grain`, at least one, or the whole of the data."""
    largest = full // grain * grain
    if 2 * target > largest + full:
        return full
    return min(max((2 * target + grain) // (2 * grain) * grain, grain), largest)
