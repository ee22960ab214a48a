"""What a method is: what it remembers, how a sample is scored, and which samples an epoch visits."""

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from emprune.columns import Column
from emprune.errors import ConfigError
from emprune.randomness import derive_generator
from emprune.stats import SampleStats

__all__ = ["Method", "Selection", "SelectionContext", "check_declared"]


@dataclass(frozen=True)
class Selection:
    """What a method chose.

    Args:
        index: (K,) int64 positions in the dataset, each at most once, in any order.
        weight: (K,) float, what each one's loss is multiplied by; None where all are 1.
    """

    index: Tensor
    weight: Tensor | None = None

    def __repr__(self) -> str:
        return f"Selection({len(self.index)} samples{'' if self.weight is None else ', weighted'})"


@dataclass(frozen=True, kw_only=True)
class SelectionContext:
    """What a method may know when it selects. None of it is to be written to: scores may be a column itself.

    Args:
        stats: The columns.
        scores: (N,) float32; meaningful where `seen`.
        seen: (N,) bool, the samples to choose from: all for a method without scores, otherwise those observed at least
            once. The engine puts the unseen samples first.
        num_seen: How many those are.
        num_kept: How many to choose, at most `num_seen`.
        epoch: The epoch being planned, 0-based.
        seed: The run's seed.
        previous: (K',) int64, what this method selected for the epoch before. None if that epoch was full or had
            unseen samples, if there was none, or with weights, which draw each epoch's candidates.
        progress: The share of the run's visits, or of its `num_steps`, that is made once this epoch is over, in (0, 1].
        gap: The validation loss minus the training loss, in nats; known where the method has `needs_gap`.
        positions: (N,) int64, where these samples are in the dataset, ascending; None if they are all of it. With
            groups, weights or pinned samples a method chooses from a part of the data, and N is the part's.
    """

    stats: SampleStats
    scores: Tensor
    seen: Tensor
    num_seen: int
    num_kept: int
    epoch: int
    seed: int
    previous: Tensor | None
    progress: float = 1.0
    gap: float | None = None
    positions: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """N."""
        return self.stats.num_samples

    def __repr__(self) -> str:
        return (
            f"SelectionContext(epoch={self.epoch}: {self.num_kept} to choose from {self.num_seen} seen of "
            f"{self.num_samples} samples)"
        )

    def of_these(self, values: Tensor) -> Tensor:
        """Return what an array over the whole dataset, such as a ranking, has for the samples of this context."""
        return values if self.positions is None else values.index_select(0, self.positions)

    def generator(self, purpose: str, epoch: int | None = None) -> torch.Generator:
        """Return fresh randomness for a purpose; without `epoch` the same in every epoch of the run."""
        return derive_generator(self.seed, purpose, *([] if epoch is None else [epoch]))


class Method(ABC):
    """A way to choose the samples of an epoch. Pure: no I/O, no ranks, no loaders.

    Subclasses are frozen dataclasses; their fields are the method's options. Greedy is ``score = loss``,
    ``select = top-k``; every other method changes one or two of the five parts below.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]] = ()
    """What is remembered per sample, besides visits, last visit and last loss."""
    scores: ClassVar[bool] = True
    """Whether the method ranks samples by observations; if so unseen samples are visited first."""
    needs_outputs: ClassVar[bool] = False
    """Whether `measure` needs the model's outputs."""
    needs_losses: ClassVar[bool] = True
    """Whether anything depends on the losses. Where not, an integration may observe zeros, to count visits alone."""
    takes_weights: ClassVar[bool] = True
    """Whether the candidates may be drawn by weights; not where a method has a fixed order, or a fixed subset."""
    default_keep: ClassVar[float | None] = None
    """The only `keep` that makes sense, where there is one: it need not be given then."""

    @property
    def takes_features(self) -> bool:
        """Whether the outputs that it needs are hidden features, of which no prediction can be recorded."""
        return False

    @property
    def needs_gap(self) -> bool:
        """Whether `select` needs `context.gap`. The user then calls `observe_validation`; it is an error not to."""
        return False

    def check(self, *, num_samples: int, keep: float) -> None:
        """Raise ConfigError if the method cannot serve this dataset or cost; by default it serves any."""
        return

    def default_tail_epochs(self, *, num_epochs: int, keep: float) -> int:
        """Return the full-data epochs at the end that this method has unless `tail_epochs` is given.

        They are fewer where the run would not be possible with them.
        """
        return 0

    def check_batch(self, losses: Tensor, outputs: Any) -> None:
        """Warn where the first batch of a run shows that an option cannot do what it is for; called once per run."""
        return

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        """Return (B,) of each further quantity to remember, from (B,) losses and the model's outputs, without grad."""
        return {}

    def deferred(self, losses: Tensor, outputs: Any) -> Tensor | None:
        """Return what `measure` may be given in place of the outputs, later and with other batches' behind it.

        (B, ...) of the batch's outputs, which will be copied; None to measure at once. Only where what is measured of a
        sample depends on that sample alone: many small kernels are then saved, which cost more than they compute.
        """
        return None

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        """Return the columns' new values; by default what was measured replaces what was there.

        Args:
            old: (M,) of each column, before.
            new: (M,) of "loss" and of each measured quantity.
            first: (M,) bool, samples observed for the first time.
        """
        return new

    def score(self, stats: SampleStats) -> Tensor:
        """Return (N,) float32 scores, higher means keep; finite where seen."""
        return stats["loss"]

    @abstractmethod
    def select(self, context: SelectionContext) -> Selection:
        """Choose `context.num_kept` of `context.seen`."""

    def settings(self) -> dict[str, Any]:
        """Return the options as plain values, lists or dictionaries, as they are saved and compared on load."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


def check_declared(cls: type[Method]) -> None:
    """Raise ConfigError unless it can select, and a saved state can tell it from others by its name and options."""
    if not isinstance(getattr(cls, "name", None), str) or not dataclasses.is_dataclass(cls):
        raise ConfigError(f"A method must be a frozen dataclass with a class attribute `name`; got {cls.__name__}.")
    if inspect.isabstract(cls):
        raise ConfigError(f"A method must have `select`; got {cls.__name__}, which has none.")
    for base in cls.__mro__[: cls.__mro__.index(Method)]:
        declared = vars(base).get("__dataclass_params__")
        if declared is None and "__init__" in vars(base):
            raise ConfigError(
                "A method's options must be its dataclass's fields, because a saved state keeps those; got "
                f"{cls.__name__} with {base.__name__}.__init__. Decorate {base.__name__} with "
                "@dataclass(frozen=True), and check the options in __post_init__."
            )
        if declared is not None and not declared.frozen:
            raise ConfigError(f"A method must be a frozen dataclass; got {cls.__name__}. Use @dataclass(frozen=True).")
