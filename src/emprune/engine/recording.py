"""Recording: columns beside the method's own, by which the data are known after the run.

It has three steps::

    measure   of (B, C) logits, where they are and in blocks   two highest probabilities, and the first one's class
    merge     across ranks, with the loss                      four bytes a planned sample for each of these
    fold      once an epoch, on the CPU                        the columns

No labels are handed over. Where the loss is the cross-entropy, p_y = exp(-loss). It is the highest probability, or at
most the second. So it is the highest where it is nearer to that, and the prediction is then right.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from emprune.columns import Column
from emprune.engine.observations import check_plain
from emprune.errors import ConfigError, MethodWarning, ObservationError
from emprune.indexing import are_all
from emprune.methods.base import Method
from emprune.stats import SampleStats

__all__ = ["Measuring", "RecordLike", "RecordName", "Recording"]

RecordName: TypeAlias = Literal["mean_loss", "mean_margin", "first_learnt", "forgotten", "predicted"]
RecordLike: TypeAlias = RecordName | Literal["all"] | Sequence[RecordName]
"""What is recorded: a column's name, several, or "all"."""

_COUNT = Column("recorded", "valid observations that the recorded columns are made of", torch.int32)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "mean_loss": (Column("mean_loss", "mean loss over the visits", torch.float32, torch.nan),),
    "mean_margin": (Column("mean_margin", "mean over the visits of p_y - the highest other p", initial=torch.nan),),
    "first_learnt": (Column("first_learnt", "first epoch with a right prediction; -1 before", torch.int32, -1),),
    "forgotten": (
        Column("forgotten", "how often a wrong prediction followed a right one", torch.int32),
        Column("right", "whether the last prediction was right, 0 or 1; -1 before the first", torch.int8, -1),
    ),
    "predicted": (Column("predicted", "the class last predicted; -1 before the first", torch.int32, -1),),
}
_MISSED = Column("missed", "visits in a row with a wrong prediction, up to now", torch.int32)
_HIGHEST, _SECOND, _PREDICTED = "highest probability", "second probability", "predicted class"
_OFF, _MOST_OFF = 0.02, 0.01
"""By how much p_y may miss the probabilities, and for which share of an epoch's samples it may miss by more."""


class Recording:
    """The columns that `record=` and `guard=` ask for.

    Args:
        record: A name, several, "all", or None for none.
        guarded: Whether to count the wrong predictions in a row, which a guard needs.

    Attributes:
        names: What is recorded, in the order of the columns.
        columns: The columns of these, 4 bytes a sample each, 5 of "forgotten", and 4 that count the observations.

    Raises:
        ConfigError: If it has another name.
    """

    def __init__(self, record: Any = None, *, guarded: bool = False) -> None:
        self.names = _checked(record)
        own = [column for name in self.names for column in _COLUMNS[name]] + ([_MISSED] if guarded else [])
        self.columns: tuple[Column, ...] = (_COUNT, *own) if own else ()
        self._ranked = guarded or not {"mean_margin", "first_learnt", "forgotten"}.isdisjoint(self.names)
        self._warned = False

    @property
    def needs_outputs(self) -> bool:
        """Whether it is measured of logits."""
        return self._ranked or "predicted" in self.names

    @property
    def setting(self) -> str | None:
        """What a saved state keeps: the names, or None."""
        return ", ".join(self.names) or None

    @property
    def asked(self) -> str:
        """How a user asked for it, for messages."""
        return "`guard`" if self.setting is None else f"record={self.setting!r}"

    def check_method(self, method: Method) -> None:
        """Raise ConfigError if a method's outputs are known to be none of a prediction."""
        if method.takes_features:
            self.check_without_predictions(f"{method!r}, for which the outputs are hidden features")

    def check_without_predictions(self, what: str) -> None:
        """Raise ConfigError if predictions are to be recorded, before any training.

        Args:
            what: What is trained with, and why it has none.
        """
        if not self.needs_outputs:
            return
        name, rule, got = "guard", "be left out", "a guard"
        if self.setting:
            name, rule, got = "record", "be mean_loss alone, or nothing,", self.asked
        raise ConfigError(
            f"`{name}` must {rule} with {what}; got {got}. {self._advice}", parameter=name, value=self.setting
        )

    @property
    def _advice(self) -> str:
        advice = ["Leave the guard out."] if _MISSED in self.columns else []
        return " ".join([*advice, *(["Record mean_loss alone, or nothing."] if self.setting else [])])

    def measure(self, losses: Tensor, outputs: Any) -> dict[str, Tensor]:
        """Return (B,) float32 of each quantity that the columns are made of.

        Raises:
            ObservationError: If the outputs are not (B, C) logits.
        """
        if not self.needs_outputs:
            return {}
        if not _are_logits(outputs, losses):
            found = f"{tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ObservationError(
                f"`outputs` must be (B, C) logits, one prediction a sample, for {self.asked}; got {found} "
                f"for {len(losses)} losses. {self._advice}"
            )
        check_plain(outputs, "outputs")
        with torch.autocast(outputs.device.type, enabled=False):
            values, classes = torch.softmax(outputs.detach(), 1, dtype=torch.float32).topk(2)
        measured = {_HIGHEST: values[:, 0], _SECOND: values[:, 1]} if self._ranked else {}
        return {**measured, _PREDICTED: classes[:, 0].float()} if "predicted" in self.names else measured

    def folded(
        self, stats: SampleStats, epoch: int, index: Tensor, measured: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (M',) samples and the new values of their recorded columns, for `SampleStats.enter`.

        A sample that was entered in this epoch before is not among them.

        Args:
            stats: The columns, before the same observations enter the others.
            epoch: The epoch they were made in.
            index: (M,) int64, each sample at most once.
            measured: (M,) of the loss and each quantity of `measure`.
        """
        if not self.columns:
            return index[:0], {}
        fresh = stats["last_visit"].index_select(0, index) != epoch
        if not are_all(fresh):
            index, measured = index[fresh], {name: values[fresh] for name, values in measured.items()}
        old = {column.name: stats[column.name].index_select(0, index) for column in self.columns}
        return index, self._new(old, measured, epoch)

    def _new(self, old: Mapping[str, Tensor], measured: Mapping[str, Tensor], epoch: int) -> dict[str, Tensor]:
        count = old["recorded"] + 1
        new = {"recorded": count}
        if "mean_loss" in old:
            new["mean_loss"] = _mean(old["mean_loss"], measured["loss"], count)
        if "predicted" in old:
            new["predicted"] = measured[_PREDICTED]
        if not self._ranked:
            return new
        margin = self._margin(measured)
        right = margin > 0
        if "mean_margin" in old:
            new["mean_margin"] = _mean(old["mean_margin"], margin, count)
        if "first_learnt" in old:
            learnt = old["first_learnt"]
            new["first_learnt"] = learnt.masked_fill(right & (learnt < 0), epoch)
        if "forgotten" in old:
            new["forgotten"] = old["forgotten"] + ((old["right"] == 1) & ~right)
            new["right"] = right
        if "missed" in old:
            new["missed"] = (old["missed"] + 1).masked_fill(right, 0)
        return new

    def _margin(self, measured: Mapping[str, Tensor]) -> Tensor:
        """(M,) float32 in [-1, 1], p_y minus the highest other p; above 0 where the prediction is right."""
        label, highest, second = measured["loss"].neg().exp(), measured[_HIGHEST], measured[_SECOND]
        off = ((label - highest).abs() > _OFF) & (label > second + _OFF)
        num_off = int(off.count_nonzero())
        if num_off > _MOST_OFF * len(off) and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.asked} takes exp(-loss) as the label's probability; got a loss that is no class's "
                f"for {num_off} of {len(off)} samples. Pass the cross-entropy, without smoothing, weights or mixing, "
                "as score_losses.",
                MethodWarning,
                stacklevel=2,
            )
        return (label - second.where(2 * label > highest + second, highest)).clamp_(-1, 1)


class Measuring:
    """What is measured of a batch: the method's quantities, and those that are recorded.

    Args:
        method: The method.
        recording: What is recorded.
    """

    def __init__(self, method: Method, recording: Recording) -> None:
        self._method, self._recording = method, recording
        self._by_method = type(method).measure is not Method.measure

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the loss is measured."""
        return not (self._by_method or self._recording.needs_outputs)

    def check(self, outputs: Any) -> None:
        """Raise ObservationError where outputs are needed and there are none."""
        if outputs is None and (self._method.needs_outputs or self._recording.needs_outputs):
            by_method = self._method.needs_outputs
            needs = type(self._method).__name__ if by_method else self._recording.asked
            raise ObservationError(
                f"`outputs` must be the model's outputs, which {needs} needs; got None. "
                "Call reduce(index, losses, logits)."
            )

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        """Return (B,) of each quantity."""
        recorded = self._recording.measure(losses, outputs)  # first: its refusals say what is recorded
        return {**self._method.measure(losses, outputs), **recorded}

    def deferred(self, losses: Tensor, outputs: Any) -> Tensor | None:
        """Return what `measure` may be given later, with other batches' behind it; None to measure at once."""
        deferred = self._method.deferred(losses, outputs)
        if not self._recording.needs_outputs:
            return deferred
        if not _are_logits(outputs, losses) or (self._by_method and deferred is not outputs):
            return None
        logits: Tensor = outputs
        return logits


def _checked(record: Any) -> tuple[RecordName, ...]:
    """Return the names, each once and in one order, so that a saved state knows them again."""
    known: tuple[RecordName, ...] = get_args(RecordName)
    if record is None:
        return ()
    if isinstance(record, str):
        record = known if record == "all" else (record,)
    if not isinstance(record, Sequence) or any(name not in known for name in record):
        raise ConfigError(
            f"`record` must be names of {', '.join(known)}, or 'all'; got {record!r}. Correct the name, or leave it "
            "out.",
            parameter="record",
            value=record,
        )
    return tuple(name for name in known if name in record)


def _are_logits(outputs: Any, losses: Tensor) -> bool:
    return (
        isinstance(outputs, Tensor)
        and outputs.is_floating_point()
        and outputs.ndim == 2
        and len(outputs) == len(losses)
        and outputs.shape[1] > 1
    )


def _mean(old: Tensor, new: Tensor, count: Tensor) -> Tensor:
    """The mean of `count` values, from that of those before, in float64: no difference of float32 overflows."""
    mean = old.double()
    return new.where(count == 1, mean + (new.double() - mean) / count)
