"""DataPruner: plan an epoch, observe it, remember."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from emprune.checks import as_whole, whole_number
from emprune.distributed import ProcessGroup, Ranks
from emprune.errors import ConfigError, EmpruneError, EpochError, ObservationError
from emprune.merging import check_same_plan, merge
from emprune.methods.base import Method, check_declared
from emprune.observations import PendingObservations, check_observation, check_plain
from emprune.plan import EpochPlan
from emprune.planning import full_plan, pruned_plan
from emprune.schedule import Schedule
from emprune.state import FORMAT_VERSION, check_state, plain
from emprune.stats import SampleStats
from emprune.summary import PrunerSummary, summarise

__all__ = ["DataPruner"]

_POLICIES = ("error", "skip", "revisit")


@contextmanager
def _on_cpu() -> Iterator[None]:
    """Whatever `set_default_device` and `inference_mode` of torch say: columns and plans are ordinary CPU tensors."""
    with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        yield


class DataPruner:
    """Chooses the samples of each epoch, and remembers what they cost.

    A small state machine that knows no loader, model or framework: `begin_epoch` plans, `reduce` or `observe` records,
    the next `begin_epoch` folds what was recorded into the columns and plans again. The run visits
    `keep` · N · `num_epochs` samples, whatever the method.

    Args:
        method: How samples are chosen, such as `EMP()`.
        num_samples: Samples in the dataset, N.
        num_epochs: Epochs in the run, E.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1]; the papers' pruning rate is 1 - keep. `Full()`
            needs none.
        warmup_epochs: Full-data epochs at the start, paid for by the pruned ones.
        tail_epochs: Full-data epochs at the end; None for the method's own default (0, except for InfoBatch).
        seed: Seed of all the pruner's draws; the global generators are not touched.
        nonfinite: What happens to a sample whose loss or memory term was NaN or infinite, at the next fold: "error"
            raises, "skip" keeps what was remembered before, "revisit" forgets the sample so that it comes first. What
            was never observed otherwise is tried twice, then only where the epoch is not full without it.
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

    @_on_cpu()
    def __init__(
        self,
        method: Method,
        *,
        num_samples: int,
        num_epochs: int,
        keep: float | None = None,
        warmup_epochs: int = 0,
        tail_epochs: int | None = None,
        seed: int = 0,
        nonfinite: str = "error",
        process_group: "ProcessGroup | None" = None,
    ) -> None:
        if not isinstance(method, Method):
            raise ConfigError(
                f"`method` must be a Method such as emprune.EMP(): got {method!r}. Did you forget the ()?"
            )
        check_declared(type(method))
        if nonfinite not in _POLICIES:
            raise ConfigError(f"`nonfinite` must be one of {', '.join(_POLICIES)}: got {nonfinite=}.")
        self.method, self.seed, self.nonfinite = method, whole_number("seed", seed), nonfinite
        self.schedule = _schedule(
            method,
            num_samples=num_samples,
            num_epochs=num_epochs,
            keep=keep,
            warmup_epochs=warmup_epochs,
            tail_epochs=tail_epochs,
        )
        self.stats = SampleStats(self.num_samples, method.columns)
        self.planning_seconds = 0.0
        self._ranks = Ranks(process_group)
        self._pending = PendingObservations(method.measure)
        self._plan: EpochPlan | None = None
        self._planned: Tensor | None = None
        self._weights: Tensor | None = None
        self._chosen = False
        self._churn: float | None = None
        self._observed = False
        self._checked = False
        self._spent = 0

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
        return -1 if self._plan is None else self._plan.epoch

    @property
    def plan(self) -> EpochPlan:
        """The current epoch's plan."""
        if self._plan is None:
            raise EpochError("No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.")
        return self._plan

    @property
    def churn(self) -> float | None:
        """Share of the current epoch's plan that was not in the one before; None in the first epoch."""
        return self._churn

    @property
    def rank(self) -> int:
        """This process's rank among those that share the data."""
        return self._ranks.rank

    @property
    def world_size(self) -> int:
        """How many ranks share the data."""
        return self._ranks.size

    @property
    @_on_cpu()
    def visits(self) -> Tensor:
        """(N,) int32: in how many epochs each sample was observed, this rank's pending observations included."""
        visits = self.stats["visits"].clone()
        index = self._pending.gather()[0].unique()
        visits.index_add_(0, index, (self.stats["last_visit"][index] != self.epoch).int())
        return visits

    @_on_cpu()
    def begin_epoch(self, epoch: int, *, multiple_of: int = 1, drop_last: bool = False) -> EpochPlan:
        """Plan an epoch: unite and fold what the ranks observed in the last one, and select.

        Collective on several ranks where it plans, not where it returns the current plan again.

        Args:
            epoch: The current epoch again (the same plan object), or the next one.
            multiple_of: The quantum, world size · batch size · accumulation, of which pruned epochs are multiples.
            drop_last: Make full epochs multiples of it too.

        Returns:
            The global plan; `plan.shard(rank, world_size)` is one rank's share.

        Raises:
            EpochError: If epochs are out of order or beyond the last, or a method that scores saw no observation on
                any rank.
            ObservationError: If the last epoch's observations are not finite and `nonfinite="error"`.
            ConfigError: If `multiple_of` is not a multiple of the number of ranks, or cannot be met.
            RankError: If the ranks do not do the same, or one does not take part.
        """
        if self._plan is not None and epoch == self._plan.epoch:
            return self._plan
        epoch = self._checked_next(epoch)
        multiple_of = whole_number("multiple_of", multiple_of, least=1, meaning="the samples of an optimizer step")
        if multiple_of % self.world_size:
            raise ConfigError(f"`multiple_of` must be a multiple of the {self.world_size} rank(s): got {multiple_of=}.")
        start = time.perf_counter()
        size = self.schedule.num_kept(
            epoch, spent=self._spent, multiple_of=multiple_of, world_size=self.world_size, drop_last=drop_last
        )
        quantum = f"multiples of {multiple_of}{', none short' if drop_last else ''}"  # what full epochs do not show
        self._fold_pending(f"begin_epoch({epoch}) of {size} samples in {quantum}")
        self._check_observed()
        self._weights = None  # of the last plan, which has them still; planning needs the room
        if self.schedule.is_full(epoch):
            plan, chosen = full_plan(self.num_samples, size, epoch=epoch, seed=self.seed), False
        else:
            previous = self._plan.index if self._plan is not None and self._chosen else None
            plan, chosen = pruned_plan(
                self.method,
                self.stats,
                size,
                epoch=epoch,
                seed=self.seed,
                previous=previous,
                progress=min(1.0, (self._spent + size) / self.schedule.budget),
            )
        check_same_plan(self._ranks, plan)
        self._adopt(plan, chosen)
        self.planning_seconds += time.perf_counter() - start
        return plan

    def observe(
        self, index: Tensor, losses: Tensor, outputs: Any = None, *, score_losses: Tensor | None = None
    ) -> None:
        """Record what a batch cost. Copies; never synchronises with a device or another rank.

        Args:
            index: (B,) int64 positions in the dataset, as delivered by the loader.
            losses: (B,) float, unreduced and unweighted.
            outputs: The model's outputs, such as (B, C) logits, for a method that needs them.
            score_losses: (B,) float, what the score sees where the optimised loss is smoothed, mixed or regularised.

        Raises:
            EpochError: If no epoch has begun.
            ObservationError: If shapes, lengths or dtypes are wrong, a tensor is a DTensor, or an index is not in this
                epoch's plan. Nothing is recorded then.
        """
        check_observation(index, losses, self._planned)
        if score_losses is not None:
            check_observation(index, score_losses, self._planned, "score_losses")
            losses = score_losses
        in_turn = self._pending.is_in_turn(index)
        if outputs is None and self.method.needs_outputs:
            raise ObservationError(
                f"{type(self.method).__name__} needs the model's outputs: "
                "call pruner.reduce(index, losses, logits) with the logits."
            )
        if not self._checked:
            self.method.check_batch(losses, outputs)
            self._checked = True
        deferred = self.method.deferred(losses, outputs)
        check_plain(deferred, "outputs")
        measured = {} if deferred is not None else self._pending.measure(losses, outputs)
        self._pending.append(index, {"loss": losses, **measured}, deferred=deferred, in_turn=in_turn)
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

    def weights(self, index: Tensor) -> Tensor:
        """Return (B,) float32, what this epoch multiplies each sample's loss by, on the device of `index`.

        Raises:
            EpochError: If no epoch has begun.
        """
        plan = self.plan
        if plan.weight is None:
            return torch.ones(len(index), dtype=torch.float32, device=index.device)
        if self._weights is None:
            self._weights = torch.ones(self.num_samples, dtype=torch.float32, device="cpu").index_copy_(
                0, plan.index, plan.weight
            )
        if self._weights.device != index.device:
            self._weights = self._weights.to(index.device)  # once per epoch, not per batch
        return self._weights[index]

    @_on_cpu()
    def sync(self) -> None:
        """Fold pending observations into the columns, and unite them across ranks.

        Collective on several ranks. Legal in mid-epoch, where it never alters the frozen plan.

        Raises:
            ObservationError: If device indices turn out to be out of the plan, or values are not finite and
                `nonfinite="error"`; on every rank alike, and nothing is folded then.
            RankError: If the ranks do not do the same, or one does not take part; nothing is folded then.
        """
        self._fold_pending(f"sync() in epoch {self.epoch}")

    @_on_cpu()
    def summary(self) -> PrunerSummary:
        """Describe the current epoch's plan and the columns behind it; before the first epoch, the run's start."""
        return summarise(
            self.method,
            self._plan,
            self.stats,
            visits=self.visits,
            churn=self._churn,
            seed=self.seed,
            planning_seconds=self.planning_seconds,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on exactly: plain values and CPU tensors, loadable with `weights_only=True`.

        Raises:
            EmpruneError: On several ranks with observations that were not united; call `sync()` on all ranks first.
        """
        if self.world_size > 1 and len(self._pending):
            raise EmpruneError(
                f"{len(self._pending)} observations of this rank are not united with the others': "
                "call pruner.sync() on every rank before state_dict()."
            )
        index, measured = self._pending.gather()
        plan = self._plan and {"epoch": self._plan.epoch, "index": self._plan.index, "weight": self._plan.weight}
        return {
            "format_version": FORMAT_VERSION,
            "run": self._run_settings(),
            "plan": plan,
            "columns": self.stats.state_dict(),
            "pending": {
                "index": index.clone(),
                "measured": {name: values.clone() for name, values in measured.items()},
            },
            "chosen": self._chosen,
            "churn": self._churn,
            "observed": self._observed,
            "spent": self._spent,
            "planning_seconds": self.planning_seconds,
        }

    @_on_cpu()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; the current epoch's plan is then the saved one.

        Raises:
            StateError: If the state's format, method, options, dataset size or run differ; nothing is loaded then.
        """
        check_state(state, self._run_settings())
        plan = None
        if state["plan"] is not None:
            epoch, index, weight = (state["plan"][name] for name in ("epoch", "index", "weight"))
            weight = None if weight is None else weight.cpu()  # torch.load may have put it elsewhere
            plan = EpochPlan(epoch, index.cpu(), weight, self.num_samples)
        self.stats.load_state_dict(state["columns"])
        self._plan, self._planned, self._weights = None, None, None
        if plan is not None:
            self._adopt(plan, state["chosen"])
        self._pending.load(state["pending"]["index"], state["pending"]["measured"])
        self._churn, self._observed, self._spent = state["churn"], state["observed"], state["spent"]
        self.planning_seconds = state["planning_seconds"]

    def _run_settings(self) -> dict[str, Any]:
        schedule = self.schedule
        return {
            "method": self.method.name,
            "options": {name: plain(value) for name, value in self.method.settings().items()},
            "num_samples": schedule.num_samples,
            "num_epochs": schedule.num_epochs,
            "keep": schedule.keep,
            "warmup_epochs": schedule.warmup_epochs,
            "tail_epochs": schedule.tail_epochs,
            "seed": self.seed,
        }

    @cached_property
    def _shared_settings(self) -> dict[str, Any]:
        """What must be the same on every rank."""
        return {**self._run_settings(), "nonfinite": self.nonfinite}

    def _checked_next(self, epoch: int) -> int:
        """Return the epoch as Python's own number; raise EpochError unless it is the next."""
        number = as_whole(epoch)
        if number is None or number != self.epoch + 1 or number >= self.num_epochs:
            allowed = "no epoch is left" if self.epoch + 1 >= self.num_epochs else f"next is epoch {self.epoch + 1}"
            again = "" if self._plan is None else f", or the current one, {self.epoch}, again"
            raise EpochError(
                f"Epochs come in order, 0 to {self.num_epochs - 1}, each planned once: got {epoch=}; {allowed}{again}. "
                "A new run takes a new pruner; a resumed one loads its state before its first set_epoch."
            )
        return number

    def _check_observed(self) -> None:
        if self._plan is not None and self.method.scores and not self._observed:
            raise EpochError(
                f"{type(self.method).__name__} saw no observation in the whole of epoch {self.epoch}: did you call "
                "pruner.reduce(index, losses, logits) in the training loop?"
            )

    def _fold_pending(self, call: str) -> None:
        """Unite what all ranks observed and enter it into the columns; `call` must be the same on all."""
        merged = merge(
            self._ranks,
            *self._pending.gather(),
            plan=self._plan,
            planned=self._planned,
            observed=self._observed,
            run=self._shared_settings if self.world_size > 1 else {},
            call=call,
        )
        if len(merged.invalid):
            self._refuse_or_count(merged.invalid)
        if len(merged.index):
            replaces = type(self.method).fold is Method.fold
            self.stats.fold(self.epoch, merged.index, merged.measured, None if replaces else self.method.fold)
        self._observed = merged.observed
        self._pending.clear()

    def _refuse_or_count(self, bad: Tensor) -> None:
        if self.nonfinite == "error":
            shown = ", ".join(str(int(i)) for i in bad[:5])
            raise ObservationError(
                f"{len(bad)} samples of epoch {self.epoch} were observed with a NaN or infinite loss or memory term "
                f"(dataset positions {shown}{', ...' if len(bad) > 5 else ''}). Lower the learning rate or mend the "
                f"data; or use nonfinite='skip' or nonfinite='revisit' to go on without them."
            )
        self.stats.count_failures(self.epoch, bad, forget=self.nonfinite == "revisit")

    def _adopt(self, plan: EpochPlan, chosen: bool) -> None:
        """Make a plan the current one."""
        planned = torch.zeros(self.num_samples, dtype=torch.bool).index_fill_(0, plan.index, True)
        churn = None
        if self._planned is not None:
            churn = 1 - int((planned & self._planned).count_nonzero()) / max(1, len(plan))
        self._plan, self._planned, self._chosen, self._churn = plan, planned, chosen, churn
        self._observed = False
        self._spent += len(plan)
        self._pending.expect(plan.index[self.rank :: self.world_size], planned)


def _schedule(
    method: Method, *, keep: float | None, warmup_epochs: int, tail_epochs: int | None, **run: int
) -> Schedule:
    """The run's schedule, with what the method says where nothing was given."""
    keep = method.default_keep if keep is None else keep
    if keep is None:
        raise ConfigError(
            "`keep` must be in (0, 1], the mean fraction of the dataset visited per epoch: got keep=None. "
            "Give it, such as keep=0.3; only Full needs none."
        )
    plain = Schedule(**run, keep=keep)
    method.check(num_samples=plain.num_samples, keep=plain.keep)
    if tail_epochs is None:
        tail_epochs = method.default_tail_epochs(num_epochs=plain.num_epochs, keep=plain.keep)
    return replace(plain, warmup_epochs=warmup_epochs, tail_epochs=tail_epochs)
