"""One pass over an epoch: the iterator that a training loop has."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from emprune.data.cursor import Cursor
from emprune.data.delivery import Delivery
from emprune.data.indexed import Delivered
from emprune.errors import EpochError
from emprune.pruner import DataPruner

__all__ = ["Pass"]


class Pass(Iterator[tuple[Tensor, Any]]):
    """One pass over the epoch: hands out the batches, and sees that they follow the plan.

    Like a DataLoader's iterator it can go on after an exception; the batch that was lost stays undelivered. Delivery
    begins with the first batch: frameworks make iterators that they never use, and workers cost time.

    Args:
        pruner: The pruner, whose current plan is delivered.
        delivery: The epoch's delivery.
        deliver: Gives the batches from a cursor on.
        in_order: Whether they come in the plan's order.
    """

    def __init__(
        self,
        pruner: DataPruner,
        delivery: Delivery,
        deliver: Callable[[Cursor], Iterator[Delivered]],
        *,
        in_order: bool,
    ) -> None:
        self._pruner, self._delivery, self._cursor = pruner, delivery, delivery.new_pass()
        self._deliver, self._in_order = deliver, in_order
        self._is_again, self._num_observed = delivery.ended, 0
        self._failed = False
        self._batches: Iterator[Delivered] | None = None

    def __next__(self) -> tuple[Tensor, Any]:
        if self._batches is None:
            self._check_current()
            self._num_observed = self._pruner.num_observed
            self._batches = self._deliver(self._cursor)
        self._check_not_trained_again()
        try:
            delivered = next(self._batches)
        except StopIteration:
            self._end()
            raise
        except BaseException:
            self._failed = True
            raise
        self._check_current()
        self._check_turn(delivered.asked)
        self._delivery.count(self._cursor, delivered.asked)
        if not self._is_again and len(left_out := delivered.left_out):
            self._pruner.leave_out(left_out)
        return delivered.index, delivered.batch

    def _check_current(self) -> None:
        if self._pruner.plan is not self._delivery.plan:
            raise EpochError(
                f"An iteration must end before the next epoch is planned; this one is of epoch "
                f"{self._delivery.plan.epoch}, and the pruner has another plan now. Start a new iteration after "
                "loader.set_epoch(epoch)."
            )

    def _check_not_trained_again(self) -> None:
        epoch = self._delivery.plan.epoch
        if self._delivery.ended and not self._is_again:  # a pass within this one trained on all of it
            self._is_again, self._num_observed = True, self._pruner.num_observed
        if self._is_again and self._pruner.num_observed > self._num_observed:
            if not self._delivery.was_trained:
                raise EpochError(
                    f"Epoch {epoch} was iterated to its end before it was trained on; got an observation in another "
                    "pass over it. Look at data with loader.peek(), or read the dataset at loader.rest."
                )
            raise EpochError(
                f"Epoch {epoch} is over, and was trained on a second time; got an observation in another pass over it. "
                f"Call loader.set_epoch({epoch + 1}) before it, or write `for epoch in loader.epochs()`. For an engine "
                "that takes one length for all epochs see docs/guides/ignite.md. To evaluate, do not call reduce or "
                "observe."
            )

    def _check_turn(self, index: Tensor) -> None:
        if not (self._cursor.is_next(index) or self._failed or not self._in_order):
            raise EpochError(
                "The batches must follow the plan; got another batch. Is the loader iterated twice at the same time? "
                "Persistent workers serve one iteration at a time. Or do both emprune and a framework skip batches on "
                "resuming? Only one may."
            )

    def _end(self) -> None:
        missing = self._cursor.num_remaining
        if missing and self._failed:
            return  # a batch was lost to an exception: what is left of the epoch is still to be delivered
        if missing:
            raise EpochError(
                f"All batches of the plan must be delivered; got an end {missing} samples before it. Is the loader "
                "iterated twice at the same time (persistent workers serve one iteration at a time)?"
            ) from None
        self._delivery.end(self._cursor, trained=self._pruner.num_observed > self._num_observed)
