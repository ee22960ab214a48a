"""DataPruner: plan an epoch, observe it, remember."""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from emprune.budget import schedule_of
from emprune.checks import as_whole, whole_number
from emprune.current import CurrentEpoch
from emprune.distributed import ProcessGroup, Ranks
from emprune.errors import ConfigError, EmpruneError, EpochError, ObservationError, StateError
from emprune.merging import Merged, check_same_plan, merge_local, merge_ranks
from emprune.methods.base import Method
from emprune.methods.registry import as_method
from emprune.observations import PendingObservations, check_observation, check_plain
from emprune.plan import EpochPlan
from emprune.planning import full_plan, pruned_plan
from emprune.readings import PrunerReadings, on_cpu
from emprune.state import History, SavedRun, plain, read_state, write_state
from emprune.stats import SampleStats

__all__ = ["DataPruner", "NonfinitePolicy"]

NonfinitePolicy = Literal["error", "skip", "revisit"]
_NONE = torch.empty(0, dtype=torch.int64)


class DataPruner(PrunerReadings):
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
        nonfinite: What happens to a sample with a NaN or infinite loss or memory term, at the next fold. "error"
            raises. "skip" keeps what was remembered before. "revisit" forgets the sample, so that it comes first. A
            sample that failed twice and was never seen comes last.
        process_group: The ranks that share the data; None for the default group, or one process.

    Raises:
        ConfigError: If a value is out of range, or the cost cannot be met.

    Example:
        >>> import emprune
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
        process_group: "ProcessGroup | None" = None,
    ) -> None:
        self.method = as_method(method)
        if nonfinite not in get_args(NonfinitePolicy):
            raise ConfigError(
                f"`nonfinite` must be one of {', '.join(get_args(NonfinitePolicy))}; got {nonfinite!r}. Choose one."
            )
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
        self.stats = SampleStats(self.num_samples, self.method.columns)
        self._ranks = Ranks(process_group)
        measures = type(self.method).measure is not Method.measure
        self._pending = PendingObservations(self.method.measure if measures else None)
        self._current: CurrentEpoch | None = None
        self._checked_batch = self._observed = False
        self._failed = _NONE
        self._history = History()

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
                any rank.
            ObservationError: If the last epoch's observations are not finite and `nonfinite="error"`.
            ConfigError: If `multiple_of` is not a positive multiple of the world size, or cannot be met.
            MethodError: If the method returned what it must not.
            RankError: If the ranks do not do the same, or one does not take part.
        """
        epoch = self._checked_epoch(epoch)
        multiple_of = whole_number("multiple_of", multiple_of, least=1, meaning="the samples of an optimizer step")
        if self._current is not None and epoch == self.epoch:
            return self.plan
        self._check_next(epoch)
        start = time.perf_counter()
        spent = sum(self._history.num_kept)
        size = self.schedule.num_kept(
            epoch,
            spent=spent,
            multiple_of=multiple_of,
            world_size=self.world_size,
            drop_last=drop_last,
        )
        quantum = f"multiples of {multiple_of}{', none short' if drop_last else ''}"  # what full epochs do not show
        self._fold(f"begin_epoch({epoch}) of {size} samples in {quantum}")
        self._check_observed()
        if self.nonfinite == "revisit":
            self.stats.forget(self._still_failed())
        if self._current is not None:
            self._current.forget_weights()  # planning needs the room
        new = self._planned(epoch, size, spent)
        check_same_plan(self._ranks, new.plan)
        churn = None if self._current is None else new.churn_since(self._current)
        self._adopt(new)
        self._observed, self._failed = False, _NONE
        self._history.append(len(new.plan), churn, time.perf_counter() - start)
        return new.plan

    def observe(
        self, index: Tensor, losses: Tensor, outputs: Any = None, *, score_losses: Tensor | None = None
    ) -> None:
        """Record what a batch cost. Copies; never synchronises with a device or another rank.

        Args:
            index: (B,) int64 positions in the dataset, as delivered by the loader; B is at least 1.
            losses: (B,) float, unreduced and unweighted.
            outputs: The model's outputs, such as (B, C) logits, for a method that needs them.
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
        if outputs is None and self.method.needs_outputs:
            raise ObservationError(
                f"`outputs` must be the model's outputs, which {type(self.method).__name__} needs; got None. "
                "Call reduce(index, losses, logits)."
            )
        if not self._checked_batch:
            self.method.check_batch(losses, outputs)
            self._checked_batch = True
        deferred = self.method.deferred(losses, outputs)
        if deferred is None:
            self._pending.append(index, {"loss": losses, **self._pending.measure(losses, outputs)})
        else:
            check_plain(deferred, "outputs")
            self._pending.append(index, {"loss": losses}, deferred=deferred)
        self._observed = True

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
    def sync(self) -> None:
        """Fold pending observations of all ranks into the columns.

        Collective on several ranks. Legal in mid-epoch, where it never alters the frozen plan.

        Raises:
            ObservationError: If device indices turn out to be out of the plan, or values are not finite and
                `nonfinite="error"`; on every rank alike.
            RankError: If the ranks do not do the same, or one does not take part; nothing is folded then.
        """
        self._fold(f"sync() in epoch {self.epoch}")

    @on_cpu()
    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on exactly: plain values and CPU tensors, loadable with `weights_only=True`.

        Its keys, shapes and dtypes are the same at every moment of a run. Pending observations are folded first. If a
        sample is observed again in the same epoch, its values are overwritten as always. The exception are values that
        a method makes of older ones, such as a running mean.

        Raises:
            EmpruneError: On several ranks with observations that were not folded; call `sync()` on all ranks first.
            ObservationError: If device indices turn out to be out of the plan.
        """
        if self.world_size > 1 and len(self._pending):
            raise EmpruneError(
                f"{len(self._pending)} observations of this rank are not merged with the others': "
                "call sync() on every rank before state_dict()."
            )
        if len(self._pending):
            self._enter(merge_local(*self._pending.gather(), self.plan, self._begun.planned))
        run = SavedRun(
            plan=None if self._current is None else self.plan,
            by_method=self._current is not None and self._current.by_method,
            observed=self._observed,
            failed=self._failed,
            history=self._history,
            columns=self.stats.state_dict(),
        )
        return write_state(run, settings=self._settings, num_samples=self.num_samples)

    @on_cpu()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; the current epoch's plan is then the saved one.

        Raises:
            StateError: If it is no state of such a run, or does not hold together; nothing is loaded then.
        """
        self.restore(self.read_state(state))

    @on_cpu()
    def read_state(self, state: Mapping[str, Any]) -> SavedRun:
        """Return what a state holds, checked; nothing is changed. For a loader, which checks more before it loads.

        Raises:
            StateError: If it is no state of such a run, or does not hold together.
        """
        saved = read_state(state, settings=self._settings, stats=self.stats)
        stats = self.stats.holding(saved.columns)
        if self.method.scores and not bool((self.method.score(stats).isfinite() | ~stats.seen).all()):
            raise StateError(
                "The saved columns must give every seen sample a finite score; got NaN or infinity. Resume from "
                "another checkpoint."
            )
        return saved

    @on_cpu()
    def restore(self, saved: SavedRun) -> None:
        """Take over what `read_state` returned."""
        self.stats.load_state_dict(saved.columns)
        self._history, self._observed, self._failed = saved.history, saved.observed, saved.failed
        self._current = None
        self._pending.clear()
        if saved.plan is not None:
            self._adopt(CurrentEpoch(saved.plan, by_method=saved.by_method))

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What must be the same on every rank, and after a resume."""
        schedule = self.schedule
        options = {name: plain(value) for name, value in self.method.settings().items()}
        return {
            "method": {"name": self.method.name, **options},
            "num_samples": schedule.num_samples,
            "num_epochs": schedule.num_epochs,
            "num_steps": schedule.num_steps,
            "keep": schedule.keep,
            "warmup_epochs": schedule.warmup_epochs,
            "tail_epochs": schedule.tail_epochs,
            "seed": self.seed,
        }

    def _checked_epoch(self, epoch: Any) -> int:
        number = as_whole(epoch)
        if number is None:
            raise EpochError(f"`epoch` must be an integer, counted from 0; got {epoch!r}. Pass an int.")
        return number

    def _check_next(self, epoch: int) -> None:
        following = self.epoch + 1
        if epoch == following < self.num_epochs:
            return
        rule = f"Epochs count from 0 to {self.num_epochs - 1} and come in order, each planned once; got epoch={epoch}"
        if following == self.num_epochs:
            raise EpochError(
                f"{rule}; the run is over. A new run takes a new pruner. A loop that counts steps takes "
                "PrunedLoader(num_steps=...) and `for index, batch in loader.batches()`."
            )
        if self._current is None and epoch == 1:
            raise EpochError(f"{rule} before epoch 0. Count from 0: write set_epoch(epoch - 1).")
        again = "" if self._current is None else f", or epoch {self.epoch} again"
        raise EpochError(
            f"{rule}; next is epoch {following}{again}. To resume a run, load its state before the first epoch."
        )

    def _check_observed(self) -> None:
        if self._current is not None and self.method.scores and not self._observed:
            raise EpochError(
                f"{type(self.method).__name__} saw no observation in the whole of epoch {self.epoch}: did you call "
                "reduce(index, losses, logits) in the training loop?"
            )

    def _planned(self, epoch: int, size: int, spent: int) -> CurrentEpoch:
        if self.schedule.is_full(epoch):
            plan = full_plan(self.num_samples, size, epoch=epoch, seed=self.seed)
            return CurrentEpoch(plan, by_method=False)
        last = self._current
        plan, by_method = pruned_plan(
            self.method,
            self.stats,
            size,
            epoch=epoch,
            seed=self.seed,
            previous=last.plan.index if last is not None and last.by_method else None,
            progress=min(1.0, (spent + size) / self.schedule.budget),
        )
        return CurrentEpoch(plan, by_method=by_method)

    def _fold(self, call: str) -> None:
        """Merge what all ranks observed and enter it into the columns; `call` must be the same on all."""
        index, measured = self._pending.gather()
        if self.world_size > 1:
            current = self._current
            merged, self._observed = merge_ranks(
                self._ranks,
                index,
                measured,
                plan=None if current is None else current.plan,
                planned=None if current is None else current.planned,
                observed=self._observed,
                run={**self._settings, "nonfinite": self.nonfinite},
                call=call,
            )
        else:
            self._ranks.check_size()
            merged = merge_local(index, measured, self.plan, self._begun.planned) if len(index) else None
        if merged is not None:
            self._enter(merged)
        self._refuse_failed()

    def _enter(self, merged: Merged) -> None:
        """Enter what was observed; what is not finite is counted, and refused only by `_refuse_failed`."""
        newly = merged.invalid[~torch.isin(merged.invalid, self._failed)]
        if len(merged.index):
            rule = None if type(self.method).fold is Method.fold else self.method.fold
            self.stats.fold(self.epoch, merged.index, merged.measured, rule, counted=self._failed)
        self.stats.count_failures(self.epoch, newly)
        self._failed = torch.cat([self._failed, newly])
        self._pending.clear()

    def _still_failed(self) -> Tensor:
        """Samples of this epoch with observations that were not finite, and none since that was."""
        return self._failed[self.stats["failures"][self._failed] > 0]

    def _refuse_failed(self) -> None:
        failed = self._still_failed()
        if self.nonfinite == "error" and len(failed):
            shown = ", ".join(str(int(i)) for i in failed[:5])
            raise ObservationError(
                f"Losses and memory terms must be finite; got NaN or infinity for {len(failed)} samples of epoch "
                f"{self.epoch} (dataset positions {shown}{', ...' if len(failed) > 5 else ''}). Lower the learning "
                "rate, or correct the data. To go on without them, use nonfinite='skip' or nonfinite='revisit'."
            )

    def _adopt(self, current: CurrentEpoch) -> None:
        """Make an epoch the current one."""
        self._current = current
        self._pending.expect(current.plan.index[self.rank :: self.world_size], current.planned)
