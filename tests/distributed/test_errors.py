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

pytestmark = pytest.mark.distributed
TIMEOUT = 3.0


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
    with mock.patch("emprune.observations.check_planned"):
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


WRONG: dict[str, tuple[Callable[[], None], type[emprune.EmpruneError], str]] = {
    "another seed": (
        another_seed,
        emprune.errors.RankError,
        "All ranks must make the same pruner: got seed=0 on rank 0 and seed=1 on rank 1.",
    ),
    "another policy": (
        another_policy,
        emprune.errors.RankError,
        "All ranks must make the same pruner: got nonfinite='skip' on rank 0 and nonfinite='error' on rank 1.",
    ),
    "another batch size": (
        another_batch_size,
        emprune.errors.RankError,
        "All ranks must call begin_epoch and sync alike: got begin_epoch(0) of 40 samples in multiples of 8 on rank 0 "
        "and begin_epoch(0) of 36 samples in multiples of 12 on rank 1. Do they have the same batch size and "
        "accumulation, and load the same state?",
    ),
    "another batch size in a full epoch": (
        another_batch_size_in_a_full_epoch,
        emprune.errors.RankError,
        "All ranks must call begin_epoch and sync alike: got begin_epoch(0) of 96 samples in multiples of 8 on rank 0 "
        "and begin_epoch(0) of 96 samples in multiples of 12 on rank 1. Do they have the same batch size and "
        "accumulation, and load the same state?",
    ),
    "batches dropped on one alone": (
        dropped_on_one_alone,
        emprune.errors.RankError,
        "All ranks must call begin_epoch and sync alike: got begin_epoch(0) of 48 samples in multiples of 8 on rank 0 "
        "and begin_epoch(0) of 48 samples in multiples of 8, none short on rank 1. Do they have the same batch size "
        "and accumulation, and load the same state?",
    ),
    "another call": (
        another_call,
        emprune.errors.RankError,
        "All ranks must call begin_epoch and sync alike: got begin_epoch(1) of 48 samples in multiples of 24 on rank 0 "
        "and sync() in epoch 0 on rank 1. Do they have the same batch size and accumulation, and load the same state?",
    ),
    "another state": (
        another_state,
        emprune.errors.RankError,
        "Rank 0 and rank 1 are in different plans of one epoch: load the same saved state on every rank.",
    ),
    "another choice": (
        another_choice,
        emprune.errors.RankError,
        "The ranks planned epoch 2 differently: rank 0 and rank 1, from the same columns. Run all of them with the "
        "same versions of emprune, torch and NumPy, on like processors and with equally many threads "
        "(OMP_NUM_THREADS); a method of your own must draw from `context.generator` alone.",
    ),
    "nobody observed": (
        nobody_observed,
        emprune.errors.EpochError,
        "Greedy saw no observation in the whole of epoch 0: did you call reduce(index, losses, logits) in the "
        "training loop?",
    ),
    "not finite on one": (
        not_finite_on_one,
        emprune.errors.ObservationError,
        "Losses and memory terms must be finite: got NaN or infinity for 1 samples of epoch 0 (dataset positions "
        "{stray}). Lower the learning rate or mend the data; or go on without them: nonfinite='skip' or "
        "nonfinite='revisit'.",
    ),
    "out of the plan on one": (
        out_of_plan_on_one,
        emprune.errors.ObservationError,
        "On rank 1: `index` must be in [0, 96), a position in the dataset: got 96. Pass the index the loader "
        "delivers with each batch.",
    ),
    "other quantities": (
        other_quantities,
        emprune.errors.ObservationError,
        "Every rank must measure the same quantities: got ['loss', 'rank0'] and ['loss', 'rank1']. The method's "
        "`measure` returns them.",
    ),
}  # fmt: skip


def caught(work: Callable[[], None]) -> tuple[type[BaseException], str]:
    try:
        work()
    except emprune.EmpruneError as error:
        return type(error), str(error)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(("work", "error", "message"), WRONG.values(), ids=WRONG)
def test_all_ranks_tell_the_same(
    ranks: RankPool, work: Callable[[], None], error: type[emprune.EmpruneError], message: str
) -> None:
    alone = emprune.DataPruner(emprune.Greedy(), num_samples=NUM_SAMPLES, num_epochs=5, keep=0.5)
    stray = int(alone.begin_epoch(0, multiple_of=QUANTUM).index[1])
    assert ranks.run(caught, work) == [(error, message.format(stray=stray))] * 2


def outside() -> str | None:
    group = dist.new_group([0, 1])
    if dist.get_rank() < 2:
        make_pruner(process_group=group)
        return None
    with pytest.raises(emprune.ConfigError) as error:
        make_pruner(process_group=group)
    return str(error.value)


def test_a_group_of_others_is_refused(ranks: RankPool) -> None:
    assert ranks.run(outside, world_size=3) == [
        None,
        None,
        "`process_group` must be one that this process is in: got another's. Give every process the group of those "
        "among which its data is divided, such as device_mesh['data'].get_group().",
    ]


def save_unsynced() -> None:
    pruner = begun()
    observe(pruner, share(pruner)[:3])
    with pytest.raises(emprune.EmpruneError) as error:
        pruner.state_dict()
    assert str(error.value) == (
        "3 observations of this rank are not merged with the others': call sync() on every rank before state_dict()."
    )
    pruner.sync()
    assert int(pruner.state_dict()["columns"]["visits"].sum()) == 6


def test_a_state_is_not_saved_without_the_others_observations(ranks: RankPool) -> None:
    ranks.run(save_unsynced)


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
def test_a_rank_that_is_gone(ranks: RankPool, how: str, world_size: int) -> None:
    last = world_size - 1
    results = ranks.run(gone, how, world_size=world_size, timeout=TIMEOUT, dying=[last] if how == "dies" else [])
    for rank, (message, chained, seconds) in enumerate(results[:last]):
        assert message == (
            "A rank did not take part in the merge of begin_epoch(1) of 24 samples in multiples of 24: it died, or did "
            "not come within the process group's timeout. Every rank must call begin_epoch and sync as often as the "
            f"others. This is rank {rank} of {world_size}; the other's own error, if it left one, is in its log."
        )
        assert chained
        assert seconds < TIMEOUT + 2
