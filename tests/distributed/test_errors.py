"""What goes wrong on one rank is told on all of them, at once or within the group's timeout; nobody is left hanging."""

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

import emprune
from emprune.testing import assert_same_state, through_disk
from tests.distributed.pool import RankPool, die
from tests.distributed.runs import NUM_SAMPLES, QUANTUM, make_loader, make_pruner, observe
from tests.messages import Raises

pytestmark = pytest.mark.distributed
TIMEOUT = 3.0
STRAY = object()
"""The position of the first sample of rank 1."""


class Moody(emprune.Greedy):
    """Measures something else on every rank."""

    def measure(self, losses: torch.Tensor, outputs: Any) -> dict[str, torch.Tensor]:
        return {f"rank{dist.get_rank()}": losses}


class Arbitrary(emprune.Greedy):
    """Chooses something else on every rank."""

    def select(self, context: emprune.methods.SelectionContext) -> emprune.methods.Selection:
        return emprune.methods.Selection(super().select(context).index.roll(dist.get_rank()))


def begun(method: emprune.Method | None = None, **options: Any) -> emprune.DataPruner:
    settings = {"num_samples": NUM_SAMPLES, "num_epochs": 5, "keep": 0.5, **options}
    pruner = emprune.DataPruner(method or emprune.Greedy(), **settings)
    pruner.begin_epoch(0, multiple_of=QUANTUM)
    return pruner


def share(pruner: emprune.DataPruner) -> torch.Tensor:
    return pruner.plan.shard(pruner.rank, pruner.world_size).index


def another_seed() -> None:
    begun(seed=dist.get_rank())


def another_policy() -> None:
    begun(nonfinite=("skip", "error")[dist.get_rank()])


def another_batch_size() -> None:
    loader = make_loader("arrays", make_pruner(), batch_size=4 + 2 * dist.get_rank())
    loader.set_epoch(0)


def another_batch_size_in_a_full_epoch() -> None:
    loader = make_loader("arrays", make_pruner("full"), batch_size=4 + 2 * dist.get_rank())
    loader.set_epoch(0)


def dropped_on_one_alone() -> None:
    loader = make_loader("arrays", make_pruner(keep=0.5), batch_size=4, drop_last=dist.get_rank() == 1)
    loader.set_epoch(0)


def another_call() -> None:
    pruner = begun()
    if pruner.rank:
        pruner.sync()
    else:
        pruner.begin_epoch(1, multiple_of=QUANTUM)


def another_state() -> None:
    pruner, other = begun(), begun()
    if pruner.rank:
        state = other.state_dict()
        order = state["plan"]["order"]
        backwards = torch.where(order < 0, -1, order.max() - order).int()
        pruner.load_state_dict({**state, "plan": {**state["plan"], "order": backwards}})
    pruner.sync()


def another_choice() -> None:
    pruner = begun(Arbitrary())
    for epoch in range(1, 5):
        pruner.observe(share(pruner), torch.rand(len(share(pruner))))
        pruner.begin_epoch(epoch, multiple_of=QUANTUM)


def nobody_observed() -> None:
    begun().begin_epoch(1, multiple_of=QUANTUM)


def not_finite_on_one() -> None:
    pruner = begun()
    losses = torch.ones(len(share(pruner)))
    losses[: pruner.rank] = torch.nan
    pruner.observe(share(pruner), losses)
    pruner.begin_epoch(1, multiple_of=QUANTUM)


def out_of_plan_on_one() -> None:
    """As an index on a device that is not in the plan, which is found at the merge."""
    pruner = begun()
    index = share(pruner).clone()
    with mock.patch("emprune.engine.observations.check_planned"):
        pruner.observe(index.fill_(NUM_SAMPLES) if pruner.rank else index, torch.ones(len(index)))
    before = through_disk(pruner.stats.state_dict())
    try:
        pruner.begin_epoch(1, multiple_of=QUANTUM)
    finally:
        assert_same_state(pruner.stats.state_dict(), before)
        assert pruner.epoch == 0


def other_quantities() -> None:
    pruner = begun(Moody())
    pruner.observe(share(pruner), torch.ones(len(share(pruner))))
    pruner.sync()


WRONG: dict[str, tuple[Callable[[], None], type[emprune.EmpruneError], Any]] = {
    "another seed": (another_seed, emprune.errors.RankError, "seed=1"),
    "another policy": (another_policy, emprune.errors.RankError, "nonfinite='error'"),
    "another batch size": (another_batch_size, emprune.errors.RankError, 12),
    "another batch size in a full epoch": (another_batch_size_in_a_full_epoch, emprune.errors.RankError, 12),
    "batches dropped on one alone": (dropped_on_one_alone, emprune.errors.RankError, "none short on rank 1"),
    "another call": (another_call, emprune.errors.RankError, "sync() in epoch 0 on rank 1"),
    "another state": (another_state, emprune.errors.RankError, "rank 1"),
    "another choice": (another_choice, emprune.errors.RankError, 2),
    "nobody observed": (nobody_observed, emprune.errors.EpochError, "epoch 0"),
    "not finite on one": (not_finite_on_one, emprune.errors.ObservationError, STRAY),
    "out of the plan on one": (out_of_plan_on_one, emprune.errors.ObservationError, NUM_SAMPLES),
    "other quantities": (other_quantities, emprune.errors.ObservationError, "rank1"),
}


def caught(work: Callable[[], None]) -> tuple[type[BaseException], str]:
    try:
        work()
    except emprune.EmpruneError as error:
        return type(error), str(error)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(("work", "error", "value"), WRONG.values(), ids=WRONG)
def test_all_ranks_tell_the_same(
    ranks: RankPool, work: Callable[[], None], error: type[emprune.EmpruneError], value: Any, raises: Raises
) -> None:
    if value is STRAY:
        alone = emprune.DataPruner(emprune.Greedy(), num_samples=NUM_SAMPLES, num_epochs=5, keep=0.5)
        value = int(alone.begin_epoch(0, multiple_of=QUANTUM).index[1])
    for kind, message in ranks.run(caught, work):
        assert kind is error
        raises.message(message, value=value, kind=kind.__name__)


def outside() -> str | None:
    group = dist.new_group([0, 1])
    if dist.get_rank() < 2:
        make_pruner(process_group=group)
        return None
    with pytest.raises(emprune.ConfigError) as error:
        make_pruner(process_group=group)
    return str(error.value)


def test_a_group_of_others_is_refused(ranks: RankPool, raises: Raises) -> None:
    *inside, message = ranks.run(outside, world_size=3)
    assert inside == [None, None]
    raises.message(message, parameter="process_group", kind="ConfigError")


def save_unsynced() -> str:
    pruner = begun()
    observe(pruner, share(pruner)[:3])
    with pytest.raises(emprune.EmpruneError) as error:
        pruner.state_dict()
    pruner.sync()
    assert int(pruner.state_dict()["columns"]["visits"].sum()) == 6
    return str(error.value)


def test_a_state_is_not_saved_without_the_others_observations(ranks: RankPool, raises: Raises) -> None:
    for message in ranks.run(save_unsynced):
        raises.message(message, value=3, kind="EmpruneError")


def gone(how: str) -> tuple[str, bool, float] | None:
    """Train an epoch; then the last rank is gone when the others merge. Return the error, its cause, the seconds."""
    pruner = make_pruner("emp")
    pruner.begin_epoch(0, multiple_of=QUANTUM)
    observe(pruner, share(pruner))
    before = through_disk(pruner.stats.state_dict())
    if pruner.rank == pruner.world_size - 1:
        if how == "dies":
            die()
        time.sleep(TIMEOUT + 1)
        return None
    start = time.monotonic()
    with pytest.raises(emprune.errors.RankError) as error:
        pruner.begin_epoch(1, multiple_of=QUANTUM)
    assert_same_state(pruner.stats.state_dict(), before)
    return str(error.value), isinstance(error.value.__cause__, RuntimeError), time.monotonic() - start


@pytest.mark.parametrize(("how", "world_size"), [("dies", 2), ("dies", 3), ("hangs", 3)])
def test_a_rank_that_is_gone(ranks: RankPool, how: str, world_size: int, raises: Raises) -> None:
    last = world_size - 1
    results = ranks.run(gone, how, world_size=world_size, timeout=TIMEOUT, dying=[last] if how == "dies" else [])
    for rank, (message, chained, seconds) in enumerate(results[:last]):
        raises.message(message, value=f"rank {rank} of {world_size}", kind="RankError")
        assert chained
        assert seconds < TIMEOUT + 2
