"""Groups, such as classes: how many samples each gets in an epoch, and batches that hold several of each.

Quotas: 600 samples in equal parts, of groups of 500, 500 and 100, are 250, 250 and 100. A sample comes at most once. In
an epoch the method chooses each group's quota from that group alone. In batches, `per_batch=4` lays four samples of one
group beside four of another. What is left of a group comes last.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emprune.checks import as_real, one_of, real_number, whole_number
from emprune.errors import ConfigError
from emprune.plan import EpochPlan
from emprune.quotas import shared_out
from emprune.randomness import derive_generator
from emprune.stats import SampleStats

__all__ = ["Groups", "QuotaName", "by_group"]

QuotaName: TypeAlias = Literal["proportional", "equal", "rcap", "free"]


@dataclass(frozen=True, eq=False)
class Groups:
    """The samples' groups, and the share that each gets in every pruned epoch.

    The method chooses within each group, and the groups' quotas add up to exactly K. A sample comes at most once in an
    epoch. So a group gets all it has where its quota is larger, and the others divide the rest. Quotas are rounded at
    random, without bias. Full epochs visit all groups.

    Args:
        labels: (N,) integers or strings, the group of each sample, such as its class.
        quota: "proportional" is by the groups' sizes. "equal" is the same for all. "rcap" is in proportion to √(S·π):
            S is the group's mean last loss, and π its share of the data. A number above 0 for each group, by its
            label: the quotas are in proportion to them. "free" sets none: the method chooses from all samples at once.
        floor: At least this share of each group is visited in every pruned epoch, in [0, 1], rounded up. With "free",
            a group that would get less gets exactly that. The others' samples are then chosen again.
        per_batch: Samples of one group that come together in a batch. The batch size must be a multiple of it. Give
            `quota="equal"` for batches with all groups alike. None for chance alone.

    Attributes:
        names: The labels, each once, sorted.
        codes: (N,) int64, the position of each sample's label in `names`.
        counts: (G,) int64, the groups' sizes.

    Raises:
        ConfigError: If a value is out of range.

    Example:
        >>> Groups(["cat", "dog", "cat"], quota="equal")
        Groups(2 groups of 1 to 2 samples, quota='equal')

    References:
        "rcap": RCAP (UAI 2025), whose quotas are in proportion to √(S·π). What S is there we did not see. Ours: the
        mean of the last losses; and any method within the class, where RCAP draws by exp(min(L, log C) / T), which is
        `SoftSelection(by="softmax")` without its bound. Batches with several of each class: the usual sampler of metric
        learning, here without repeats.
    """

    labels: Sequence[Hashable] | NDArray[Any] | Tensor
    quota: QuotaName | Mapping[Any, float] = "proportional"
    floor: float = 0.0
    per_batch: int | None = None
    names: tuple[Hashable, ...] = field(init=False, repr=False)
    codes: Tensor = field(init=False, repr=False)
    counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names, codes, counts = _coded(self.labels)
        object.__setattr__(self, "names", tuple(names.tolist()))
        object.__setattr__(self, "codes", torch.from_numpy(codes.astype(np.int64)))
        object.__setattr__(self, "counts", torch.from_numpy(counts.astype(np.int64)))
        if isinstance(self.quota, Mapping):
            object.__setattr__(self, "quota", _checked_numbers(self.quota, self.names))
        else:
            one_of("quota", self.quota, get_args(QuotaName))
        floor = real_number("floor", self.floor, least=0, most=1, meaning="the least share of each group in an epoch")
        object.__setattr__(self, "floor", floor)
        if self.per_batch is not None:
            meaning = "the samples of one group that come together in a batch"
            object.__setattr__(self, "per_batch", whole_number("per_batch", self.per_batch, least=1, meaning=meaning))
        elif self.quota == "free" and not self.floor:
            raise ConfigError(
                '`quota` must not be "free" without a `floor` or `per_batch`, because the groups would do nothing; got '
                "neither. Give one of them, or another quota.",
                parameter="quota",
                value=self.quota,
            )

    def __repr__(self) -> str:
        low, high = int(self.counts.min()), int(self.counts.max())
        sizes = f"{low} to {high}" if low < high else f"{low}"
        floor = f", floor={self.floor}" if self.floor else ""
        batch = "" if self.per_batch is None else f", per_batch={self.per_batch}"
        return f"Groups({len(self.names)} groups of {sizes} samples, quota={self.quota!r}{floor}{batch})"

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.codes)

    @property
    def least(self) -> Tensor:
        """(G,) int64, the samples of each group that its floor asks for."""
        least = [math.ceil(self.floor * count - 1e-9) for count in self.counts.tolist()]
        return torch.tensor(least, device="cpu")

    def quotas(self, size: int, stats: SampleStats, *, least: Tensor, generator: torch.Generator) -> Tensor:
        """Return (G,) int64, the samples of each group in an epoch of `size`; not for "free", which has no quotas.

        Args:
            size: K.
            stats: Of all samples.
            least: (G,) int64, the fewest of each group; at most `size` together.
            generator: Rounds them.
        """
        return shared_out(size, self._shares(stats), least=least, most=self.counts, generator=generator)

    def _shares(self, stats: SampleStats) -> Tensor:
        """(G,) float64, above 0: what the quotas are in proportion to."""
        if isinstance(self.quota, Mapping):
            return torch.tensor([self.quota[name] for name in self.names], dtype=torch.float64)
        if self.quota == "equal":
            return torch.ones(len(self.names), dtype=torch.float64)
        if self.quota == "proportional":
            return self.counts.double()
        return (self._mean_losses(stats) * self.counts).sqrt()

    def _mean_losses(self, stats: SampleStats) -> Tensor:
        """(G,) float64, the groups' mean last losses, above 0; a group that was not seen yet has the others' mean."""
        seen = stats.seen
        num_seen = torch.bincount(self.codes[seen], minlength=len(self.names))
        losses = torch.where(seen, stats["loss"], 0).clamp_(min=0).double()
        sums = torch.bincount(self.codes, weights=losses, minlength=len(self.names))
        overall = sums.sum() / num_seen.sum().clamp(min=1)
        means = torch.where(num_seen > 0, sums / num_seen.clamp(min=1), overall)
        return means.clamp_(min=max(float(overall), 1.0) * 1e-9)


def by_group(plan: EpochPlan, groups: Groups, *, run: int, seed: int) -> EpochPlan:
    """Return a plan in which samples of one group come in runs, spread evenly over the epoch and in random order.

    Args:
        plan: In random order.
        groups: Of all samples.
        run: Samples of a run, `per_batch` on all ranks together. What a group has beyond whole runs comes last.
        seed: The run's seed.

    Example:
        >>> plan = EpochPlan(0, torch.tensor([0, 1, 2, 3, 4]), None, 5)
        >>> by_group(plan, Groups([0, 0, 0, 1, 1]), run=2, seed=0).index[4]
        tensor(2)
    """
    codes = groups.codes.index_select(0, plan.index)
    order = torch.argsort(codes, stable=True)  # a group's samples stay in random order
    sorted_codes = codes[order]
    counts = torch.bincount(codes, minlength=len(groups.names))
    place = torch.arange(len(plan)) - (counts.cumsum(0) - counts)[sorted_codes]
    num_runs = counts // run
    whole = place < (num_runs * run)[sorted_codes]
    runs, codes_of_runs = order[whole].view(-1, run), sorted_codes[whole][::run]
    # Run t of the T that a group has comes at (t + u) / T of the epoch.
    draws = torch.rand(len(runs), generator=derive_generator(seed, "groups", plan.epoch), dtype=torch.float64)
    when = (place[whole][::run] // run + draws) / num_runs[codes_of_runs]
    order = torch.cat([runs[torch.argsort(when)].flatten(), order[~whole].sort().values])
    return plan.reordered(order)


def _coded(labels: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the labels, each once and sorted, the position of each sample's among them, and their counts."""
    try:
        values = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
        found = f"an array of shape {values.shape}, {values.dtype}"
    except (TypeError, ValueError):
        values, found = np.empty(0), type(labels).__name__
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat):
        values = values.astype(str)
    if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iubUS":
        raise ConfigError(
            f"`labels` must be one integer or string for each sample; got {found}. Write "
            "labels=[label for _, label in dataset].",
            parameter="labels",
            value=labels,
        )
    return np.unique(values, return_inverse=True, return_counts=True)


def _checked_numbers(quota: Mapping[Any, float], names: tuple[Hashable, ...]) -> dict[Hashable, float]:
    """Return a quota for each group by its label."""
    wrong = sorted(map(str, set(quota) ^ set(names)))
    if wrong:
        raise ConfigError(
            f"`quota` must have one number for each of the {len(names)} groups; got {len(quota)}, and they differ in "
            f"{wrong[0]!r}. Use the labels as keys.",
            parameter="quota",
            value=quota,
        )
    numbers = {name: as_real(quota[name]) for name in names}
    for name, number in numbers.items():
        if number is None or not 0 < number < math.inf:
            raise ConfigError(
                f"`quota` must be finite numbers above 0; got {quota[name]!r} for {name!r}. Leave samples out with a "
                "Subset of the dataset.",
                parameter="quota",
                value=quota,
            )
    return {name: number for name, number in numbers.items() if number is not None}
