"""PrunedStream delivers exactly the plan, decodes nothing else, and credits every loss to its own sample."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import emprune
from emprune.data import LEFT_OUT, KeyedStream, StreamIndex
from emprune.testing import assert_same_state, through_disk
from tests.data.helpers import assert_every_loss_is_its_own, loss_of, train
from tests.data.streams import Decode, Shards, keyed, names
from tests.messages import Raises

# More workers than cores, which torch advises against, show more of what can go wrong.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SIZES = [30, 5, 41, 24]


def make(stream: Any = None, *, buffer: int = 8, pruner: dict[str, Any] | None = None, **options: Any) -> Any:
    stream = keyed(SIZES) if stream is None else stream
    settings: dict[str, Any] = {"num_epochs": 4, "keep": 0.3, "tail_epochs": 1, "seed": 0, **(pruner or {})}
    loader = DataLoader(stream, **{"batch_size": 4, **options})
    return emprune.PrunedStream(loader, emprune.Greedy(), shuffle_buffer=buffer, **settings)


@pytest.mark.parametrize("workers", [0, 1, 3, 9])
def test_the_cost_is_exact_whatever_the_workers_and_shards(workers: int) -> None:
    loader = make(num_workers=workers, pruner={"tail_epochs": 0})
    visited = sum(len(train(loader.pruner, loader)) for _ in loader.epochs())
    assert visited == 0.3 * 100 * 4
    assert_every_loss_is_its_own(loader.pruner)


def test_the_plan_is_that_of_a_loader_with_positions() -> None:
    loader, arrays = (
        make(num_workers=2),
        emprune.ArrayLoader(
            (torch.arange(100),), emprune.Greedy(), batch_size=4, num_epochs=4, keep=0.3, tail_epochs=1
        ),
    )
    for _ in zip(loader.epochs(), arrays.epochs(), strict=True):
        assert loader.pruner.plan == arrays.pruner.plan
        assert sorted(train(loader.pruner, loader)) == sorted(train(arrays.pruner, arrays))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_not_in_the_plan_is_not_decoded(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log"
    loader = make(keyed(SIZES, log=log), num_workers=workers)
    loader.set_epoch(0)
    delivered = train(loader.pruner, loader)
    decoded = [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("decode")]
    assert sorted(decoded) == sorted(delivered)
    assert len(decoded) == len(loader.pruner.plan) < 50


def test_a_reader_opens_each_shard_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    loader = make(keyed(SIZES, log=log), pruner={"keep": 0.9})
    loader.set_epoch(0)
    train(loader.pruner, loader)
    opened = [line for line in log.read_text().splitlines() if line.startswith("open")]
    assert sorted(opened) == [f"open s{number}" for number in range(4)]


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    loader = make()
    loader.set_epoch(0)
    train(loader.pruner, loader)
    opened = {loader.dataset.index.shard(position) for position in loader.pruner.plan.index.tolist()}
    read = sum(SIZES[int(name[1:])] for name in opened)  # in the first epoch each is read to its end
    assert loader.num_passed_over == read - len(loader.pruner.plan)
    loader.set_epoch(1)
    ends: dict[str, int] = {}
    for position in loader.pruner.plan.index.tolist():
        shard = loader.dataset.index.shard(position)
        ends[shard] = max(ends.get(shard, 0), position - int(loader.dataset.index.starts[int(shard[1:])]) + 1)
    assert loader.num_passed_over == sum(ends.values()) - len(loader.pruner.plan)
    train(loader.pruner, loader)
    for epoch in (2, 3):
        loader.set_epoch(epoch)
        train(loader.pruner, loader)
    assert loader.num_passed_over == 0  # the last epoch is full


def test_without_a_buffer_the_order_is_that_of_the_shards() -> None:
    loader = make(buffer=1)
    loader.set_epoch(0)
    delivered = train(loader.pruner, loader)
    shards = [loader.dataset.index.shard(position) for position in delivered]
    assert len({shard for shard, before in zip(shards, [None, *shards], strict=False) if shard != before}) == len(
        [shard for shard, before in zip(shards, [None, *shards], strict=False) if shard != before]
    )
    of_one = [position for position, shard in zip(delivered, shards, strict=True) if shard == shards[0]]
    assert of_one == sorted(of_one)


def test_a_sample_moves_no_further_than_the_buffer_and_shards_come_in_another_order_each_epoch() -> None:
    plain, shuffled = make(buffer=1, pruner={"keep": 1.0}), make(buffer=20, pruner={"keep": 1.0})
    orders = []
    for epoch in range(2):
        for loader in (plain, shuffled):
            loader.set_epoch(epoch)
            train(loader.pruner, loader)
        straight, moved = plain._deal(plain.pruner.plan).index, shuffled._deal(shuffled.pruner.plan).index
        place = torch.empty(100, dtype=torch.int64)
        place[straight] = torch.arange(100)
        distance = (place[moved] - torch.arange(100)).abs()
        assert 5 < int(distance.max()) <= 20
        orders.append(straight.tolist())
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_no_loss_is_credited_to_another_sample_after_breaks_and_second_passes(workers: int, persistent: bool) -> None:
    loader = make(num_workers=workers, persistent_workers=persistent, pruner={"keep": 0.7, "tail_epochs": 0})
    for epoch in loader.epochs():
        for number, (index, position) in enumerate(loader):
            loader.reduce(index, loss_of(position))
            if number == epoch:
                break
        assert sorted(train(loader.pruner, loader)) == sorted(loader.pruner.plan.index.tolist())
        again = [i for index, position in loader for i in index[index == position].tolist()]
        assert again == loader._deal(loader.pruner.plan).index.tolist()
    assert_every_loss_is_its_own(loader.pruner)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked(method: str) -> None:
    loader = make(
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=multiprocessing.get_context(method),
        pruner={"num_epochs": 2, "tail_epochs": 0},
    )
    for _ in loader.epochs():
        train(loader.pruner, loader)
    assert_every_loss_is_its_own(loader.pruner)


@pytest.mark.parametrize("workers", [0, 2])
def test_after_a_sample_that_fails_the_pass_goes_on_and_its_batch_can_be_had_again(workers: int) -> None:
    loader = make(keyed(SIZES, failing=50), pruner={"keep": 1.0, "tail_epochs": 0}, num_workers=workers)
    loader.set_epoch(0)
    batches, failures = iter(loader), 0
    delivered: list[int] = []
    while True:
        try:
            index, position = next(batches)
        except ValueError:  # "sample 50 is broken"
            failures += 1
            continue
        except StopIteration:
            break
        assert index.equal(position)
        loader.reduce(index, loss_of(position))
        delivered += index.tolist()
    assert failures == 1
    assert len(delivered) == 96
    healed = make(pruner={"keep": 1.0, "tail_epochs": 0}, num_workers=workers)
    healed.load_state_dict(through_disk(loader.state_dict()))
    assert healed.start_epoch == 0
    healed.set_epoch(0)
    rest = train(healed.pruner, healed)
    assert 50 in rest
    assert sorted(delivered + rest) == list(range(100))
    assert_every_loss_is_its_own(healed.pruner)


@pytest.mark.parametrize("num_done", [0, 3])
@pytest.mark.parametrize(("options", "value"), [({"batch_size": 2}, 2), ({"num_workers": 2}, 2)])
def test_what_a_lost_batch_left_out_of_turn_goes_on_in_the_same_batches_alone(
    num_done: int, options: dict[str, Any], value: int, raises: Raises
) -> None:
    full = {"keep": 1.0, "tail_epochs": 0}
    first = make(pruner=full)
    first.set_epoch(0)
    failing = int(first.rest[4 * num_done])
    loader = make(keyed(SIZES, failing=failing), pruner=full)
    loader.set_epoch(0)
    batches = iter(loader)
    delivered = [int(i) for _ in range(num_done) for i in next(batches)[0]]
    with pytest.raises(ValueError, match="is broken"):
        next(batches)
    delivered += next(batches)[0].tolist()
    saved = through_disk(loader.state_dict())
    other, same = make(pruner=full, **options), make(pruner=full)
    other.set_epoch(0)
    before = other.state_dict()
    with raises(emprune.errors.StateError, value=value):
        other.load_state_dict(saved)
    assert_same_state(other.state_dict(), before)
    same.load_state_dict(saved)
    same.set_epoch(0)
    assert sorted(delivered + train(same.pruner, same)) == list(range(100))


def leave_out(sample: str) -> Any:
    return LEFT_OUT if int(sample) % 10 == 3 else torch.tensor(int(sample))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_decodes_to_nothing_is_left_out_and_not_observed(workers: int) -> None:
    stream = KeyedStream(Shards(SIZES), decode=leave_out, shards=names(SIZES))
    loader = make(stream, num_workers=workers, pruner={"keep": 1.0, "tail_epochs": 0, "num_epochs": 1})
    loader.set_epoch(0)
    delivered = train(loader.pruner, loader)
    assert sorted(delivered) == [i for i in range(100) if i % 10 != 3]
    assert loader.num_delivered == 100
    assert_every_loss_is_its_own(loader.pruner)


def test_a_batch_of_which_nothing_is_left_is_an_error() -> None:
    stream = KeyedStream(Shards([4]), decode=lambda _: LEFT_OUT, shards=["s0"])
    loader = make(stream, pruner={"keep": 1.0, "tail_epochs": 0})
    loader.set_epoch(0)
    with pytest.raises(emprune.ConfigError, match="at least one sample; got none of 4"):
        next(iter(loader))


def run(loader: Any, *, stop_after: int | None = None) -> list[list[int]]:
    """Train to the end, or stop after so many batches."""
    batches: list[list[int]] = []
    for _ in loader.epochs():
        for index, position in loader:
            loader.reduce(index, loss_of(position))
            batches.append(index.tolist())
            if len(batches) == stop_after:
                return batches
    return batches


@pytest.mark.parametrize("stop_after", [1, 3, 7, 8, 20])
def test_a_run_goes_on_exactly_with_workers(stop_after: int) -> None:
    options: dict[str, Any] = {"num_workers": 2, "pruner": {"num_epochs": 3, "keep": 0.5}}
    whole = make(**options)
    expected = run(whole)
    stopped = make(**options)
    first = run(stopped, stop_after=stop_after)
    resumed = make(**options)
    resumed.load_state_dict(through_disk(stopped.state_dict()))
    assert first + run(resumed) == expected
    assert_same_state(resumed.pruner.state_dict(), whole.pruner.state_dict())


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 4), (3, 4), (2, 2), (1, 8)])
def test_a_run_goes_on_with_other_workers_and_batches_and_loses_no_sample(workers: int, batch_size: int) -> None:
    stopped = make(num_workers=2, pruner={"keep": 0.6, "num_epochs": 2, "tail_epochs": 0})
    first = run(stopped, stop_after=5)
    second = make(num_workers=workers, batch_size=batch_size, pruner={"keep": 0.6, "num_epochs": 2, "tail_epochs": 0})
    second.load_state_dict(through_disk(stopped.state_dict()))
    plan = sorted(second.pruner.plan.index.tolist())
    middle = run(second, stop_after=2)
    third = make(num_workers=2, pruner={"keep": 0.6, "num_epochs": 2, "tail_epochs": 0})
    third.load_state_dict(through_disk(second.state_dict()))
    third.set_epoch(0)
    rest = train(third.pruner, third)
    assert sorted(sum(first + middle, []) + rest) == plan  # noqa: RUF017
    assert_every_loss_is_its_own(third.pruner)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_evaluation_has_all_samples_or_those_that_are_asked_for_in_order(workers: int) -> None:
    loader = make(num_workers=workers)
    whole, some = loader.evaluation(batch_size=7), loader.evaluation(index=torch.tensor([99, 3, 40, 41, 42, 71, 70]))
    batches = list(whole)
    assert torch.cat(batches).tolist() == list(range(100))
    assert [len(batch) for batch in batches] == [7] * 14 + [2]
    assert torch.cat(list(some)).tolist() == [3, 40, 41, 42, 70, 71, 99]
    assert (len(whole), len(some)) == (15, 2)


def test_steps_are_those_that_the_loop_makes() -> None:
    loader = make(num_workers=2)
    assert loader.total_steps == len(run(loader))
    assert loader.steps_left == 0
    counted = emprune.PrunedStream(DataLoader(keyed(SIZES), batch_size=4), emprune.Greedy(), num_steps=30, keep=0.3)
    steps = 0
    for index, position in counted.batches():
        counted.reduce(index, loss_of(position))
        steps += 1
    assert steps == 30


def test_it_says_what_it_is() -> None:
    assert repr(make()).startswith("PrunedStream(DataPruner(Greedy(), num_samples=100,")
    assert repr(keyed(SIZES).index) == "StreamIndex(100 samples in 4 shards)"


class TestRefusals:
    def test_a_stream_without_an_index(self, raises: Raises) -> None:
        class Plain(torch.utils.data.IterableDataset[int]):
            def __iter__(self) -> Iterator[int]:
                return iter(range(4))

        loader: Any = DataLoader(Plain(), batch_size=2)
        with raises(emprune.ConfigError, parameter="dataloader"):
            emprune.PrunedStream(loader, "random", num_epochs=1, keep=0.5)

    def test_a_dataset_with_positions(self, raises: Raises) -> None:
        loader: Any = DataLoader(range(4), batch_size=2)  # type: ignore[arg-type]
        with raises(emprune.ConfigError, parameter="dataloader"):
            emprune.PrunedStream(loader, "random", num_epochs=1, keep=0.5)

    def test_a_stream_given_to_the_other_loader(self, raises: Raises) -> None:
        with raises(emprune.ConfigError):
            emprune.PrunedLoader(DataLoader(keyed(SIZES), batch_size=2), "random", num_epochs=1, keep=0.5)

    def test_no_batch_size(self, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="batch_size", value=None):
            make(batch_size=None)

    def test_batches_in_any_order(self, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="in_order", value=False):
            make(num_workers=2, in_order=False)

    @pytest.mark.parametrize("buffer", [0, -1, 2.5])
    def test_a_buffer_that_is_none(self, raises: Raises, buffer: Any) -> None:
        with raises(emprune.ConfigError, parameter="shuffle_buffer", value=buffer):
            make(buffer=buffer)

    def test_lengths(self, raises: Raises) -> None:
        pruner = emprune.DataPruner("random", num_samples=100, num_epochs=2, keep=0.5, lengths=[1] * 100)
        with raises(emprune.ConfigError, parameter="lengths"):
            emprune.PrunedStream(DataLoader(keyed(SIZES), batch_size=4), pruner)

    def test_a_pruner_of_another_size(self, raises: Raises) -> None:
        pruner = emprune.DataPruner("random", num_samples=99, num_epochs=2, keep=0.5)
        with raises(emprune.ConfigError, parameter="num_samples"):
            emprune.PrunedStream(DataLoader(keyed(SIZES), batch_size=4), pruner)

    def test_a_changed_attribute(self, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="shuffle_buffer"):
            make().shuffle_buffer = 3

    @pytest.mark.parametrize("sizes", [[30, 5, 40, 24], [30, 5, 42, 24]])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_shard_of_another_size_is_named_in_the_first_epoch(self, sizes: list[int], workers: int) -> None:
        index = keyed(SIZES).index
        starts = [0, 30, 35, 76]

        def samples(shard: str) -> Any:
            number = int(shard[1:])
            for row in range(sizes[number]):
                yield f"key{starts[number] + row if row < SIZES[number] else 1000}", str(starts[number] + row)

        stream = KeyedStream(samples, decode=Decode(), index=index)
        loader = make(stream, num_workers=workers, pruner={"keep": 1.0})
        loader.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match=rf"'s2' must have the 41 samples of the index; got {sizes[2]}"):
            train(loader.pruner, loader)

    def test_a_sample_that_is_another_is_never_delivered(self) -> None:
        index = StreamIndex(names(SIZES), SIZES, [f"key{p}" if p != 50 else "other" for p in range(100)])
        loader = make(KeyedStream(Shards(SIZES), decode=Decode(), index=index), pruner={"keep": 1.0})
        loader.set_epoch(0)
        with pytest.raises(emprune.ConfigError, match="'s2' must hold 'other' as its sample 15; got 'key50'"):
            train(loader.pruner, loader)

    def test_neither_an_index_nor_shards(self, raises: Raises) -> None:
        with raises(emprune.ConfigError, parameter="index"):
            KeyedStream(Shards(SIZES))


class TestStatesThatAreRefused:
    def test_of_another_stream(self, raises: Raises) -> None:
        state = make().state_dict()
        with raises(emprune.errors.StateError, parameter="index"):
            make(keyed([30, 5, 40, 25])).load_state_dict(state)

    def test_of_another_buffer(self, raises: Raises) -> None:
        state = make().state_dict()
        with raises(emprune.errors.StateError, parameter="shuffle_buffer"):
            make(buffer=9).load_state_dict(state)

    def test_of_another_loader(self, raises: Raises) -> None:
        state = make().state_dict()
        del state["stream"]
        with raises(emprune.errors.StateError):
            make().load_state_dict(state)

    @pytest.mark.parametrize("legs", [[], "legs", [[1, 2, 3]], [[0, 0, 1, 4]]])
    def test_with_damaged_legs(self, raises: Raises, legs: Any) -> None:
        state = make().state_dict()
        state["stream"]["legs"] = legs
        with raises(emprune.errors.StateError, parameter="legs"):
            make().load_state_dict(state)


def test_a_refused_epoch_leaves_an_epoch_as_it_was_divided() -> None:
    first, second = (
        make(pruner={"keep": 1.0, "tail_epochs": 0}),
        make(batch_size=2, pruner={"keep": 1.0, "tail_epochs": 0}),
    )
    first.set_epoch(0)
    batches = iter(first)
    delivered = [int(i) for _ in range(2) for i in next(batches)[0]]
    second.load_state_dict(through_disk(first.state_dict()))
    second.set_epoch(0)
    delivered += next(iter(second))[0].tolist()
    with pytest.raises(emprune.errors.EpochError):
        second.set_epoch(3)
    third = make(batch_size=2, pruner={"keep": 1.0, "tail_epochs": 0})
    third.load_state_dict(through_disk(second.state_dict()))
    third.set_epoch(0)
    assert sorted(delivered + train(third.pruner, third)) == list(range(100))


def test_a_shard_that_could_not_be_read_for_a_moment_is_opened_again() -> None:
    away = {"now": True}

    def samples(shard: str) -> Iterator[tuple[str, int]]:
        for number in range(16):
            if away["now"] and number == 5:
                away["now"] = False
                raise OSError("the share is away for a moment")
            yield str(number), number

    index = StreamIndex(["a"], [16], [str(number) for number in range(16)])
    dataloader = DataLoader(KeyedStream(samples, index=index), batch_size=2)
    loader = emprune.PrunedStream(dataloader, "full", num_epochs=1, shuffle_buffer=1)
    loader.set_epoch(0)
    batches, delivered = iter(loader), []
    while True:
        try:
            delivered += next(batches)[0].tolist()
        except OSError:
            continue
        except StopIteration:
            break
    assert len(delivered) == 14


def test_shards_are_indexed_one_after_another() -> None:
    alive: list[str] = []

    class Opened(list[tuple[str, int]]):
        def __init__(self, shard: str) -> None:
            super().__init__([("0", 0), ("1", 1)])
            alive.append(shard)

        def __del__(self) -> None:
            alive.pop()

    most = []

    def samples(shard: str) -> Opened:
        opened = Opened(shard)
        most.append(len(alive))
        return opened

    KeyedStream(samples, shards=[f"{n}" for n in range(5)])
    assert max(most) <= 2  # the one that is read, and the one before until it is replaced
    with pytest.raises(emprune.errors.ConfigError):
        KeyedStream(samples, shards=["a", "b", "a"])


def test_a_damaged_delivery_is_refused() -> None:
    loader = make()
    loader.set_epoch(0)
    with pytest.raises(emprune.errors.StateError):
        make().load_state_dict({**loader.state_dict(), "delivery": {}})
