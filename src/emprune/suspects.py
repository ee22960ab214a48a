"""What a run knows of its data: samples that look mislabelled, and samples that were always easy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from emprune.checks import one_of, whole_number
from emprune.errors import ConfigError
from emprune.given import as_tensor, is_integer
from emprune.indexing import mask_of, positions_of
from emprune.methods.static_subset import StaticSubset
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
        predicted: (N,) int32, the class last predicted of all samples, -1 for none; None where it was not recorded.

    Example:
        >>> import emprune
        >>> pruner = emprune.DataPruner("greedy", num_samples=4, num_epochs=2, keep=1.0)
        >>> plan = pruner.begin_epoch(0)
        >>> pruner.observe(torch.arange(4), torch.tensor([0.1, 5.0, 0.2, 4.0]))
        >>> pruner.sync()
        >>> pruner.suspects(2).index
        tensor([1, 3])
        >>> list(pruner.suspects(2).remove_from(["a", "b", "c", "d"]))
        ['a', 'c']
    """

    index: Tensor
    score: Tensor
    by: tuple[str, ...]
    signals: Mapping[str, Tensor]
    quality: Tensor
    num_unseen: int
    predicted: Tensor | None = None

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

    def remove_from(self, dataset: Any) -> Any:
        """Return a dataset without these samples: what `select` of a `datasets.Dataset` gives, or a torch `Subset`.

        Args:
            dataset: The run's, N long.

        Raises:
            ConfigError: If it has another length.
        """
        if len(dataset) != self.num_samples:
            raise ConfigError(
                f"`dataset` must be the run's, of {self.num_samples:,} samples; got {len(dataset):,}. Pass what was "
                "trained on.",
                parameter="dataset",
                value=dataset,
            )
        rest = self.rest.tolist()
        return dataset.select(rest) if hasattr(dataset, "select") else Subset(dataset, rest)

    def static_subset(self) -> StaticSubset:
        """Return the method of a run without these samples, on the same dataset, at `keep_rest`."""
        return StaticSubset(self.quality)

    def keep_rest(self, *, multiple_of: int = 1) -> float:
        """Return the `keep` at which `static_subset` visits all others, rounded down to whole steps.

        Args:
            multiple_of: Samples of a step: batch size, times the accumulation, times the ranks.

        Raises:
            ConfigError: If fewer samples than that are left.
        """
        step = whole_number("multiple_of", multiple_of, least=1)
        size = len(self.rest) // step * step
        if size == 0:
            raise ConfigError(
                f"`multiple_of` must be at most the samples that are left, {len(self.rest):,}; got {multiple_of=}. Ask "
                "for fewer suspects.",
                parameter="multiple_of",
                value=multiple_of,
            )
        return size / self.num_samples

    def to_cleanlab(self, labels: Any = None) -> "pd.DataFrame":
        """Return all N samples as cleanlab's table of label issues, by position.

        Its columns are `is_label_issue` and `label_quality`. There is `given_label` where labels are given, and
        `predicted_label` where the class was recorded. The quality is a share of ranks and no probability.

        Args:
            labels: (N,) integers, the given labels; None to leave them out.

        Raises:
            ConfigError: If they are no N integers.
            ImportError: If pandas is not installed.
        """
        columns = {"is_label_issue": self.mask, "label_quality": self.quality}
        if labels is not None:
            values, found = as_tensor(labels)
            if values.shape != (self.num_samples,) or not is_integer(values):
                raise ConfigError(
                    f"`labels` must be {self.num_samples:,} integers, one for each sample; got {found}. Or leave them "
                    "out.",
                    parameter="labels",
                    value=labels,
                )
            columns["given_label"] = values
        if self.predicted is not None:
            columns["predicted_label"] = self.predicted
        return as_frame(columns)

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
        cells = [[*_two_lines(name), *map(_as_text, values[:_TO_PRINT])] for name, values in columns.items()]
        widths = [max(map(len, column)) for column in cells]
        rows = zip(*cells, strict=True)
        lines = [" ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
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
    if by in _SUSPECT and by not in known:
        raise ConfigError(
            f"`by` must be a signal that the run recorded, of {', '.join(known)}; got {by=}. Train with record={by!r}.",
            parameter="by",
            value=by,
        )
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
    quality = torch.ones(len(seen), dtype=torch.float32)
    quality[candidates[order]] = (torch.arange(len(order), dtype=torch.float64) / len(order)).float()
    index = candidates[order[:k]]
    return RankedSamples(
        index,
        score[order[:k]].float(),
        by=tuple(signs),
        signals={name: columns[name][index] for name in _SHOWN if name in columns},
        quality=quality,
        num_unseen=len(seen) - len(candidates),
        predicted=columns.get("predicted"),
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


def _two_lines(name: str) -> tuple[str, str]:
    """Return a column's head, one word above the other, so that a table fits a terminal of 80 columns."""
    first, _, second = name.rpartition("_")
    return first, second


def _as_text(value: Tensor) -> str:
    return f"{float(value):.3g}" if value.is_floating_point() else str(int(value))
