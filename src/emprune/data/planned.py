"""What every loader does the same way: follow the plan, count batches, keep its place."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from emprune.checks import whole_number
from emprune.data.place import Place
from emprune.data.share import Share
from emprune.errors import ConfigError, EpochError, StateError
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner

__all__ = ["PlannedLoader"]

_STATE = {"epoch", "plan", "num_delivered", "ahead", "world_size"}
_ADVICE = (
    "Is the loader iterated twice at the same time (persistent workers serve one iteration at a time), or do both "
    "emprune and a framework skip batches on resuming?"
)
_NOWHERE = Place(Share(index=torch.empty(0, dtype=torch.int64), num_left=0))


class PlannedLoader(ABC):
    """Delivers this rank's share of the pruner's plan in batches, each with its index.

    Every `for` over it delivers the whole epoch; only after `load_state_dict` does it start at the saved place, until
    one `for` has run to the end. Looking at a batch with ``next(iter(loader))`` changes nothing.

    Args:
        pruner: The pruner, which must be for a dataset of this length.
        num_samples: The dataset's length.
        batch_size: Samples per batch and rank.
        accumulation: Batches per optimizer step.
        drop_last: No batch is ever short: full epochs, too, are multiples of the quantum.

    Raises:
        ConfigError: If a value is out of range, or the dataset is not the pruner's.
    """

    _in_order = True
    """Whether `_deliver` yields its batches in the order of what it is given."""
    _resumes_itself = False
    """Whether what `_deliver` returns may start later, because a framework resumed it."""

    def __init__(
        self, pruner: DataPruner, *, num_samples: int, batch_size: int, accumulation: int, drop_last: bool
    ) -> None:
        self.pruner = pruner
        self.batch_size = whole_number("batch_size", batch_size, least=1)
        self.accumulation = whole_number("accumulation", accumulation, least=1)
        self.drop_last = drop_last
        self._plan: EpochPlan | None = None
        self._place = _NOWHERE
        self._resumed: Place | None = None
        self._may_skip = False
        self._check_length(num_samples)
        self._sizing: dict[str, Any] = {
            "multiple_of": pruner.world_size * self.batch_size * self.accumulation,
            "world_size": pruner.world_size,
            "drop_last": drop_last,
        }
        pruner.schedule.num_kept_per_epoch(**self._sizing)  # refuses now what it would refuse in mid-run

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run, for a learning-rate schedule."""
        sizes = self.pruner.schedule.num_kept_per_epoch(**self._sizing)
        return sum(-(-self._num_batches(size) // self.accumulation) for size in sizes)

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch: the next one, or the current one again.

        Raises:
            EpochError: If it is neither, or a method that scores saw no observation in the last epoch.
            ConfigError: If the dataset's length changed.
            StateError: If the current epoch was planned for another number of ranks, and these cannot have equally
                many batches of it.
        """
        self._check_length(self._dataset_length())
        was_planned = epoch == self.pruner.epoch
        plan = self.pruner.begin_epoch(epoch, multiple_of=self._sizing["multiple_of"], drop_last=self.drop_last)
        if plan is not self._plan:
            self._place = Place(self._share(plan))
            self._plan, self._resumed = plan, None
            self._may_skip = self._resumes_itself and was_planned  # nothing of a new plan was delivered elsewhere

    def __len__(self) -> int:
        """Batches of the current epoch on this rank; before the first `set_epoch`, epoch 0's."""
        if self.pruner.epoch >= 0:
            return self._num_batches(len(self.pruner.plan))
        return self._num_batches(self.pruner.schedule.num_kept(0, spent=0, **self._sizing))

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        if self._plan is None or self._plan is not self.pruner.plan:
            here = "no epoch yet" if self._plan is None else f"epoch {self._plan.epoch}"
            raise EpochError(
                f"Call loader.set_epoch(epoch) before iterating: got {here} here and epoch {self.pruner.epoch} in the "
                "pruner, or another plan for it."
            )
        return _Pass(self, self._plan, self._start(self._plan))

    def state_dict(self) -> dict[str, Any]:
        """Return the place within the epoch, as plain values.

        A batch counts as delivered once it was handed out, but for a peek: an iterator that was dropped after a single
        batch, none of which was observed.

        Returns:
            "epoch"; "plan", its fingerprint; "num_delivered", how many of the plan's samples were delivered without a
            gap, on all ranks together; "ahead", the dataset positions that were delivered beyond that on this rank
            (`in_order=False`, or a batch lost to an exception); "world_size". Without "ahead" it is the same on all
            ranks that have handed out equally many batches, and may be loaded on another number of ranks.
        """
        num_delivered, ahead = self._place.saved()
        return {
            "epoch": -1 if self._plan is None else self._plan.epoch,
            "plan": None if self._plan is None else self._plan.fingerprint,
            "num_delivered": num_delivered,
            "ahead": ahead,
            "world_size": self.pruner.world_size,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved place: the next `for` in that epoch starts there.

        Load the pruner's state first, and let nothing else skip batches.

        Raises:
            StateError: If it is not a loader's state, its place is not in the pruner's current plan, or what is left
                of it cannot be divided among these ranks.
        """
        if not isinstance(state, Mapping) or set(state) != _STATE:
            found = f"the keys {sorted(map(str, state))}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
            raise StateError(f"This is not a loader's state: got {found}. Pass what loader.state_dict() returned.")
        if state["epoch"] != self.pruner.epoch:
            raise StateError(
                f"The loader's place is in epoch {state['epoch']}, the pruner is in epoch {self.pruner.epoch}. "
                "Load the pruner's state first, and the two that were saved together."
            )
        if state["epoch"] < 0:
            self._plan, self._resumed, self._place = None, None, _NOWHERE
            return
        plan = self.pruner.plan
        if state["plan"] != plan.fingerprint:
            raise StateError(
                f"The loader's place is in another plan of epoch {plan.epoch} than the pruner's. "
                "Load the pruner's state first, and the two that were saved together."
            )
        num_delivered, world_size = state["num_delivered"], self.pruner.world_size
        if not 0 <= num_delivered <= len(plan):
            raise StateError(
                f"The loader's place, {num_delivered} samples, is not in this epoch's plan of {len(plan)} samples."
            )
        if state["ahead"] and state["world_size"] != world_size:
            raise StateError(
                f"The loader's place was saved on {state['world_size']} rank(s) with batches delivered out of turn: "
                f"got {world_size} rank(s) here. Finish the epoch on as many as before, each with its own place."
            )
        share = self._share(plan, num_before=num_delivered)
        strange = set(state["ahead"]) - set(share.index.tolist()) if state["ahead"] else ()
        if strange:
            raise StateError(
                f"The loader's place holds sample {min(strange)}, which is not in this epoch's plan for this rank. "
                "A place is loaded by the rank that saved it."
            )
        self._resumed = self._place = Place.resumed(share, state["ahead"])
        self._plan = plan

    def _start(self, plan: EpochPlan) -> Place:
        """Where the next pass over the current plan starts."""
        if self._resumed is None:
            return Place(self._share(plan))
        return Place(self._resumed.share, self._resumed.rest)

    def _share(self, plan: EpochPlan, *, num_before: int = 0) -> Share:
        return Share.dealt(
            plan.index,
            rank=self.pruner.rank,
            world_size=self.pruner.world_size,
            batch_size=self.batch_size,
            num_before=num_before,
        )

    def _num_batches(self, size: int) -> int:
        return -(-size // (self.pruner.world_size * self.batch_size))

    def _check_length(self, num_samples: int) -> None:
        if num_samples != self.pruner.num_samples:
            raise ConfigError(
                f"The dataset has {num_samples} samples, the pruner was made for "
                f"num_samples={self.pruner.num_samples}. Use num_samples=len(dataset); a dataset must not change its "
                "length during a run."
            )

    @abstractmethod
    def _dataset_length(self) -> int:
        """Return how many samples there are now."""

    @abstractmethod
    def _deliver(self, place: Place) -> Iterator[tuple[Tensor, Any]]:
        """Return an iterator over the batches of what is to be delivered from a place on, each with its index."""


class _Pass(Iterator[tuple[Tensor, Any]]):
    """One pass over the epoch: hands out the batches, sees that they follow the plan, keeps the loader's place.

    Like a DataLoader's iterator it can go on after an exception; the batch that was lost stays undelivered. Delivery
    begins with the first batch: frameworks make iterators that they never use, and workers cost time.
    """

    def __init__(self, loader: PlannedLoader, plan: EpochPlan, place: Place) -> None:
        self._loader, self._plan, self._place = loader, plan, place
        self._num_batches = 0
        self._failed = self._ended = False
        self._batches: Iterator[tuple[Tensor, Any]] | None = None

    def __next__(self) -> tuple[Tensor, Any]:
        if self._batches is None:
            self._check_current()
            self._batches = self._loader._deliver(self._place)
        try:
            index, batch = next(self._batches)
        except StopIteration:
            self._end()
            raise
        except BaseException:
            self._failed = True
            raise
        self._check_current()
        self._check_turn(index)
        self._place.add(index)
        if self._num_batches == 0:
            self._before, self._first = self._loader._place, index
        self._num_batches += 1
        self._loader._place = self._place
        return index, batch

    def __del__(self) -> None:
        """Forget a peek."""
        if self._num_batches == 1 and not self._ended and self._loader._place is self._place:
            is_old = len(self._before.remaining) <= len(self._place.remaining)
            if is_old or not _is_observed(self._loader.pruner, self._first):
                self._loader._place = self._before

    def _check_current(self) -> None:
        if self._loader.pruner.plan is not self._plan:
            raise EpochError(
                f"This iteration is of epoch {self._plan.epoch}, and the pruner has planned anew since. Start another "
                "one after loader.set_epoch(epoch)."
            )

    def _check_turn(self, index: Tensor) -> None:
        if self._place.is_next(index) or self._failed or not self._loader._in_order:
            return
        if self._num_batches == 0 and self._loader._may_skip and self._place.skip_to(index):
            return
        raise EpochError(f"The batches do not follow the plan. {_ADVICE}")

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        missing = len(self._place.remaining)
        was_over = self._num_batches == 0 and self._loader._may_skip and self._place.is_whole
        if missing and not self._failed and not was_over:
            raise EpochError(f"The batches ended {missing} samples before the end of the plan. {_ADVICE}") from None
        if self._loader._plan is self._plan:
            self._loader._resumed = None


def _is_observed(pruner: DataPruner, index: Tensor) -> bool:
    """Whether any of a batch of the current plan was observed in this epoch."""
    pending = pruner.visits[index] > pruner.stats["visits"][index]
    return bool((pending | (pruner.stats["last_visit"][index] == pruner.epoch)).any())
