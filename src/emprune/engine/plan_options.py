"""What a user asks of every plan, whatever the method: lengths, groups, weights, pinned samples, a guard."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune.checks import whole_number
from emprune.errors import ConfigError
from emprune.given import PositionsLike, as_positions, as_tensor
from emprune.groups import Groups, by_group
from emprune.indexing import mask_of
from emprune.lengths import Lengths, by_length, checked_lengths
from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.schedule import Schedule

__all__ = ["GroupsLike", "PinnedLike", "PlanOptions", "WeightsLike", "checked_pinned", "checked_weights"]

GroupsLike: TypeAlias = Groups | Sequence[Any] | NDArray[Any] | Tensor
WeightsLike: TypeAlias = Sequence[float] | NDArray[Any] | Tensor
PinnedLike: TypeAlias = PositionsLike


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanOptions:
    """What a user asks of every plan, checked.

    Attributes:
        lengths: (N,) int64, by which each step gets samples of like length.
        groups: The samples' groups and their quotas.
        weights: (N,) float32, above 0, by which the candidates are drawn.
        pinned: (P,) int64, ascending, the samples of every pruned epoch.
        guard: Visits in a row with a wrong prediction after which a sample is left to chance.
    """

    lengths: Tensor | None = None
    groups: Groups | None = None
    weights: Tensor | None = None
    pinned: Tensor | None = None
    guard: int | None = None

    @classmethod
    def checked(
        cls,
        method: Method,
        schedule: Schedule,
        lengths: Lengths | None,
        groups: GroupsLike | None,
        weights: WeightsLike | None,
        pinned: PinnedLike | None,
        guard: int | None,
    ) -> Self:
        """Return the options of a run.

        Raises:
            ConfigError: If one of them is malformed, or they do not go with one another, the method or the cost.
        """
        num_samples = schedule.num_samples
        if groups is not None and not isinstance(groups, Groups):
            groups = Groups(groups)
        options = cls(
            lengths=checked_lengths(lengths, num_samples=num_samples),
            groups=groups,
            weights=None if weights is None else checked_weights(weights, num_samples),
            pinned=None if pinned is None else checked_pinned(pinned, num_samples),
            guard=None if guard is None else whole_number("guard", guard, least=1, meaning="in visits"),
        )
        options._check_together(method, num_samples=num_samples, keep=schedule.keep)
        return options

    def with_lengths(self, lengths: Lengths | None, method: Method, schedule: Schedule) -> Self:
        """Return the same options with other lengths; raises what `checked` does."""
        options = replace(self, lengths=checked_lengths(lengths, num_samples=schedule.num_samples))
        options._check_together(method, num_samples=schedule.num_samples, keep=schedule.keep)
        return options

    def _check_together(self, method: Method, *, num_samples: int, keep: float) -> None:
        groups = self.groups
        if groups is not None and groups.num_samples != num_samples:
            raise ConfigError(
                f"`groups` must have one label for each of {num_samples:,} samples; got {groups.num_samples:,}. Write "
                "groups=[label for _, label in dataset].",
                parameter="groups",
                value=groups,
            )
        if self.lengths is not None and groups is not None and groups.per_batch is not None:
            raise ConfigError(
                f"`lengths` must not be given with groups that have `per_batch`; got per_batch={groups.per_batch}. "
                "Both say which samples share a batch. Leave one of them out.",
                parameter="lengths",
                value=self.lengths,
            )
        if self.weights is not None and not method.takes_weights:
            raise ConfigError(
                f"`weights` must be given with a method that draws; got {type(method).__name__}, where the samples or "
                "how often each comes are fixed. Use Random, which draws by the weights alone.",
                parameter="weights",
                value=self.weights,
            )
        if self.guard is not None and not method.scores:
            raise ConfigError(
                f"`guard` must be given with a method that scores; got {type(method).__name__}, which prefers no "
                "sample. Leave it out, or use EMP.",
                parameter="guard",
                value=self.guard,
            )
        quotas = groups if groups is not None and groups.per_batch is None else None
        for name, value in (
            ("groups", quotas), ("weights", self.weights), ("pinned", self.pinned), ("guard", self.guard),
        ):  # fmt: skip
            if value is not None and keep == 1:
                raise ConfigError(
                    f"`{name}` must be given with `keep` below 1; got keep=1, which visits all samples. Lower `keep`, "
                    f"or leave `{name}` out.",
                    parameter=name,
                    value=value,
                )

    @cached_property
    def least(self) -> Tensor:
        """(G,) int64, the fewest samples of each group: those of its floor, and the pinned ones."""
        assert self.groups is not None
        return torch.maximum(self.groups.least, self.num_pinned)

    @cached_property
    def num_least(self) -> int:
        """The samples that every pruned epoch must have."""
        if self.groups is not None:
            return int(self.least.sum())
        return 0 if self.pinned is None else len(self.pinned)

    @cached_property
    def num_pinned(self) -> Tensor:
        """(G,) int64, the pinned samples of each group."""
        assert self.groups is not None
        pinned = torch.empty(0, dtype=torch.int64, device="cpu") if self.pinned is None else self.pinned
        return torch.bincount(self.groups.codes[pinned], minlength=len(self.groups.names))

    @cached_property
    def parts(self) -> tuple[Tensor, ...]:
        """Each group's samples that are not pinned: positions in the dataset, ascending."""
        assert self.groups is not None
        order = torch.argsort(self.groups.codes, stable=True)
        parts: tuple[Tensor, ...] = order.split(self.groups.counts.tolist())
        if self.pinned is None:
            return parts
        pinned = mask_of(self.pinned, self.groups.num_samples)
        return tuple(part[~pinned[part]] for part in parts)

    def ordered(self, plan: EpochPlan, *, step: int, world_size: int, seed: int) -> EpochPlan:
        """Return a plan, which is in random order, in the order that is asked for.

        Args:
            plan: The plan.
            step: Samples of an optimizer step on all ranks together.
            world_size: W.
            seed: The run's seed.
        """
        if self.lengths is not None:
            return by_length(plan, self.lengths, step=step, seed=seed)
        if self.groups is not None and self.groups.per_batch is not None:
            return by_group(plan, self.groups, run=self.groups.per_batch * world_size, seed=seed)
        return plan

    def settings(self) -> dict[str, Any]:
        """Return what tells these options from others: of arrays their digests."""
        groups = self.groups
        return {
            "lengths": _digest(self.lengths),
            "groups": None
            if groups is None
            else {
                "labels": hashlib.sha256(f"{groups.names}".encode() + _bytes(groups.codes)).hexdigest()[:16],
                "quota": groups.quota if isinstance(groups.quota, str) else str(sorted(groups.quota.items(), key=str)),
                "floor": groups.floor,
                "per_batch": groups.per_batch,
            },
            "weights": _digest(self.weights),
            "pinned": _digest(self.pinned),
            "guard": self.guard,
        }


def _bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()


def _digest(values: Tensor | None) -> str | None:
    """Return a few characters by which a saved run knows its values again."""
    return None if values is None else hashlib.sha256(_bytes(values)).hexdigest()[:16]


def checked_weights(weights: Any, num_samples: int) -> Tensor:
    """Return sampling weights, (N,) float32, the largest of them 1."""
    values, found = as_tensor(weights)
    right = values.shape == (num_samples,) and values.dtype != torch.bool and not values.is_complex()
    if right and not bool(((values > 0) & values.isfinite()).all()):
        right, found = False, str(float(values[~((values > 0) & values.isfinite())][0]))
    if not right:
        raise ConfigError(
            f"`weights` must be one finite number above 0 for each of {num_samples:,} samples; got {found}. Leave "
            "samples out with a Subset of the dataset.",
            parameter="weights",
            value=weights,
        )
    return (values.double() / values.max()).float().clamp_(min=torch.finfo(torch.float32).tiny)


def checked_pinned(pinned: Any, num_samples: int) -> Tensor:
    """Return pinned positions, ascending."""
    values, found = as_positions(pinned, num_samples)
    if found is not None or not len(values):
        found = found or "none"
        raise ConfigError(
            f"`pinned` must be positions in [0, {num_samples}), each once, or (N,) True and False; got {found}. Write "
            "pinned=[0, 7], or leave it out.",
            parameter="pinned",
            value=pinned,
        )
    return values.sort().values
