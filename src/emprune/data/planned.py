"""What every loader does the same way: make or take a pruner, follow its plan, keep one state."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from emprune.data.cursor import Cursor
from emprune.data.delivery import Deal, Delivery, saved_nothing
from emprune.data.ending import fold_last, fold_pending
from emprune.data.indexed import Delivered
from emprune.data.passes import Pass
from emprune.data.saved import check_state
from emprune.data.shard import Shard
from emprune.engine.room import check_run
from emprune.engine.state import FORMAT_VERSION
from emprune.errors import ConfigError, EpochError
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner

__all__ = ["PlannedLoader"]


class PlannedLoader(ABC):
    """Delivers this rank's shard of the pruner's plan in batches, each with its index.

    Args:
        pruner: The pruner, for a dataset of this length.
        batch_size: Samples per batch and rank.
        accumulation: Batches per optimizer step.
        drop_last: No batch is ever short: full epochs, too, are multiples of the quantum.

    Raises:
        ConfigError: If a value is out of range, or the cost cannot be met.

    Attributes:
        pruner: The `DataPruner` inside.
        batch_size: Samples per batch and rank.
        accumulation: Batches per optimizer step.
        drop_last: Whether no batch is ever short.
    """

    _in_order = True
    """Whether `_deliver` yields its batches in the order of what it is given."""

    _fixed = frozenset({"pruner", "batch_size", "accumulation", "drop_last"})
    """Attributes that the plan or the batches depend on: set afterwards, they would say what is not so."""

    def __init__(self, pruner: DataPruner, *, batch_size: int, accumulation: int, drop_last: bool) -> None:
        self.pruner = pruner
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.drop_last = drop_last
        self._delivery: Delivery | None = None
        batches: dict[str, Any] = {"batch_size": batch_size, "accumulation": accumulation, "drop_last": drop_last}
        batches["world_size"] = pruner.world_size
        self._steps = pruner.schedule.steps_per_epoch(**batches)  # refuses now what it would refuse in mid-run
        check_run(pruner.plan_options, pruner.schedule, **batches)  # and so does this

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed and hasattr(self, name):
            raise ConfigError(
                f"`{name}` must stay what it was when the {type(self).__name__} was made; got {name}={value!r:.50}. "
                "Make another loader."
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.pruner!r}, batch_size={self.batch_size}, accumulation={self.accumulation}, "
            f"drop_last={self.drop_last})"
        )

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run, for a learning-rate schedule."""
        return sum(self._steps)

    @property
    def steps_left(self) -> int:
        """Optimizer steps of the run that are still to come."""
        if self._standing is None or self._standing.is_complete:
            return sum(self._steps[self.start_epoch if self._standing is None else self.pruner.epoch + 1 :])
        return sum(self._steps[self.pruner.epoch :]) - self._batches_done // self.accumulation

    @property
    def ends_step(self) -> bool:
        """Whether an optimizer step ends with the batch that was handed out last: see `accumulation`.

        The last step of a full epoch may have fewer batches. It counts on after a load, too.
        """
        if self._delivery is None or not self._batches_done:
            return False
        return self._delivery.is_complete or self._batches_done % self.accumulation == 0

    @property
    def num_delivered(self) -> int:
        """Samples that this rank was handed in the current epoch: divide by it, not by ``len(dataset)``."""
        return 0 if self._delivery is None else self._delivery.num_delivered

    @property
    def start_epoch(self) -> int:
        """The epoch to go on with: 0 in a new run; after a load the saved epoch, or the next if that was over.

        Of a pruner that was loaded alone, an epoch is over where all of it was observed or left out.
        """
        ended = self.pruner.is_observed if self._standing is None else self._standing.ended
        return max(0, self.pruner.epoch + ended)

    def epochs(self) -> Iterator[int]:
        """Plan each epoch of the run and yield its number, counted from 0; after a load, go on where the run was.

        Called again after a loop that was broken off, it goes on there too, with the rest of that epoch. After the last
        one it folds what that epoch observed: on several ranks every one must get there.

        Raises:
            EpochError: If this run is over. After a load of a finished run there is nothing to yield, and no error.

        Example:
            >>> import emprune, torch
            >>> arrays = (torch.arange(8),)
            >>> loader = emprune.ArrayLoader(arrays, "random", batch_size=2, num_epochs=3, keep=0.5)
            >>> [(epoch, len(loader)) for epoch in loader.epochs()]
            [(0, 2), (1, 2), (2, 2)]
        """
        standing, start = self._standing, self.start_epoch
        if standing is not None and start == self.pruner.num_epochs and not standing.was_over:
            raise EpochError(
                f"An epoch must be left; got epochs() after epoch {self.pruner.epoch}, and the run is over. A new run "
                "takes a new loader."
            )
        if standing is not None:
            standing.go_on()
        for epoch in range(start, self.pruner.num_epochs):
            self.set_epoch(epoch)
            yield epoch
        fold_last(self.pruner)

    def batches(self) -> Iterator[tuple[Tensor, Any]]:
        """Yield ``(index, batch)`` to the run's end, over all epochs; after a load or a break, go on where the run was.

        For loops that count steps. `ends_step` says where an optimizer step ends; `steps_left` counts down.
        """
        for _ in self.epochs():
            yield from self

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch: the next one, or the current one again. `epochs()` does it by itself.

        Raises:
            EpochError: If it is neither, or it was over when the state was saved. Or if a method that scores saw no
                observation in the last epoch.
            ConfigError: If the dataset's length changed.
            StateError: If the current epoch was planned for another number of ranks, and these cannot have equally
                many batches of it.
        """
        self._check_length(self._dataset_length())
        if self._delivery is not None and self._delivery.was_over and epoch == self.pruner.epoch:
            raise EpochError(
                f"Epoch {epoch} was over when this state was saved; got set_epoch({epoch}) again. Go on with epoch "
                f"{epoch + 1}: write `for epoch in loader.epochs()`, or `range(loader.start_epoch, ...)`."
            )
        plan = self.pruner.begin_epoch(epoch, multiple_of=self._planning["multiple_of"], drop_last=self.drop_last)
        if self._delivery is None or plan is not self._delivery.plan:
            self._delivery = Delivery(plan, self._deal)

    def reduce(
        self, index: Tensor, losses: Tensor, outputs: Any = None, *, score_losses: Tensor | None = None
    ) -> Tensor:
        """Observe a batch and return its loss to call `backward` on: see `DataPruner.reduce`."""
        return self.pruner.reduce(index, losses, outputs, score_losses=score_losses)

    def observe_validation(self, loss: float | Tensor, *, train_loss: float | Tensor) -> None:
        """Hand over the epoch's validation loss and its training loss: see `DataPruner.observe_validation`."""
        self.pruner.observe_validation(loss, train_loss=train_loss)

    def sync(self) -> None:
        """Fold pending observations, as `DataPruner.sync`; of the run's last epoch, a NaN is a warning and no error."""
        fold_pending(self.pruner)

    def peek(self) -> tuple[Tensor, Any]:
        """Return the batch that a new pass begins with; nothing is counted, and no random state moves.

        Raises:
            EpochError: If no epoch has begun, or nothing of it is left.
        """
        cursor = self._begun.new_pass()
        if not len(cursor.rest):
            raise EpochError(f"Nothing is left of epoch {self.pruner.epoch}: call loader.set_epoch(epoch + 1) first.")
        size = min(self.batch_size, len(cursor.rest) - cursor.last) or cursor.last
        delivered = self._fetch(cursor.rest[:size])
        return delivered.index, delivered.batch

    @property
    def rest(self) -> Tensor:
        """(K,) int64: the samples that a new pass delivers on this rank, in order."""
        return self._begun.new_pass().rest

    def __len__(self) -> int:
        """Batches of the current epoch on this rank; before the first, epoch 0's."""
        if self.pruner.epoch >= 0:
            return self._num_batches(len(self.pruner.plan))
        return self._num_batches(self.pruner.schedule.num_kept(0, spent=0, **self._planning))

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        return Pass(self.pruner, self._begun, self._deliver, in_order=self._in_order)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole run's state: the pruner's, and how far this rank is in the epoch.

        A batch counts as delivered once it was handed out. On several ranks call `sync()` on each of them first. All
        ranks that have delivered equally many batches have the same state. It may be loaded on another number of ranks,
        unless batches came out of order (`in_order=False`, or an exception in a worker).
        """
        nothing = saved_nothing(self.pruner.world_size)
        return {
            "format_version": FORMAT_VERSION,
            "pruner": self.pruner.state_dict(),
            "delivery": nothing if self._delivery is None else self._delivery.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state: the next pass starts at the first batch that was not delivered.

        Let nothing else skip batches.

        Raises:
            StateError: If it is no state of such a run or is inconsistent, or these ranks cannot divide the rest of
                the epoch. Nothing is loaded then.
        """
        check_state(state)
        saved = self.pruner.read_state(state["pruner"])
        delivery = Delivery.loaded(state["delivery"], saved.plan, self._deal, world_size=self.pruner.world_size)
        self.pruner.restore(saved)
        self._delivery = delivery

    @property
    def _planning(self) -> dict[str, Any]:
        world_size = self.pruner.world_size
        quantum = world_size * self.batch_size * self.accumulation
        return {"multiple_of": quantum, "world_size": world_size, "drop_last": self.drop_last}

    @property
    def _standing(self) -> Delivery | None:
        """The delivery of the pruner's current plan; None where this loader has not begun it."""
        is_current = self._delivery is not None and self.pruner.epoch >= 0 and self._delivery.plan is self.pruner.plan
        return self._delivery if is_current else None

    @property
    def _begun(self) -> Delivery:
        if self._standing is None:
            here = "no epoch" if self._delivery is None else f"epoch {self._delivery.plan.epoch}"
            raise EpochError(
                f"An epoch must have begun in the loader and in its pruner; got {here} in the loader "
                f"and epoch {self.pruner.epoch} in the pruner. Write `for epoch in loader.epochs()`, or call "
                "loader.set_epoch(epoch)."
            )
        return self._standing

    @property
    def _deal(self) -> Deal:
        # Without a reference to the loader: a cycle would keep its workers until the garbage is collected.
        return partial(_dealt, **self._dealing)

    @property
    def _batches_done(self) -> int:
        return -(-self.num_delivered // self.batch_size)

    @property
    def _dealing(self) -> dict[str, Any]:
        """How a plan is dealt to ranks, for `Shard.dealt`."""
        return {"rank": self.pruner.rank, "world_size": self.pruner.world_size, "batch_size": self.batch_size}

    def _num_batches(self, size: int) -> int:
        return -(-size // (self.pruner.world_size * self.batch_size))

    def _check_length(self, num_samples: int) -> None:
        if num_samples != self.pruner.num_samples:
            raise ConfigError(
                f"The dataset must have the {self.pruner.num_samples} samples that the pruner was made for; got "
                f"{num_samples}. Use num_samples=len(dataset); a dataset must not change its length during a run."
            )

    @abstractmethod
    def _dataset_length(self) -> int:
        """Return how many samples there are now."""

    @abstractmethod
    def _deliver(self, cursor: Cursor) -> Iterator[Delivered]:
        """Return an iterator over the batches from a cursor on."""

    @abstractmethod
    def _fetch(self, index: Tensor) -> Delivered:
        """Return a batch of these samples, outside of any pass."""


def _dealt(plan: EpochPlan, **options: int) -> Shard:
    return Shard.dealt(plan.index, **options)
