"""DataPruner: plan an epoch, observe it, remember."""

import time
from typing import Any, get_args

from torch import Tensor

from emprune.checks import one_of, whole_number
from emprune.distributed import ProcessGroup, Ranks
from emprune.engine.budget import schedule_of
from emprune.engine.current import CurrentEpoch, check_next, epoch_number
from emprune.engine.folding import Folding, NonfinitePolicy
from emprune.engine.initial import Initial, checked_key, start_from
from emprune.engine.merging import check_same_plan
from emprune.engine.observations import PendingObservations, check_observation, check_plain
from emprune.engine.plan_options import GroupsLike, PinnedLike, PlanOptions, WeightsLike
from emprune.engine.planning import plan_epoch
from emprune.engine.readings import on_cpu
from emprune.engine.recording import Measuring, Recording, RecordLike
from emprune.engine.room import check_epoch
from emprune.engine.saving import PrunerSaving
from emprune.engine.state import History
from emprune.errors import EpochError
from emprune.lengths import Lengths
from emprune.methods.base import Method
from emprune.methods.registry import as_method
from emprune.plan import EpochPlan
from emprune.stats import SampleStats

__all__ = ["DataPruner", "NonfinitePolicy"]


class DataPruner(PrunerSaving):
    """Chooses the samples of each epoch, and remembers what they cost.

    A small state machine that knows no loader, model or framework. `begin_epoch` plans. `reduce` or `observe` records.
    The next `begin_epoch` folds what was recorded into the columns and plans again. The run visits
    `keep` · N · `num_epochs` samples, whatever the method.

    `PrunedLoader` makes one by itself. Make your own where there is no DataLoader.

    Args:
        method: How samples are chosen: `EMP()`, or by name, "emp" or "emp:beta=5".
        num_samples: Samples in the dataset, N.
        num_epochs: Epochs in the run, E.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1]. The papers' pruning rate is 1 - keep. Only
            `Full()` needs none.
        warmup_epochs: Full-data epochs at the start, paid for by the pruned ones.
        tail_epochs: Full-data epochs at the end, paid for by the pruned ones; None for the method's default, which is
            0 for all but InfoBatch.
        num_steps: Optimizer steps that the epochs divide among them; `PrunedLoader(num_steps=...)` gives both.
        seed: Seed of all the pruner's draws. The global generators are not touched.
        nonfinite: What happens to a sample whose losses or memory terms of an epoch were all NaN or infinite. "error"
            raises. "skip" keeps what was remembered before. "revisit" forgets the sample, so that it comes first. One
            that failed, or was left out, twice in a row, and has no remembered loss, comes last.
        lengths: (N,) integers, such as tokens: each step gets samples of like length. See `PrunedLoader`.
        groups: (N,) labels, or `Groups`: how many of each group an epoch visits. See `PrunedLoader`.
        weights: (N,) numbers above 0, by which an epoch's candidates are drawn. See `PrunedLoader`.
        pinned: Positions of samples that every epoch visits, or (N,) True and False.
        guard: v, at least 1: a sample that was predicted wrong in each of its last v visits is set aside. It is visited
            where too few are left without, at random. For data with wrong labels, which EMP prefers otherwise. It needs
            what `record` needs, and a method that scores. It is a hypothesis of ours.
        initial: What an earlier run on the same data knew of the samples, for the first epoch to choose by. A frame of
            its `to_frame()`, a Parquet file of one, or its `state_dict()`. It must have the loss and the method's own
            columns. A sample without a loss counts as unseen, and comes first. Visits start at 0. After a resume the
            loaded state counts, so `initial` need not be given again.
        data_key: Text that other data, or the same in another order, do not have, such as a dataset's fingerprint.
            States and frames keep it. An `initial` or a state with another one, or without, is refused.
        record: Columns to remember beside the method's, by which `suspects` finds wrong labels: "mean_loss",
            "mean_margin", "first_learnt", "forgotten", "predicted", several of them, or "all". Each takes 4 bytes per
            sample, "forgotten" 5, and 4 more count the visits: 25 in all. All but "mean_loss" need (B, C) logits as
            outputs, and the cross-entropy as the loss, or as `score_losses`.
        process_group: The ranks that share the data; None for the default group, or one process.

    Raises:
        ConfigError: If a value is out of range, or the cost cannot be met.

    Example:
        >>> import emprune, torch
        >>> pruner = DataPruner(emprune.Greedy(), num_samples=10, num_epochs=4, keep=0.5)
        >>> plan = pruner.begin_epoch(0)
        >>> loss = pruner.reduce(plan.index, torch.rand(5))
        >>> len(pruner.begin_epoch(1))
        5
    """

    @on_cpu()
    def __init__(
        self,
        method: Method | str,
        *,
        num_samples: int,
        num_epochs: int,
        keep: float | None = None,
        warmup_epochs: int = 0,
        tail_epochs: int | None = None,
        num_steps: int | None = None,
        seed: int = 0,
        nonfinite: NonfinitePolicy = "error",
        lengths: Lengths | None = None,
        groups: GroupsLike | None = None,
        weights: WeightsLike | None = None,
        pinned: PinnedLike | None = None,
        guard: int | None = None,
        initial: "Initial | None" = None,
        data_key: str | None = None,
        record: RecordLike | None = None,
        process_group: "ProcessGroup | None" = None,
    ) -> None:
        self.method = as_method(method)
        one_of("nonfinite", nonfinite, get_args(NonfinitePolicy))
        self.seed, self.nonfinite = whole_number("seed", seed), nonfinite
        self.schedule = schedule_of(
            self.method,
            num_samples=num_samples,
            num_epochs=num_epochs,
            keep=keep,
            warmup_epochs=warmup_epochs,
            tail_epochs=tail_epochs,
            num_steps=num_steps,
        )
        self.plan_options = PlanOptions.checked(self.method, self.schedule, lengths, groups, weights, pinned, guard)
        self.data_key = checked_key(data_key)
        self.recording = Recording(record, guarded=guard is not None)
        self.recording.check_method(self.method)
        self.stats = SampleStats(self.num_samples, self.method.columns, self.recording.columns)
        self._initial: str | None = None
        if initial is not None:
            self._initial = start_from(self.stats, initial, method=type(self.method).__name__, data_key=self.data_key)
        self._ranks = Ranks(process_group)
        self._measuring = Measuring(self.method, self.recording)
        self._pending = PendingObservations(None if self._measuring.is_empty else self._measuring.measure)
        self._folding = Folding(self.method, self.stats, self._pending, self.recording, nonfinite=nonfinite)
        self._current: CurrentEpoch | None = None
        self._checked_batch = False
        self._history = History()

    @property
    def lengths(self) -> Tensor | None:
        """(N,) int64, by which each step gets samples of like length; or None. May be set before the first epoch."""
        return self.plan_options.lengths

    @lengths.setter
    @on_cpu()
    def lengths(self, lengths: Lengths | None) -> None:
        if self._current is not None:
            raise EpochError(
                f"`lengths` must be set before the first epoch, because they order every plan; got them in epoch "
                f"{self.epoch}. Make a new pruner with `lengths`."
            )
        self.plan_options = self.plan_options.with_lengths(lengths, self.method, self.schedule)
        vars(self).pop("_settings", None)  # they hold the digest of those before

    @on_cpu()
    def begin_epoch(self, epoch: int, *, multiple_of: int = 1, drop_last: bool = False) -> EpochPlan:
        """Plan an epoch: fold what all ranks observed in the last one, and select.

        Collective on several ranks where it plans, not where it returns the current plan again.

        Args:
            epoch: The current epoch again (the same plan object), or the next one. Epochs count from 0.
            multiple_of: The quantum, world size · batch size · accumulation. Pruned epochs are multiples of it.
            drop_last: Make full epochs multiples of it too.

        Returns:
            The global plan; `plan.shard(rank, world_size)` is one rank's share.

        Raises:
            EpochError: If epochs are out of order or beyond the last, or a method that scores saw no observation on
                any rank, or one that follows the gap no validation loss.
            ObservationError: If the last epoch's observations are not finite and `nonfinite="error"`.
            ConfigError: If `multiple_of` is not a positive multiple of the world size, or cannot be met.
            MethodError: If the method returned what it must not.
            RankError: If the ranks do not do the same, or one does not take part.
        """
        epoch = epoch_number(epoch)
        multiple_of = whole_number("multiple_of", multiple_of, least=1, meaning="the samples of an optimizer step")
        if self._current is not None and epoch == self.epoch:
            return self.plan
        check_next(epoch, self._current, num_epochs=self.num_epochs)
        self._pending.wait()
        start = time.perf_counter()
        spent = sum(self._history.num_kept)
        delivery: dict[str, Any] = {"multiple_of": multiple_of, "world_size": self.world_size, "drop_last": drop_last}
        size = self.schedule.num_kept(epoch, spent=spent, **delivery)
        check_epoch(self.plan_options, self.schedule, size, epoch=epoch, **delivery)
        quantum = f"multiples of {multiple_of}{', none short' if drop_last else ''}"  # what full epochs do not show
        call = f"begin_epoch({epoch}) of {size} samples in {quantum}"
        self._folding.fold(self._ranks, self._current, settings=self._same_on_ranks, call=call)
        self._folding.check_observed(self._current)
        self._folding.forget_failed()
        new = plan_epoch(
            self.method,
            self.stats,
            self.schedule,
            size,
            epoch=epoch,
            seed=self.seed,
            last=self._current,
            progress=self.schedule.progress(epoch, visits=spent + size, **delivery),
            gap=self.gap,
            options=self.plan_options,
            step=multiple_of,
            world_size=self.world_size,
        )
        check_same_plan(self._ranks, new.plan)
        churn = None if self._current is None else new.churn_since(self._current)
        self._adopt(new)
        self._folding.restore()
        self._history.append(len(new.plan), churn, time.perf_counter() - start)
        return new.plan

    def observe(
        self, index: Tensor, losses: Tensor, outputs: Any = None, *, score_losses: Tensor | None = None
    ) -> None:
        """Record what a batch cost. Copies; never synchronises with a device or another rank.

        Args:
            index: (B,) int64 positions in the dataset, as delivered by the loader; B is at least 1.
            losses: (B,) float, unreduced and unweighted.
            outputs: The model's outputs, such as (B, C) logits, for a method or a `record` that needs them.
            score_losses: (B,) float, what the score sees where the optimised loss is smoothed, mixed or regularised.

        Raises:
            EpochError: If no epoch has begun.
            ObservationError: If shapes, lengths, dtypes or layouts are wrong, or an index is not in this epoch's plan.
                Nothing is recorded then.
        """
        planned = None if self._current is None else self._current.planned
        check_observation(index, losses, planned)
        if score_losses is not None:
            check_observation(index, score_losses, planned, "score_losses")
            losses = score_losses
        index = self._pending.checked(index)
        self._measuring.check(outputs)
        if not self._checked_batch:
            self.method.check_batch(losses, outputs)
            self._checked_batch = True
        deferred = self._measuring.deferred(losses, outputs)
        if deferred is None:
            self._pending.append(index, {"loss": losses, **self._pending.measure(losses, outputs)})
        else:
            check_plain(deferred, "outputs")
            self._pending.append(index, {"loss": losses}, deferred=deferred)
        self._folding.observed = True

    def reduce(
        self, index: Tensor, losses: Tensor, outputs: Any = None, *, score_losses: Tensor | None = None
    ) -> Tensor:
        """Observe a batch and return its loss, the mean of weight · losses, to call `backward` on.

        Takes and raises what `observe` does; `losses` is not changed.

        Returns:
            A scalar with the graph of `losses`.
        """
        self.observe(index, losses, outputs, score_losses=score_losses)
        if self.plan.weight is None:
            return losses.mean()
        return (self.weights(index).to(losses.device, non_blocking=True) * losses).mean()

    @on_cpu()
    def leave_out(self, index: Tensor) -> None:
        """Record samples of the plan that could not be used, such as damaged ones; loaders do it by themselves.

        Each counts as a visit, and nothing else changes. `nonfinite` says when one comes last.

        Raises:
            EmpruneError: If no epoch has begun, or `index`, (M,) int64 on the CPU, is not in its plan.
        """
        self._folding.leave_out(index, self._begun.planned)

    def observe_validation(self, loss: float | Tensor, *, train_loss: float | Tensor) -> None:
        """Hand over the validation loss, and the training loss that it is held against.

        `EMP(pool="gap")` needs them before an epoch is planned; other methods ignore them. They count until the next
        call. On several ranks call it on one or on all: the mean of what they hand over counts.

        Args:
            loss: Mean loss on the validation data, in evaluation mode.
            train_loss: The same on a fixed random part of the training data, `probe()`; see docs/methods/index.md.

        Raises:
            ObservationError: If one of them is no finite number.
        """
        self._folding.gap.observe(loss, train_loss)

    @on_cpu()
    def sync(self) -> None:
        """Fold pending observations of all ranks into the columns.

        Collective on several ranks. Legal in mid-epoch, where it never alters the frozen plan.

        Raises:
            ObservationError: If device indices turn out to be out of the plan, or values are not finite and
                `nonfinite="error"`; on every rank alike.
            RankError: If the ranks do not do the same, or one does not take part; nothing is folded then.
        """
        call = f"sync() in epoch {self.epoch}"
        self._folding.fold(self._ranks, self._current, settings=self._same_on_ranks, call=call)
