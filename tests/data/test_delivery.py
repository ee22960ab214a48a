"""What arrives is the plan, and each loss is credited to its own sample, however the batches travel."""

import gc
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import _get_current_function_mode_stack
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune
from emprune.testing import assert_same_state
from tests.data.datasets import Overtaken, Positions
from tests.data.helpers import assert_every_loss_is_its_own, loss_of, make_loader, make_pruner, train
from tests.messages import Raises

IN_PROCESS = [{}, {"drop_last": True}, {"shuffle": True}, {"generator": torch.Generator()}]
WORKERS = [
    {"num_workers": 2},
    {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 4},
    {"num_workers": 2, "persistent_workers": True, "drop_last": True, "timeout": 60},
    {"num_workers": 3, "persistent_workers": True, "prefetch_factor": 1, "multiprocessing_context": "fork"},
]


def _name(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items() if name != "generator") or "plain"


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("options", IN_PROCESS + WORKERS, ids=_name)
def test_the_plan_arrives_in_order_and_every_loss_is_its_own(options: dict[str, Any]) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, **options)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        assert train(pruner, loader) == pruner.plan.index.tolist()
        assert len(pruner.plan) % 4 == 0 or not options.get("drop_last")
    assert_every_loss_is_its_own(pruner)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked(method: str) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, num_workers=1, persistent_workers=True, multiprocessing_context=method)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        assert train(pruner, loader) == pruner.plan.index.tolist()
    assert_every_loss_is_its_own(pruner)


def make_overtaken(in_order: bool) -> tuple[emprune.DataPruner, emprune.PrunedLoader]:
    """Epoch 0's first batch waits for the fourth, which the other worker fetches after the second."""
    pruner = make_pruner(40, num_epochs=3, tail_epochs=0)
    index = pruner.begin_epoch(0, multiple_of=4).index
    dataset = Overtaken(pruner.num_samples, slow=int(index[0]), later=int(index[12]))
    return pruner, make_loader(pruner, dataset, num_workers=2, persistent_workers=True, in_order=in_order)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_slow_sample_overtaken_by_others(in_order: bool) -> None:
    pruner, loader = make_overtaken(in_order)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        delivered, planned = train(pruner, loader), pruner.plan.index.tolist()
        assert sorted(delivered) == sorted(planned)
        if in_order:
            assert delivered == planned
        elif epoch == 0:
            assert delivered[:4] == planned[4:8]
    assert_every_loss_is_its_own(pruner)


def test_overtaking_batches_do_not_confuse_the_saved_place() -> None:
    pruner, loader = make_overtaken(in_order=False)
    loader.set_epoch(0)
    plan = pruner.plan
    index, _ = next(held := iter(loader))
    pruner.observe(index, loss_of(index))
    state = loader.state_dict()
    del held
    assert state["delivery"]["num_delivered"] == 0
    assert state["delivery"]["ahead"] == index.tolist() == plan.index[4:8].tolist()

    resumed = make_pruner(40, num_epochs=3, tail_epochs=0)
    loader = make_loader(resumed)
    loader.load_state_dict(state)
    loader.set_epoch(0)
    assert train(resumed, loader) == plan.index[:4].tolist() + plan.index[8:].tolist()
    assert loader.num_delivered == len(plan)
    assert [i for index, _ in loader for i in index.tolist()] == plan.index.tolist()


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}], ids=_name)
def test_a_broken_sample_costs_its_batch_alone(options: dict[str, Any]) -> None:
    pruner = make_pruner()
    broken = int(pruner.begin_epoch(0, multiple_of=4).index[1])
    loader = make_loader(pruner, Positions(pruner.num_samples, failing=[broken]), **options)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        batches = [part.tolist() for part in pruner.plan.index.split(4)]
        good = [batch for batch in batches if broken not in batch]
        delivered, iterator = [], iter(loader)
        while True:
            try:
                index, position = next(iterator)
            except StopIteration:
                break
            except ValueError as error:
                assert f"sample {broken} is broken" in str(error)  # noqa: PT017 - the iterator goes on after it
                continue
            assert index.equal(position)
            pruner.reduce(index, loss_of(position))
            delivered.append(index.tolist())
        assert delivered == good
        undelivered = set(pruner.plan.index.tolist()) - {i for batch in good for i in batch}
        state = loader.state_dict()["delivery"]
        assert len(pruner.plan) - state["num_delivered"] - len(state["ahead"]) == len(undelivered)
        assert loader.num_delivered == len(pruner.plan) - len(undelivered)
    assert_every_loss_is_its_own(pruner)


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}], ids=_name)
def test_breaking_off_and_starting_over(options: dict[str, Any]) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, **options)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        for num_batches, (index, position) in enumerate(loader, start=1):
            pruner.reduce(index, loss_of(position))
            if num_batches == 2:
                break
        if epoch % 2:
            assert train(pruner, loader) == pruner.plan.index.tolist()
    assert_every_loss_is_its_own(pruner)


def test_persistent_workers_serve_one_iteration_at_a_time(raises: Raises) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, num_workers=2, persistent_workers=True)
    loader.set_epoch(0)
    running = iter(loader)
    next(running)
    next(running)
    next(iter(loader))
    with raises(emprune.errors.EpochError):
        list(running)


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}], ids=_name)
def test_a_pass_within_another_leaves_the_outer_one_to_go_on(options: dict[str, Any], raises: Raises) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, **options)
    loader.set_epoch(0)
    inner, delivered = iter(loader), []
    for index, position in loader:
        pruner.reduce(index, loss_of(position))
        delivered += index.tolist()
        next(iter(loader))
        if len(delivered) == len(index):
            next(inner)
    assert delivered == pruner.plan.index.tolist()
    loader.set_epoch(1)
    first, second = iter(loader), iter(loader)
    for iterator in (first, second, first):
        next(iterator)
    with raises(emprune.errors.EpochError):
        next(second)


@pytest.mark.parametrize("options", [{}, {"num_workers": 2, "persistent_workers": True}], ids=_name)
def test_a_peek_in_the_midst_of_an_epoch(options: dict[str, Any]) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, **options)
    loader.set_epoch(0)
    delivered = []
    for index, position in loader:
        pruner.reduce(index, loss_of(position))
        delivered += index.tolist()
        state = loader.state_dict()
        shown, batch = loader.peek()
        assert shown.equal(batch)
        assert shown.equal(pruner.plan.index[:4])
        assert_same_state(loader.state_dict(), state)
        assert loader.num_delivered == len(delivered)
    assert delivered == pruner.plan.index.tolist()


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
def test_a_loader_that_is_dropped_is_gone_at_once_and_its_workers_with_it() -> None:
    """Without the garbage collector, which would find them at any time, in the midst of another loader's start."""
    for cls in (DataLoader, StatefulDataLoader):
        dataloader = cls(Positions(22), batch_size=4, num_workers=1, persistent_workers=True)
        loader = emprune.PrunedLoader(dataloader, "random", num_epochs=2, keep=0.5)
        gc.collect()
        gc.disable()
        try:
            for _ in loader.epochs():
                list(loader)
            gone = weakref.ref(loader)
            del loader
            assert gone() is None
        finally:
            gc.enable()


class Counted(DataLoader[Any]):
    num_started = 0

    def __iter__(self) -> Any:
        self.num_started += 1
        return super().__iter__()


def test_an_iterator_that_is_never_used_starts_nothing() -> None:
    """Frameworks make some, to see whether they can."""
    pruner = make_pruner()
    loader = emprune.PrunedLoader(Counted(Positions(22), batch_size=4), pruner)
    loader.set_epoch(0)
    held = iter(loader)
    assert isinstance(loader.loader, Counted)
    assert loader.loader.num_started == 0
    next(held)
    assert loader.loader.num_started == 1


def test_an_iterator_left_behind_before_its_first_batch(raises: Raises) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    loader.set_epoch(0)
    held = iter(loader)
    train(pruner, loader)
    loader.set_epoch(1)
    with raises(emprune.errors.EpochError, value=0):
        next(held)
    assert train(pruner, loader) == pruner.plan.index.tolist()


def test_the_loader_inside_follows_the_epoch_for_a_framework() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    with pytest.raises(emprune.errors.EpochError, match="set_epoch"):
        next(iter(loader.loader))
    with pytest.raises(emprune.errors.EpochError, match="set_epoch"):
        len(loader.loader)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        assert len(loader.loader) == len(loader)
        delivered = [int(i) for index, _ in loader.loader for i in index]
        assert delivered == pruner.plan.index.tolist()
        pruner.observe(pruner.plan.index, loss_of(pruner.plan.index))


def test_mixed_inputs_are_observed_under_each_samples_own_index() -> None:
    """Mixup: the optimised loss is of mixed inputs, the score is the sample's part of it."""
    x, y = torch.randn(22, 3), torch.arange(22) % 2
    pruner = make_pruner()
    dataset = list(zip(x, y, strict=True))
    loader = make_loader(pruner, dataset)
    model = torch.nn.Linear(3, 2)
    clean = torch.full((22,), torch.nan)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        for index, (inputs, target) in loader:
            partner, share = torch.randperm(len(index)), 0.7
            logits = model(share * inputs + (1 - share) * inputs[partner])
            own = F.cross_entropy(logits, target, reduction="none")
            other = F.cross_entropy(logits, target[partner], reduction="none")
            loss = pruner.reduce(index, share * own + (1 - share) * other, logits, score_losses=own)
            loss.backward()
            clean[index] = own.detach()
    pruner.sync()
    seen = pruner.stats.seen
    assert pruner.stats["loss"][seen].equal(clean[seen])


def test_pin_memory_reaches_the_index_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, pin_memory=True)
    assert loader.loader.pin_memory is True
    loader.set_epoch(0)
    if torch.accelerator.is_available():
        index, batch = next(iter(loader))
        assert index.device.type == "cpu"
        assert index.is_pinned()
        assert batch.is_pinned()


def test_a_dataloader_of_a_part_of_the_data() -> None:
    whole = Positions(30)
    part = torch.utils.data.Subset(whole, range(10, 22))
    pruner = make_pruner(12)
    loader = emprune.PrunedLoader(DataLoader(part, batch_size=4), pruner)
    loader.set_epoch(0)
    positions = [(index, batch) for index, batch in loader]
    assert all(batch.equal(index + 10) for index, batch in positions)


@pytest.mark.parametrize("kind", ["tensors", "subset", "joined", "dicts", "list"])
def test_kinds_of_datasets(kind: str) -> None:
    position = torch.arange(22)
    dataset: Any = {
        "tensors": torch.utils.data.TensorDataset(position, position.float()),
        "subset": torch.utils.data.Subset(Positions(40), range(22)),
        "joined": torch.utils.data.ConcatDataset([Positions(9), torch.utils.data.Subset(Positions(40), range(9, 22))]),
        "dicts": [{"position": i, "text": str(i)} for i in range(22)],
        "list": list(range(22)),
    }[kind]
    pruner = make_pruner()
    loader = make_loader(pruner, dataset)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        for index, batch in loader:
            found: Tensor = batch["position"] if kind == "dicts" else batch[0] if kind == "tensors" else batch
            assert found.equal(index)
            if kind == "dicts":
                assert batch["text"] == [str(int(i)) for i in index]
            pruner.reduce(index, loss_of(found))
    assert_every_loss_is_its_own(pruner)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_default_device_does_not_matter(num_workers: int) -> None:
    pruner, dataset = make_pruner(), TensorDataset(torch.arange(22))
    loader = emprune.PrunedLoader(DataLoader(dataset, batch_size=4, shuffle=True, num_workers=num_workers), pruner)
    with torch.device("meta"):  # where nothing can be drawn
        for epoch in range(4):
            loader.set_epoch(epoch)
            assert train(pruner, loader) == pruner.plan.index.tolist()


class _Modes(Dataset[int]):
    """How many function modes of torch's a fetch is under; each slows all that a dataset does in torch."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> int:
        return len(_get_current_function_mode_stack())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samples_are_fetched_under_no_mode_of_ours(num_workers: int) -> None:
    pruner, loader = make_pruner(), DataLoader(_Modes(), batch_size=4, shuffle=True, num_workers=num_workers)
    pruned = emprune.PrunedLoader(loader, pruner)
    pruned.set_epoch(0)
    assert torch.cat([modes for _, modes in pruned]).tolist() == [0] * len(pruner.plan)
