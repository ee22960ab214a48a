"""What a run knows of its data: samples that look mislabelled, and samples that were always easy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emprune.checks import one_of, whole_number
from emprune.errors import ConfigError
from emprune.indexing import mask_of, positions_of
from emprune.randomness import derive_generator
from emprune.table import as_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RankedSamples"]

_SUSPECT = {"mean_margin": -1, "mean_loss": 1, "loss": 1}
"""Signals, and whether high or low values speak for it. The first that is recorded is the default."""
_REDUNDANT = {"mean_loss": -1, "mean_margin": 1, "first_learnt": -1, "forgotten": -1}
_SHOWN = ("mean_margin", "mean_loss", "loss", "first_learnt", "forgotten", "predicted", "visits")
_TO_PRINT = 10


@dataclass(frozen=True, eq=False, repr=False)
class RankedSamples:
    """Samples that a run's columns single out, first the most striking.

    Args:
        index: (k,) int64, positions in the dataset.
        score: (k,) float32 in (0, 1], the mean over `by` of the sample's rank: 1 is the first in each.
        by: The columns that were ranked by.
        signals: (k,) of each column that tells about the samples.
        quality: (N,) float32 in [0, 1] of all samples, lower is worse, as cleanlab has label quality: the share of the
            seen samples that rank before it. Samples without an observation have 1.
        num_unseen: Samples without an observation, which are not ranked.

    Example:
        >>> import emprune
        >>> pruner = emprune.DataPruner("greedy", num_samples=4, num_epochs=2, keep=1.0)
        >>> plan = pruner.begin_epoch(0)
        >>> pruner.observe(torch.arange(4), torch.tensor([0.1, 5.0, 0.2, 4.0]))
        >>> pruner.sync()
        >>> pruner.suspects(2).index
        tensor([1, 3])
    """

    index: Tensor
    score: Tensor
    by: tuple[str, ...]
    signals: Mapping[str, Tensor]
    quality: Tensor
    num_unseen: int

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.quality)

    @property
    def mask(self) -> Tensor:
        """(N,) bool, True for these samples: cleanlab's format of label issues."""
        return mask_of(self.index, self.num_samples)

    @property
    def rest(self) -> Tensor:
        """(N - k,) int64, the positions of all others, ascending: for `Subset`, or a `datasets.Dataset`'s `select`."""
        return positions_of(~self.mask)

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas table, a row a sample in this order, by position.

        Raises:
            ImportError: If pandas is not installed.
        """
        return as_frame({"score": self.score, **self.signals}, self.index)

    def __len__(self) -> int:
        return len(self.index)

    def __str__(self) -> str:
        columns = {"position": self.index, "score": self.score, **self.signals}
        rows = [list(columns), *zip(*(map(_as_text, values[:_TO_PRINT]) for values in columns.values()), strict=True)]
        lines = ["  ".join(f"{cell:>12}" for cell in row) for row in rows]
        if len(self) > _TO_PRINT:
            lines.append(f"... and {len(self) - _TO_PRINT:,} more")
        unseen = f"; {self.num_unseen:,} were never seen, and are not ranked" if self.num_unseen else ""
        head = f"{len(self):,} of {self.num_samples:,} samples, ranked by {', '.join(self.by)}{unseen}"
        return "\n".join([head, *lines])

    __repr__ = __str__


def rank_suspects(
    columns: Mapping[str, Tensor], seen: Tensor, k: Any, *, by: str | None = None, seed: int = 0
) -> RankedSamples:
    """Return the k samples that look most as if their label were wrong.

    Args:
        columns: (N,) of the loss, the visits and what is recorded, by name.
        seen: (N,) bool, the samples with an observation.
        k: How many.
        by: The signal; None for the first that there is.
        seed: Of the run, which breaks ties.

    Raises:
        ConfigError: If there are not so many seen samples, or not this signal.
    """
    known = [name for name in _SUSPECT if name in columns]
    if by is None:
        by = known[0]
    one_of("by", by, known)
    return _ranked(columns, seen, k, {by: _SUSPECT[by]}, seed=seed, purpose="suspects")


def rank_redundant(columns: Mapping[str, Tensor], seen: Tensor, k: Any, *, seed: int) -> RankedSamples:
    """Return the k samples that were easiest all along.

    Args:
        columns: (N,) of the loss, the visits and what is recorded, by name.
        seen: (N,) bool, the samples with an observation.
        k: How many.
        seed: Of the run, which breaks ties.

    Raises:
        ConfigError: If there are not so many seen samples.
    """
    known = {name: sign for name, sign in _REDUNDANT.items() if name in columns}
    signs = known if "mean_loss" in known else {"loss": -1, **known}
    return _ranked(columns, seen, k, signs, seed=seed, purpose="redundant")


def _ranked(
    columns: Mapping[str, Tensor], seen: Tensor, k: Any, signs: Mapping[str, int], *, seed: int, purpose: str
) -> RankedSamples:
    k = whole_number("k", k, least=1, meaning="how many samples to return")
    if "recorded" in columns:  # not of a sample that only an earlier run observed
        seen = seen & (columns["recorded"] > 0)
    candidates = positions_of(seen)
    if k > len(candidates):
        raise ConfigError(
            f"`k` must be at most the number of samples that were seen as of the last fold, {len(candidates):,}; got "
            f"{k=}. Call sync() after the epoch, or ask for fewer.",
            parameter="k",
            value=k,
        )
    if not bool(columns["loss"][candidates].any()):  # PrunedTrainer records zeros where the method needs no losses
        raise ConfigError(
            "`record` must name what is to be measured where the method needs no losses; got 0 as the loss of every "
            'sample. Train with record="mean_loss", or more.',
            parameter="record",
        )
    # In random order, a stable sort breaks ties at random.
    candidates = candidates[torch.randperm(len(candidates), generator=derive_generator(seed, purpose))]
    ranks = [_rank_share(sign * _comparable(name, columns[name][candidates])) for name, sign in signs.items()]
    score = torch.stack(ranks).mean(0)
    order = torch.argsort(score, descending=True, stable=True)
    quality = torch.ones(len(seen))
    quality[candidates[order]] = (torch.arange(len(order), dtype=torch.float64) / len(order)).float()
    index = candidates[order[:k]]
    return RankedSamples(
        index,
        score[order[:k]].float(),
        by=tuple(signs),
        signals={name: columns[name][index] for name in _SHOWN if name in columns},
        quality=quality,
        num_unseen=len(seen) - len(candidates),
    )


def _comparable(name: str, values: Tensor) -> Tensor:
    """Float64; a sample that was never learnt comes after all that were."""
    values = values.double()
    return values.masked_fill(values < 0, torch.inf) if name == "first_learnt" else values


def _rank_share(values: Tensor) -> Tensor:
    """(M,) float64 in (0, 1]: each value's mean rank among all, the highest M, divided by M; equal values share one."""
    _, group, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    mean_rank: Tensor = last - (counts - 1) / 2
    return mean_rank[group] / len(values)


def _as_text(value: Tensor) -> str:
    return f"{float(value):.4g}" if value.is_floating_point() else str(int(value))
