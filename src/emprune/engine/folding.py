"""Folding: what was observed enters the columns, and what was not finite is counted, skipped or refused."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from emprune.distributed import Ranks
from emprune.engine.current import CurrentEpoch
from emprune.engine.gap import Gap
from emprune.engine.merging import Merged, merge_local, merge_ranks
from emprune.engine.observations import PendingObservations
from emprune.engine.recording import Recording
from emprune.errors import EmpruneError, EpochError, ObservationError
from emprune.methods.base import Method
from emprune.stats import SampleStats

__all__ = ["Folding", "NonfinitePolicy"]

NonfinitePolicy = Literal["error", "skip", "revisit"]
_NONE = torch.empty(0, dtype=torch.int64)


class Folding:
    """Enters pending observations into the columns.

    Args:
        method: Whose `fold` says how an observation enters them.
        stats: The columns.
        pending: What was observed since the last fold.
        recording: What is recorded beside the method's columns.
        nonfinite: What happens to samples whose values are not finite.

    Attributes:
        observed: Whether anything was observed in the current epoch, on any rank as of the last fold.
        failed: (M,) int64, samples of the current epoch with an observation that was not finite.
        gap: The generalisation gap, for a method that follows it.
    """

    def __init__(
        self,
        method: Method,
        stats: SampleStats,
        pending: PendingObservations,
        recording: Recording,
        *,
        nonfinite: NonfinitePolicy,
    ) -> None:
        self._method = method
        self._rule = None if type(method).fold is Method.fold else method.fold
        self._stats, self._pending, self._nonfinite = stats, pending, nonfinite
        self._recording = recording
        self.observed, self.failed = False, _NONE
        self.gap = Gap(needed=method.needs_gap)

    def fold(self, ranks: Ranks, current: CurrentEpoch | None, *, settings: Mapping[str, Any], call: str) -> None:
        """Merge what all ranks observed and enter it into the columns; collective on several ranks.

        Args:
            ranks: The ranks that share the data.
            current: The current epoch; None before the first.
            settings: Of the run, the same on all ranks.
            call: What the user called, the same on all ranks.

        Raises:
            ObservationError: If values are not finite and the policy is "error", or an index is not in the plan.
            RankError: If the ranks do not do the same.
        """
        if ranks.size > 1:
            index, measured = self._pending.gather()
            merged, self.observed = merge_ranks(
                ranks,
                index,
                measured,
                plan=None if current is None else current.plan,
                planned=None if current is None else current.planned,
                observed=self.observed,
                run={**settings, "nonfinite": self._nonfinite},
                call=call,
            )
            if merged is not None and current is not None:
                self._enter(merged, current)
            self.gap.merge(ranks)
        else:
            ranks.check_size()
            self.fold_local(current)
        self._refuse_failed(current)

    def fold_local(self, current: CurrentEpoch | None) -> None:
        """Enter what this process observed, if anything; what is not finite is counted, and not refused."""
        if len(self._pending) and current is not None:
            self._enter(merge_local(*self._pending.gather(), current.plan, current.planned), current)
        self.gap.merge_local()

    def fold_to_save(self, ranks: Ranks, current: CurrentEpoch | None) -> None:
        """Enter what this process observed. Raise EmpruneError if it is one of several ranks, and observed anything."""
        num_pending = len(self._pending) + self.gap.is_pending
        if ranks.size > 1 and num_pending:
            raise EmpruneError(
                f"{num_pending} observations of this rank are not merged with the others': call sync() on every rank "
                "before state_dict()."
            )
        self.fold_local(current)

    def check_observed(self, current: CurrentEpoch | None) -> None:
        """Raise EpochError if the method scores, and no rank observed anything in the current epoch."""
        if current is not None and self._method.scores and not self.observed:
            raise EpochError(
                f"{type(self._method).__name__} saw no observation in the whole of epoch {current.plan.epoch}: did you "
                "call reduce(index, losses, logits) in the training loop?"
            )

    def begin_epoch(self) -> None:
        """Forget what belongs to the last epoch alone."""
        self.observed, self.failed = False, _NONE

    def forget_failed(self) -> None:
        """Make the samples unseen that failed in the current epoch, where the policy is "revisit"."""
        if self._nonfinite == "revisit":
            self._stats.forget(self._still_failed())

    def _enter(self, merged: Merged, current: CurrentEpoch) -> None:
        epoch = current.plan.epoch
        newly = merged.invalid[~torch.isin(merged.invalid, self.failed)]
        if len(merged.index):
            recorded = self._recording.folded(self._stats, epoch, merged.index, merged.measured)
            observed = current.planned if len(merged.index) == len(current.plan) else None
            self._stats.fold(epoch, merged.index, merged.measured, self._rule, counted=self.failed, observed=observed)
            self._stats.enter(*recorded)
        self._stats.count_failures(epoch, newly)
        self.failed = torch.cat([self.failed, newly])
        self._pending.clear()

    def _still_failed(self) -> Tensor:
        """Samples of this epoch with observations that were not finite, and none since that was."""
        return self.failed[self._stats["failures"][self.failed] > 0]

    def _refuse_failed(self, current: CurrentEpoch | None) -> None:
        failed = self._still_failed()
        if self._nonfinite == "error" and current is not None and len(failed):
            shown = ", ".join(str(int(i)) for i in failed[:5])
            more = ", ..." if len(failed) > 5 else ""
            raise ObservationError(
                f"Losses and memory terms must be finite; got NaN or infinity for {len(failed)} samples of epoch "
                f"{current.plan.epoch} (dataset positions {shown}{more}). Lower the learning rate, or correct the "
                "data. To go on without them, use nonfinite='skip' or nonfinite='revisit'."
            )
