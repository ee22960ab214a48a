"""The loader inside is the user's in everything but the sampler."""

import copy
import inspect
import pickle
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune
from emprune.testing import assert_same_state
from tests.data.datasets import Positions, Vectorised
from tests.data.helpers import make_loader, make_pruner, train
from tests.messages import Raises

Pair = namedtuple("Pair", ["position", "text"])

REPLACED = {"dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last", "collate_fn", "worker_init_fn"}
KEPT: dict[str, Any] = {
    "num_workers": 2,
    "pin_memory": True,
    "timeout": 17.0,
    "multiprocessing_context": torch.multiprocessing.get_context("fork"),
    "generator": torch.Generator(),
    "prefetch_factor": 3,
    "persistent_workers": True,
    "pin_memory_device": "cpu",
    "in_order": False,
}


def nothing(worker_id: int) -> None:
    pass


class Tagged(DataLoader[Any]):
    """Takes an argument of its own, and the others as keyword arguments."""

    def __init__(self, *args: Any, tag: str = "none", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tag = tag


class Collating(DataLoader[Any]):
    """Brings its own collate function, as the loaders of graph libraries do."""

    def __init__(self, dataset: Any, batch_size: int = 1, **kwargs: Any) -> None:
        kwargs.pop("collate_fn", None)
        super().__init__(dataset, batch_size, collate_fn=lambda samples: {"position": torch.stack(samples)}, **kwargs)


class Forgetful(DataLoader[Any]):
    def __init__(self, dataset: Any, depth: int = 1, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)


class Rigid(DataLoader[Any]):
    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset, batch_size=4)


def test_every_argument_of_the_installed_dataloader_is_known_here() -> None:
    arguments = set(inspect.signature(DataLoader.__init__).parameters) - {"self"}
    assert arguments == REPLACED | set(KEPT), "torch's DataLoader has other arguments: see emprune/data/rebuild.py"


OWN: dict[type, dict[str, Any]] = {Tagged: {"tag": "mine"}, StatefulDataLoader: {"snapshot_every_n_steps": 5}}


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize("cls", [DataLoader, Tagged, StatefulDataLoader])
def test_every_argument_survives(cls: type[DataLoader[Any]]) -> None:
    given = {**KEPT, **OWN.get(cls, {})}
    if cls is StatefulDataLoader and "in_order" not in inspect.signature(cls).parameters:
        del given["in_order"]  # torchdata 0.10
    loader: Any = cls(Positions(22), batch_size=4, shuffle=True, worker_init_fn=nothing, **given)
    inside: Any = emprune.PrunedLoader(loader, make_pruner()).loader
    assert type(inside) is cls
    for name, value in given.items():
        assert getattr(inside, name) == value, name
    assert vars(inside)["worker_init_fn"].worker_init_fn is nothing
    assert vars(inside)["collate_fn"].collate_fn is loader.collate_fn


@pytest.mark.parametrize("name", sorted(KEPT))
def test_each_argument_survives_alone(name: str) -> None:
    needs_workers = {"timeout", "multiprocessing_context", "prefetch_factor", "persistent_workers"}
    options = {name: KEPT[name], **({"num_workers": 1} if name in needs_workers else {})}
    inside = make_loader(make_pruner(), **options).loader
    plain = DataLoader(Positions(22), batch_size=4)
    for other in set(KEPT) - {"generator"}:
        expected = KEPT[other] if other == name else options.get(other, getattr(plain, other))
        if other == "prefetch_factor" and options.get("num_workers"):
            expected = KEPT[other] if other == name else 2
        assert getattr(inside, other) == expected, other


def test_a_loader_with_a_collate_function_of_its_own_keeps_it() -> None:
    pruner = make_pruner()
    loader = emprune.PrunedLoader(Collating(Positions(22), 4), pruner)
    loader.set_epoch(0)
    assert all(batch["position"].equal(index) for index, batch in loader)


@pytest.mark.parametrize(
    ("loader", "value"),
    [(Forgetful(Positions(22), batch_size=4), "depth"), (Rigid(Positions(22)), "Rigid")],
    ids=["an argument that is not kept", "another signature"],
)
def test_a_loader_that_cannot_be_rebuilt_is_refused(loader: DataLoader[Any], value: str, raises: Raises) -> None:
    with raises(emprune.ConfigError, value=value):
        emprune.PrunedLoader(loader, make_pruner())


def test_the_users_loader_stays_as_it_was() -> None:
    loader = DataLoader(Positions(22), batch_size=4, generator=torch.Generator().manual_seed(1))
    before = dict(vars(loader))
    pruner = make_pruner()
    pruned = emprune.PrunedLoader(loader, pruner)
    for epoch in range(2):
        pruned.set_epoch(epoch)
        train(pruner, pruned)
    assert vars(loader) == before
    assert [int(i) for batch in loader for i in batch] == list(range(22))
    assert pruned.dataset is loader.dataset


def test_a_vectorised_dataset_is_asked_once_per_batch() -> None:
    pruner = make_pruner()
    dataset = Vectorised(22)
    loader = make_loader(pruner, dataset)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        dataset.calls = 0
        assert train(pruner, loader) == pruner.plan.index.tolist()
        assert dataset.calls == len(loader)


def _as_dict(samples: list[Tensor]) -> dict[str, Any]:
    return {"position": torch.stack(samples), "text": [str(int(s)) for s in samples]}


def _as_pair(samples: list[Tensor]) -> Pair:
    return Pair(torch.stack(samples), [str(int(s)) for s in samples])


def _as_nested(samples: list[Tensor]) -> tuple[Any, ...]:
    return (torch.stack(samples), ({"twice": 2 * torch.stack(samples)}, "constant"))


def _as_strings(samples: list[Tensor]) -> list[str]:
    return [str(int(s)) for s in samples]


def _as_ragged(samples: list[Tensor]) -> list[Tensor]:
    return [s.repeat(int(s) + 1) for s in samples]


def _as_columns(samples: list[Tensor]) -> tuple[Any, ...]:
    return tuple(zip(*[(s.expand(3, 5, 5), int(s)) for s in samples], strict=True))


def _as_object(samples: list[Tensor]) -> object:
    return object()


def _as_time_first(samples: list[Tensor]) -> Tensor:
    return torch.stack(samples).expand(2, len(samples))


def _as_views(samples: list[Tensor]) -> Tensor:
    return torch.stack(samples).repeat(2)


def _as_packed(samples: list[Tensor]) -> Any:
    return torch.nn.utils.rnn.pack_sequence([s.expand(7).float() for s in samples])


def _as_one_row(samples: list[Tensor]) -> dict[str, Tensor]:
    return {"tokens": torch.cat([s.repeat(3) for s in samples])[None]}


COLLATE_FNS: list[Callable[[list[Tensor]], Any]] = [
    _as_dict,
    _as_pair,
    _as_nested,
    _as_strings,
    _as_ragged,
    _as_columns,
    _as_object,
    _as_time_first,
    _as_views,
    _as_packed,
    _as_one_row,
]


@pytest.mark.parametrize("collate_fn", COLLATE_FNS)
def test_a_collate_function_gets_the_samples_alone(collate_fn: Callable[[list[Tensor]], Any]) -> None:
    given: list[list[int]] = []

    def recording(samples: list[Tensor]) -> Any:
        assert isinstance(samples, list)
        given.append([int(s) for s in samples])
        return collate_fn(samples)

    pruner = make_pruner()
    loader = make_loader(pruner, collate_fn=recording)
    for epoch in range(pruner.num_epochs):
        loader.set_epoch(epoch)
        given.clear()
        delivered = []
        for index, batch in loader:
            expected = collate_fn([torch.tensor(int(i)) for i in index])
            assert type(batch) is type(expected)
            assert collate_fn is _as_object or repr(batch) == repr(expected)
            delivered.append(index.tolist())
            pruner.observe(index, index.float())
        assert given == delivered


class Opened(Positions):
    """Readable only after a worker opened it."""

    opened_by: int | None = None

    def __getitem__(self, index: int) -> Tensor:
        assert self.opened_by is not None
        return torch.tensor([index, self.opened_by])


def _open(worker_id: int) -> None:
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, Opened)
    info.dataset.opened_by = worker_id


def test_worker_init_fn_finds_the_users_dataset() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, Opened(22), num_workers=2, worker_init_fn=_open)
    loader.set_epoch(0)
    workers = set()
    for index, batch in loader:
        assert batch[:, 0].equal(index)
        workers |= set(batch[:, 1].tolist())
    assert workers == {0, 1}


class Asking(Positions):
    """Asks the worker for its dataset, as a stream of files would for its part."""

    def __getitem__(self, index: int) -> Tensor:
        info = get_worker_info()
        assert info is not None
        assert isinstance(info.dataset, Asking)
        return super().__getitem__(index)


def test_a_dataset_finds_itself_in_its_worker() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, Asking(22), num_workers=1)
    loader.set_epoch(0)
    assert all(batch.equal(index) for index, batch in loader)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize(
    "options", [{}, {"generator": torch.Generator()}, {"num_workers": 1}], ids=lambda o: "".join(o) or "plain"
)
def test_a_copy_goes_on_as_the_original_does(copied: Callable[[Any], Any], options: dict[str, Any]) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, **options)
    twins = [copied(loader)]
    loader.set_epoch(0)
    train(pruner, loader)
    twins.append(copied(loader))
    loader.set_epoch(1)
    for index, _ in loader:
        pruner.observe(index, index.float())
        if loader.num_delivered == 8:
            break
    twins.append(copied(loader))
    assert_same_state(twins[-1].state_dict(), loader.state_dict())
    for twin in twins:
        for epoch in range(twin.pruner.epoch + 1, pruner.num_epochs):
            twin.set_epoch(epoch)
            assert train(twin.pruner, twin) == twin.pruner.plan.index.tolist()
