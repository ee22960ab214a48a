"""The merge: what was observed since the last one, each sample once, and the same on every rank.

Hard, because ranks can disagree: one is in another epoch, measured nothing, or holds a wrong index. Each must then
raise, and none may wait for ever. So a merge of several ranks has two steps, both collective::

    exchange   every rank says what it is doing          one small message; all raise where they differ
    gather     max of the ranks that had a sample        one byte a planned sample: who is the last to be valid
               sum of that rank's values, as integers    four bytes each quantity: bits, so nothing is rounded

With the same observations, the result on W ranks is bit for bit that on one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emprune.distributed import NOT_USED, NOT_VALID, Ranks
from emprune.engine.observations import check_planned
from emprune.errors import ObservationError, RankError
from emprune.indexing import are_all, mask_of, num_true
from emprune.plan import EpochPlan
from emprune.stats import all_finite

__all__ = ["Merged", "check_same_plan", "merge_local", "merge_ranks"]


@dataclass(frozen=True)
class Merged:
    """What was observed, on all ranks together.

    Attributes:
        index: (M,) int64, the samples with a valid observation, each once.
        measured: (M,) float32 of each quantity.
        invalid: (M',) int64, the samples that have none but were observed.
        left_out: (M'',) int64, the samples that were not observed, because they could not be used.
    """

    index: Tensor
    measured: Mapping[str, Tensor]
    invalid: Tensor
    left_out: Tensor


@dataclass(frozen=True, kw_only=True)
class _Report:
    """What a rank tells the others before anything is merged.

    Attributes:
        run: The settings of its run, which must be the same on all.
        call: What was called, which must be the same.
        plan: The fingerprint of its plan, which must be the same; None before the first epoch.
        quantities: What it measured since the last merge; empty if it observed nothing.
        left_out: Whether it left anything out since then.
        observed: Whether it observed anything in this epoch.
        problem: What is wrong with its observations.
    """

    run: Mapping[str, Any]
    call: str
    plan: str | None
    quantities: tuple[str, ...]
    left_out: bool
    observed: bool
    problem: str | None


def merge_local(
    index: Tensor, measured: Mapping[str, Tensor], left_out: Tensor, plan: EpochPlan, planned: Tensor
) -> Merged:
    """Check what this process observed, and keep the last valid observation of each sample.

    Args:
        index: (M,) int64, what was observed since the last merge, in order; it may hold samples repeatedly.
        measured: (M,) float32 of each quantity.
        left_out: (M',) int64, what was left out since the last merge.
        plan: The current epoch's plan.
        planned: (N,) bool, the samples in it.

    Raises:
        ObservationError: If a sample is not in the plan, as only an index on a device can be by now.
    """
    if not index.equal(plan.index[: len(index)]):  # else all are planned, and none comes twice
        index, measured = _each_once(index, measured, planned)
    return _split(index, measured, _finite(measured), left_out[~torch.isin(left_out, index)])


def merge_ranks(
    ranks: Ranks,
    index: Tensor,
    measured: Mapping[str, Tensor],
    *,
    left_out: Tensor,
    plan: EpochPlan | None,
    planned: Tensor | None,
    observed: bool,
    run: Mapping[str, Any],
    call: str,
) -> tuple[Merged | None, bool]:
    """Check what all ranks observed, and gather it, the same on each. Collective.

    Args:
        ranks: The ranks.
        index: (M,) int64, what this rank observed since the last merge, in order; it may hold samples repeatedly.
        measured: (M,) float32 of each quantity.
        left_out: (M',) int64, what this rank left out since the last merge.
        plan: The current epoch's plan; None before the first epoch.
        planned: (N,) bool, the samples in it.
        observed: Whether this rank observed anything in this epoch.
        run: The settings of the run.
        call: What was called, with all that must be the same on every rank.

    Returns:
        What was observed, None where nothing was; and whether any rank observed anything in this epoch.

    Raises:
        ObservationError: On every rank, if a sample is not in the plan, or ranks measured different quantities.
        RankError: If the ranks do not do the same, or one does not take part.
    """
    problem: ObservationError | None = None
    position = index[:0]
    if plan is not None and planned is not None:
        try:
            position, measured = _located(index, measured, plan, planned, ranks)
        except ObservationError as error:
            problem = error
    report = _Report(
        run=run,
        call=call,
        plan=None if plan is None else plan.fingerprint,
        quantities=tuple(sorted(measured)),
        left_out=len(left_out) > 0,
        observed=observed,
        problem=None if problem is None else str(problem),
    )
    doing = f"the merge of {call}"
    reports = ranks.exchange(report, doing=doing)
    names = _agreed(reports, problem)
    observed = any(report.observed for report in reports)
    if plan is None or not (names or any(report.left_out for report in reports)):
        return None, observed
    winner, gathered = ranks.gather_observed(
        len(plan),
        position,
        measured,
        valid=_finite(measured),
        not_used=_places(left_out, plan),
        names=names,
        doing=doing,
    )
    seen = winner > NOT_USED
    index, valid = plan.index, winner > NOT_VALID
    if not are_all(seen):
        index, valid = index[seen], valid[seen]
        gathered = {name: values[seen] for name, values in gathered.items()}
    return _split(index, gathered, None if are_all(valid) else valid, plan.index[winner == NOT_USED]), observed


def check_same_plan(ranks: Ranks, plan: EpochPlan) -> None:
    """Raise RankError on every rank unless all of them made the same plan. Collective on several ranks."""
    if ranks.size == 1:
        return
    found = ranks.exchange(plan.fingerprint, doing=f"planning epoch {plan.epoch}")
    other = _first_other(found)
    if other is not None:
        raise RankError(
            f"All ranks must make the same plan of epoch {plan.epoch}; got different ones on ranks 0 and {other}, from "
            "the same columns. Use the same versions of emprune, torch and NumPy on all ranks, the same kind of "
            "processor, and equally many threads (OMP_NUM_THREADS). Your own method must draw from "
            "`context.generator` alone."
        )


def _each_once(index: Tensor, measured: Mapping[str, Tensor], planned: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Keep the last valid observation of each sample, or its last if none is valid."""
    check_planned(index, planned)
    if num_true(mask_of(index, len(planned))) == len(index):
        return index, measured
    turn, valid = torch.arange(len(index)), _finite(measured)
    if valid is not None:
        turn += len(index) * valid  # after all that are not
    last = torch.full((len(planned),), -1).scatter_reduce_(0, index, turn, "amax")
    counts = last[index] == turn
    return index[counts], {name: values[counts] for name, values in measured.items()}


def _finite(measured: Mapping[str, Tensor]) -> Tensor | None:
    """(M,) bool: observations without NaN and infinity; None where all are."""
    if all(map(all_finite, measured.values())):
        return None
    return torch.stack([values.isfinite() for values in measured.values()]).all(0)


def _split(index: Tensor, measured: Mapping[str, Tensor], valid: Tensor | None, left_out: Tensor) -> Merged:
    if valid is None:
        return Merged(index, measured, index[:0], left_out)
    return Merged(index[valid], {name: values[valid] for name, values in measured.items()}, index[~valid], left_out)


def _located(
    index: Tensor, measured: Mapping[str, Tensor], plan: EpochPlan, planned: Tensor, ranks: Ranks
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return where in the plan this rank's samples are, (M,) int64, and what was measured; each sample once."""
    in_turn = torch.arange(ranks.rank, len(plan), ranks.size)[: len(index)]
    if index.equal(plan.index[in_turn]):
        return in_turn, measured
    index, measured = _each_once(index, measured, planned)
    return _places(index, plan), measured


def _places(index: Tensor, plan: EpochPlan) -> Tensor:
    """Return where in the plan its samples are."""
    if not len(index):
        return index
    where = torch.empty(plan.num_samples, dtype=torch.int64)
    return where.index_copy_(0, plan.index, torch.arange(len(plan)))[index]


def _agreed(reports: Sequence[_Report], problem: ObservationError | None) -> tuple[str, ...]:
    """Raise on every rank where one cannot go on; return the quantities that were measured, if any were."""
    first = reports[0]
    for name in first.run:
        other = _first_other([report.run.get(name) for report in reports])
        if other is not None:
            raise RankError(
                f"All ranks must make the same pruner; got {name}={first.run[name]!r} on rank 0 and "
                f"{name}={reports[other].run.get(name)!r} on rank {other}."
            )
    other = _first_other([report.call for report in reports])
    if other is not None:
        raise RankError(
            f"All ranks must call begin_epoch and sync alike; got {first.call} on rank 0 and {reports[other].call} on "
            f"rank {other}. Do they have the same batch size and accumulation, and load the same state?"
        )
    other = _first_other([report.plan for report in reports])
    if other is not None:
        raise RankError(
            f"Rank 0 and rank {other} are in different plans of one epoch: load the same saved state on every rank."
        )
    for rank, report in enumerate(reports):
        if report.problem is not None:
            raise ObservationError(f"On rank {rank}: {report.problem}") from problem
    quantities = [report.quantities for report in reports if report.quantities]
    other = _first_other(quantities)
    if other is not None:
        raise ObservationError(
            f"Every rank must measure the same quantities; got {list(quantities[0])} and {list(quantities[other])}. "
            "The method's `measure` returns them."
        )
    return quantities[0] if quantities else ()


def _first_other(values: Sequence[object]) -> int | None:
    """Where the first value stands that differs from the one at 0."""
    return next((place for place, value in enumerate(values) if value != values[0]), None)
