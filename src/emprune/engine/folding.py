"""Folding: what was observed enters the columns, and what was not finite is counted, skipped or refused.

A sample that was left out counts as one whose loss was not finite, twice of which it is given up. But it is never
refused and never forgotten, whatever the policy says: there was no loss.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from emprune.distributed import Ranks
from emprune.engine.current import CurrentEpoch
from emprune.engine.gap import Gap
from emprune.engine.merging import Merged, merge_local, merge_ranks
from emprune.engine.observations import PendingObservations, check_planned
from emprune.engine.recording import Recording
from emprune.errors import EmpruneError, EpochError, ObservationError
from emprune.methods.base import Method
from emprune.stats import SampleStats

__all__ = ["Folding", "NonfinitePolicy"]

NonfinitePolicy = Literal["error", "skip", "revisit"]
_NONE = torch.empty(0, dtype=torch.int64, device="cpu")


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
        left_out: (M',) int64, samples of the current epoch that could not be used, ascending.
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
        self.restore()
        self.gap = Gap(needed=method.needs_gap)

    @property
    def newly_left_out(self) -> Tensor:
        """(M,) int64, what was left out since the last fold, each once."""
        once: Tensor = torch.cat([_NONE, *self._newly]).unique()
        return once

    @property
    def in_vain(self) -> Tensor:
        """(M,) int64, samples of the current epoch whose visit counts, and gave no finite observation at first."""
        return torch.cat([self.failed, self.left_out])

    def restore(self, *, observed: bool = False, failed: Tensor = _NONE, left_out: Tensor = _NONE) -> None:
        """Take over what is known of an epoch; by default of one that has just begun."""
        self.observed, self.failed, self.left_out = observed, failed, left_out
        self._newly: list[Tensor] = []

    def leave_out(self, index: Tensor, planned: Tensor) -> None:
        """Keep samples that could not be used, until the next fold.

        Raises:
            ObservationError: If one is not planned, (N,) bool.
        """
        check_planned(index, planned)
        self._newly.append(index.clone())

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
                left_out=self.newly_left_out,
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
        if (len(self._pending) or self._newly) and current is not None:
            gathered = self._pending.gather()
            self._enter(merge_local(*gathered, self.newly_left_out, current.plan, current.planned), current)
        self.gap.merge_local()

    def fold_to_save(self, ranks: Ranks, current: CurrentEpoch | None) -> None:
        """Enter what this process observed. Raise EmpruneError if it is one of several ranks, and observed anything."""
        num_pending = len(self._pending) + len(self.newly_left_out) + self.gap.is_pending
        if ranks.size > 1 and num_pending:
            raise EmpruneError(
                f"{num_pending} observations of this rank are not merged with the others': call sync() on every rank "
                "before state_dict()."
            )
        self.fold_local(current)

    def check_observed(self, current: CurrentEpoch | None) -> None:
        """Raise EpochError if the method scores, and no rank observed anything in an epoch where it could."""
        if current is None or self.observed or not self._method.scores:
            return
        if len(self.left_out) < len(current.plan):
            raise EpochError(
                f"{type(self._method).__name__} saw no observation in the whole of epoch {current.plan.epoch}: did you "
                "call reduce(index, losses, logits) in the training loop?"
            )

    def forget_failed(self) -> None:
        """Make the samples unseen that failed in the current epoch, where the policy is "revisit"."""
        if self._nonfinite == "revisit":
            self._stats.forget(self._still_failed())

    def _enter(self, merged: Merged, current: CurrentEpoch) -> None:
        epoch, counted = current.plan.epoch, self.in_vain
        if len(merged.index):
            recorded = self._recording.folded(self._stats, epoch, merged.index, merged.measured)
            observed = current.planned if len(merged.index) == len(current.plan) else None
            self._stats.fold(epoch, merged.index, merged.measured, self._rule, counted=counted, observed=observed)
            self._stats.enter(*recorded)
        last_visit = self._stats["last_visit"]
        invalid = merged.invalid[last_visit[merged.invalid] != epoch]  # what had a valid one before has not failed
        in_vain = torch.cat([invalid, merged.left_out[last_visit[merged.left_out] != epoch]])
        self._stats.count_failures(epoch, in_vain[~torch.isin(in_vain, counted)])
        self.failed = torch.cat([self.failed, invalid[~torch.isin(invalid, self.failed)]])
        self.left_out = torch.cat([self.left_out, merged.left_out]).unique()
        self._pending.clear()
        self._newly.clear()

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
