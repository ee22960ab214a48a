"""A pruner's saved state: how it is written, and every way in which it can fail to belong to a run.

A state has the same keys, shapes and dtypes at every moment of a run: a plan is (N,) positions, not (K,) samples.
`torch.distributed.checkpoint` loads into what a new pruner would save, and can do so only then.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from emprune.engine.gap import read_gap
from emprune.engine.settings import check_settings, is_same
from emprune.errors import StateError
from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.stats import SampleStats, is_plain

__all__ = ["FORMAT_VERSION", "History", "SavedRun", "read_state", "write_state"]

FORMAT_VERSION = 2

_BY_SAMPLE = ("failed", "left_out")
_PARTS = {"format_version", "settings", "epoch", "plan", "by_method", "observed", *_BY_SAMPLE, "history", "columns"}


@dataclass
class History:
    """What is remembered of each epoch so far.

    Attributes:
        num_kept: Samples in its plan.
        churn: Share of its plan that was not in the one before; None in the first.
        planning_seconds: Spent planning it, the fold before included.
    """

    num_kept: list[int] = field(default_factory=list)
    churn: list[float | None] = field(default_factory=list)
    planning_seconds: list[float] = field(default_factory=list)

    def append(self, num_kept: int, churn: float | None, planning_seconds: float) -> None:
        """Add an epoch."""
        self.num_kept.append(num_kept)
        self.churn.append(churn)
        self.planning_seconds.append(planning_seconds)


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedRun:
    """What a pruner's state says, checked.

    Attributes:
        plan: The current epoch's plan; None before the first epoch.
        by_method: Whether the method alone chose it.
        observed: Whether anything was observed in this epoch.
        failed: (M,) int64, samples of this epoch with an observation that was not finite.
        left_out: (M',) int64, samples of this epoch that could not be used.
        history: Of the epochs so far.
        columns: What is remembered of each sample.
        gap: (), float64, the generalisation gap, NaN before the first; None if the method does not follow it.
    """

    plan: EpochPlan | None
    by_method: bool
    observed: bool
    failed: Tensor
    left_out: Tensor
    history: History
    columns: Mapping[str, Tensor]
    gap: Tensor | None


def write_state(run: SavedRun, *, settings: Mapping[str, Any], num_samples: int) -> dict[str, Any]:
    """Return plain values and CPU tensors that hold a run.

    Args:
        run: What to hold. Its columns are not copied.
        settings: Of the run, by name.
        num_samples: N.
    """
    order = torch.full((num_samples,), -1, dtype=_order_dtype(num_samples))
    weight = torch.zeros(num_samples, dtype=torch.float32)
    if run.plan is not None:
        order[run.plan.index] = torch.arange(len(run.plan), dtype=order.dtype)
        if run.plan.weight is not None:
            weight[run.plan.index] = run.plan.weight
    return {
        "format_version": FORMAT_VERSION,
        "settings": dict(settings),
        "epoch": -1 if run.plan is None else run.plan.epoch,
        "plan": {"order": order, "weight": weight, "weighted": run.plan is not None and run.plan.weight is not None},
        "by_method": run.by_method,
        "observed": run.observed,
        **{name: getattr(run, name).tolist() for name in _BY_SAMPLE},
        "history": {name: list(values) for name, values in vars(run.history).items()},
        "columns": dict(run.columns),
        **({} if run.gap is None else {"gap": run.gap}),
    }


def read_state(
    state: Mapping[str, Any], *, settings: Mapping[str, Any], stats: SampleStats, method: Method
) -> SavedRun:
    """Return what a state holds.

    Args:
        state: What was loaded.
        settings: Of the pruner that loads it, by name.
        stats: Its columns; not changed.
        method: Its method.

    Raises:
        StateError: If it is no pruner's state, of another version or run, or does not hold together.
    """
    _check_parts(state)
    check_settings(state["settings"], settings)
    num_samples, num_epochs, epoch = stats.num_samples, settings["num_epochs"], state["epoch"]
    if not _is_int(epoch) or not -1 <= epoch < num_epochs:
        raise StateError(f"The saved `epoch` must be in [-1, {num_epochs}); got {epoch!r}.")
    for name in ("by_method", "observed"):
        if not isinstance(state[name], bool):
            raise StateError(f"The saved `{name}` must be True or False; got {state[name]!r}.")
    history = _read_history(state["history"], num_epochs=epoch + 1, num_samples=num_samples)
    plan = _read_plan(state["plan"], epoch=epoch, num_samples=num_samples)
    if plan is not None and len(plan) != history.num_kept[-1]:
        raise StateError(
            f"The saved plan must have the {history.num_kept[-1]} samples that the history says; got {len(plan)}."
        )
    for name in _BY_SAMPLE:
        if not _is_list(state[name]) or not all(_is_int(i) and 0 <= i < num_samples for i in state[name]):
            raise StateError(f"The saved `{name}` must be positions in [0, {num_samples}); got {state[name]!r}.")
    stats.check_state(state["columns"], epoch=epoch)
    _check_scores(method, stats.holding(state["columns"]))
    gap = read_gap(state.get("gap"), needed=method.needs_gap)
    return SavedRun(
        plan=plan,
        by_method=state["by_method"],
        observed=state["observed"],
        **{name: torch.tensor(state[name], dtype=torch.int64) for name in _BY_SAMPLE},
        history=history,
        columns=state["columns"],
        gap=gap,
    )


def _check_scores(method: Method, stats: SampleStats) -> None:
    if method.scores and not bool((method.score(stats).isfinite() | ~stats.seen).all()):
        raise StateError(
            "The saved columns must give every seen sample a finite score; got NaN or infinity. Resume from "
            "another checkpoint."
        )


def _check_parts(state: Mapping[str, Any]) -> None:
    version = state.get("format_version") if isinstance(state, Mapping) else None
    if version is None:
        found = f"the keys {sorted(map(str, state))}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise StateError(
            f"A pruner's state must have `format_version`; got {found}. Pass what pruner.state_dict() returned."
        )
    if not is_same(version, FORMAT_VERSION):
        of = "emprune 0.1 wrote it. " if is_same(version, 1) else ""
        raise StateError(
            f"The state's `format_version` must be {FORMAT_VERSION}; got {version!r}. {of}Finish the run with the "
            "emprune that wrote it, or start a new run."
        )
    parts = set(state) - {"gap"}  # which the states of some methods have
    if parts != _PARTS:
        missing = sorted(_PARTS - parts) or sorted(map(str, parts - _PARTS))
        raise StateError(
            f"A pruner's state must have the keys {sorted(_PARTS)}; got {sorted(map(str, state))}, which differ in "
            f"{missing[0]!r}. Pass what pruner.state_dict() returned."
        )


def _read_history(saved: object, *, num_epochs: int, num_samples: int) -> History:
    names = list(vars(History()))
    if not isinstance(saved, Mapping) or set(saved) != set(names):
        raise StateError(f"The saved `history` must have the keys {names}; got {saved!r}.")
    for name, values in saved.items():
        if not _is_list(values) or len(values) != num_epochs:
            raise StateError(
                f"The saved history's `{name}` must have {num_epochs} values, one an epoch; got {values!r}."
            )
    limits: dict[str, tuple[float, float]] = {
        "num_kept": (1, num_samples),
        "churn": (0, 1),
        "planning_seconds": (0, math.inf),
    }
    for name, (lowest, highest) in limits.items():
        for value in saved[name]:
            right = _is_int(value) if name == "num_kept" else isinstance(value, (int, float))
            if not (right and lowest <= value <= highest) and not (value is None and name == "churn"):
                raise StateError(f"The saved history's `{name}` must be in [{lowest}, {highest}]; got {value!r}.")
    return History(**{name: list(values) for name, values in saved.items()})


def _read_plan(saved: object, *, epoch: int, num_samples: int) -> EpochPlan | None:
    if not isinstance(saved, Mapping) or set(saved) != {"order", "weight", "weighted"}:
        raise StateError(f"The saved `plan` must have the keys order, weight and weighted; got {saved!r}.")
    for name, dtype in (("order", _order_dtype(num_samples)), ("weight", torch.float32)):
        value = saved[name]
        if not is_plain(value) or value.shape != (num_samples,) or value.dtype != dtype:
            found = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise StateError(f"The saved plan's `{name}` must be ({num_samples},) {dtype}; got {found}.")
    order, weight = saved["order"].cpu(), saved["weight"].cpu()  # torch.load may have put them elsewhere
    planned = (order >= 0).nonzero().squeeze(1)
    if epoch < 0:
        if len(planned):
            raise StateError(f"The saved plan must be empty before the first epoch; got {len(planned)} samples.")
        return None
    position = order[planned].long()
    index = torch.full((len(planned),), -1, dtype=torch.int64)
    if int(order.min()) < -1 or int(order.max()) >= len(planned):
        raise StateError("The saved plan's `order` must number its samples from 0 on; got numbers beyond their count.")
    index[position] = planned
    if len(index) == 0 or int(index.min()) < 0:
        raise StateError("The saved plan's `order` must number its samples from 0 on, each once; got gaps.")
    if not isinstance(saved["weighted"], bool) or not bool(weight.isfinite().all()):
        raise StateError("The saved plan's `weight` must be finite, and `weighted` True or False; got something else.")
    return EpochPlan(epoch, index, weight[index] if saved["weighted"] else None, num_samples)


def _order_dtype(num_samples: int) -> torch.dtype:
    return torch.int32 if num_samples < 2**31 else torch.int64


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
