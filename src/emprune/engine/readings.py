"""What can be read of a pruner at any time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emprune.checks import whole_number
from emprune.distributed import Ranks
from emprune.engine.current import CurrentEpoch
from emprune.engine.folding import Folding
from emprune.engine.frame import to_frame
from emprune.engine.observations import PendingObservations
from emprune.engine.plan_options import PlanOptions
from emprune.engine.recording import Recording
from emprune.engine.settings import run_settings
from emprune.engine.state import History
from emprune.errors import EpochError
from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator
from emprune.schedule import Schedule
from emprune.stats import SampleStats
from emprune.summary import PrunerSummary, summarise
from emprune.suspects import RankedSamples, rank_redundant, rank_suspects

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PrunerReadings", "on_cpu"]


@contextmanager
def on_cpu() -> Iterator[None]:
    """Whatever `set_default_device` and `inference_mode` of torch say: columns and plans are ordinary CPU tensors."""
    with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        yield


class PrunerReadings:
    """The part of a `DataPruner` that changes nothing.

    Attributes:
        method: How samples are chosen.
        schedule: How many samples each epoch visits.
        stats: What is remembered of each sample, as of the last fold.
        seed: Seed of all draws.
        plan_options: What is asked of every plan: its `lengths`, `groups`, `weights` and `pinned`.
        data_key: Of the data in their order; or None.
        recording: What is recorded beside the method's columns; its `names`.
    """

    method: Method
    schedule: Schedule
    stats: SampleStats
    seed: int
    plan_options: PlanOptions
    data_key: str | None
    recording: Recording
    _initial: str | None
    _ranks: Ranks
    _pending: PendingObservations
    _current: CurrentEpoch | None
    _folding: Folding
    _history: History

    def __repr__(self) -> str:
        s = self.schedule
        full = "".join(
            f", {name}={value}"
            for name, value in (("warmup_epochs", s.warmup_epochs), ("tail_epochs", s.tail_epochs))
            if value
        )
        at = "not begun" if self._current is None else f"in epoch {self.epoch}"
        return (
            f"DataPruner({self.method!r}, num_samples={s.num_samples}, num_epochs={s.num_epochs}, keep={s.keep}{full}, "
            f"seed={self.seed}: {at})"
        )

    @property
    def num_samples(self) -> int:
        """N."""
        return self.schedule.num_samples

    @property
    def num_epochs(self) -> int:
        """E."""
        return self.schedule.num_epochs

    @property
    def keep(self) -> float:
        """Mean fraction of the dataset visited per epoch."""
        return self.schedule.keep

    @property
    def epoch(self) -> int:
        """The current epoch, -1 before the first."""
        return -1 if self._current is None else self._current.plan.epoch

    @property
    def plan(self) -> EpochPlan:
        """The current epoch's plan."""
        return self._begun.plan

    @property
    def rank(self) -> int:
        """This process's rank among those that share the data."""
        return self._ranks.rank

    @property
    def world_size(self) -> int:
        """How many ranks share the data."""
        return self._ranks.size

    @property
    def num_observed(self) -> int:
        """Samples observed in the current epoch on this rank, since it was planned or loaded."""
        return self._pending.num_observed

    @property
    @on_cpu()
    def is_observed(self) -> bool:
        """Whether each sample of the current epoch was observed or left out, as of the last fold."""
        if self._current is None:
            return False
        is_done = self.stats["last_visit"][self.plan.index] == self.epoch
        return bool((is_done | torch.isin(self.plan.index, self._folding.in_vain)).all())

    @property
    def churn(self) -> float | None:
        """Share of the current epoch's plan that was not in the one before; None in the first epoch."""
        return self._history.churn[-1] if self._history.churn else None

    @property
    def planning_seconds(self) -> float:
        """Spent planning so far, folding included."""
        return sum(self._history.planning_seconds)

    @property
    def history(self) -> list[dict[str, Any]]:
        """By epoch so far: "epoch", "num_kept", "churn", "planning_seconds"."""
        names, values = vars(self._history).keys(), zip(*vars(self._history).values(), strict=True)
        return [{"epoch": epoch, **dict(zip(names, row, strict=True))} for epoch, row in enumerate(values)]

    @property
    @on_cpu()
    def kept(self) -> Tensor:
        """(N,) bool: the samples of the current epoch's plan; the others are dropped in this epoch."""
        return self._begun.planned.clone()

    @property
    @on_cpu()
    def scores(self) -> Tensor | None:
        """(N,) float32: what the next epoch would be chosen by as of the last fold, NaN where never seen.

        None for a method that does not score.
        """
        if not self.method.scores:
            return None
        return self.method.score(self.stats).masked_fill(~self.stats.seen, torch.nan)

    @property
    @on_cpu()
    def visits(self) -> Tensor:
        """(N,) int32: in how many epochs each sample was observed, this rank's pending observations included."""
        visits = self.stats["visits"].clone()
        index = torch.cat([self._pending.gather()[0], self._folding.newly_left_out]).unique()
        new = self.stats["last_visit"][index] != self.epoch
        visits.index_add_(0, index, (new & ~torch.isin(index, self._folding.in_vain)).int())
        return visits

    @property
    @on_cpu()
    def mean_loss(self) -> float:
        """The mean of the last known loss of every seen sample, as of the last fold; NaN before the first.

        Use it to follow the training loss. The mean over the delivered batches is biased: they were chosen. This one
        counts each sample once. Losses of samples that are not visited are from their last visit.
        """
        return float(self.stats["loss"][self.stats.seen].double().mean())

    @property
    def gap(self) -> float | None:
        """The validation loss minus the training loss as of the last fold; None if unknown, or not followed."""
        return self._folding.gap.value

    @on_cpu()
    def probe(self, num_samples: int = 1000) -> Tensor:
        """Return (M,) int64: a fixed random part of the dataset, to measure the training loss on; all if N is smaller.

        It follows from the seed alone. Score it in evaluation mode, for `observe_validation(loss, train_loss=...)`.
        """
        size = whole_number("num_samples", num_samples, least=1)
        return torch.randperm(self.num_samples, generator=derive_generator(self.seed, "probe"))[:size]

    def weights(self, index: Tensor) -> Tensor:
        """Return (B,) float32, what this epoch multiplies each sample's loss by, on the device of `index`.

        Raises:
            EpochError: If no epoch has begun.
        """
        return self._begun.weights(index)

    @on_cpu()
    def summary(self, *, greedy_overlap: bool = True) -> PrunerSummary:
        """Describe the current epoch's plan and the columns behind it; before the first epoch, the run's start.

        Args:
            greedy_overlap: Whether to measure the overlap with the highest losses, which costs a selection of K of N.
        """
        return summarise(
            self.method,
            None if self._current is None else self.plan,
            self.stats,
            visits=self.visits,
            churn=self.churn,
            seed=self.seed,
            planning_seconds=self.planning_seconds,
            measures_overlap=greedy_overlap,
        )

    @on_cpu()
    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas table, a row a sample: its columns, its score, and whether it is kept in this epoch.

        Raises:
            ImportError: If pandas is not installed.
        """
        planned = None if self._current is None else self._current.planned
        return to_frame(self.stats, visits=self.visits, scores=self.scores, kept=planned, data_key=self.data_key)

    @on_cpu()
    def suspects(self, k: int, *, by: str | None = None) -> RankedSamples:
        """Return the k samples that look most as if their label were wrong, as of the last fold; `sync` folds.

        A wrong label is learnt late or never, so its margin stays low and its loss high. Samples are ranked by the mean
        margin where it is recorded, else by the mean loss, else by the last loss, which costs nothing. It is the
        best of what is recorded on two of the three data sets of experiments/label-errors. Samples without an
        observation are not ranked. EMP visits wrong labels most and learns them: random permutation ranks better at the
        same cost.

        Args:
            k: How many.
            by: "mean_margin", "mean_loss" or "loss"; None for the first of them that there is.

        Raises:
            ConfigError: If fewer samples were seen, or the signal was not recorded.

        References:
            The mean margin is AUM (Pleiss et al., NeurIPS 2020, arXiv 2001.10528), of probabilities instead of logits.
        """
        return rank_suspects(self.stats.by_name, self.stats.seen, k, by=by, seed=self.seed)

    @on_cpu()
    def redundant(self, k: int) -> RankedSamples:
        """Return the k samples that were easiest all along, which could be left out for good; as of the last fold.

        Samples are ranked by the mean of their ranks in what there is. That is a low mean loss, a high mean margin,
        learnt early, seldom forgotten; and the last loss if the mean loss is not recorded. This is not judged yet.

        Args:
            k: How many.

        Raises:
            ConfigError: If fewer samples were seen.
        """
        return rank_redundant(self.stats.by_name, self.stats.seen, k, seed=self.seed)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return run_settings(
            self.method, self.schedule, self.seed, self.plan_options, self.data_key, self.recording.setting
        )

    @property
    def _same_on_ranks(self) -> dict[str, Any]:
        """The settings, and the digest of what the run starts from: once a state is loaded, that holds it."""
        return {**self._settings, "initial": self._initial}

    @property
    def _begun(self) -> CurrentEpoch:
        if self._current is None:
            raise EpochError("No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.")
        return self._current
