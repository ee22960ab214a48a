"""capture_features: which layers, which passes, and nothing left behind."""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import emprune
from emprune.memory import mean_pool
from tests.messages import ANY, Raises


class Net(nn.Module):
    """A small image model with layers of several kinds, one that runs twice and one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.blocks = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.head = nn.Linear(6, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.blocks(self.relu(self.stem(x))))
        sequence, _ = self.rnn(x.flatten(2).transpose(1, 2))
        z: Tensor = self.head(sequence.mean(1))
        return z


def views(size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, 8, 8, generator=generator), torch.randn(size, 3, 8, 8, generator=generator)


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_layers_are_pooled_and_flattened() -> None:
    net, (view1, view2) = Net().eval(), views()
    with emprune.memory.capture_features(net, ["stem", "blocks", "blocks.0", "rnn", "head"]) as features:
        z1, z2 = net(view1), net(view2)
    assert [tuple(first.shape) for first, _ in features.values()] == [(4, 4), (4, 5), (4, 5), (4, 6), (4, 2)]
    assert features["head"][0].equal(z1)
    assert features["head"][1].equal(z2)
    assert features["stem"][0].allclose(net.stem(view1).mean((2, 3)), atol=1e-6)
    assert not features["head"][0].requires_grad
    assert z1.requires_grad


def test_one_pass_over_both_views_gives_what_two_give() -> None:
    net, (view1, view2) = Net().eval(), views()
    with emprune.memory.capture_features(net, ["stem", "rnn"]) as two:
        net(view1), net(view2)
    with emprune.memory.capture_features(net, ["stem", "rnn"]) as one:
        net(torch.cat([view1, view2]))
    for name in ("stem", "rnn"):
        for got, expected in zip(one[name], two[name], strict=True):
            assert got.allclose(expected, atol=1e-6)


def test_a_pool_of_ones_own() -> None:
    net, (view1, view2) = Net(), views()
    with emprune.memory.capture_features(net, "stem", pool=lambda output: output.amax((2, 3))) as features:
        net(view1), net(view2)
    assert features["stem"][0].allclose(net.stem(view1).amax((2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "pooled"), [((2, 3), (2, 3)), ((2, 7, 3), (2, 3)), ((2, 3, 4, 5), (2, 3)), ((2, 3, 2, 2, 2), (2, 3))]
)
def test_mean_pool(shape: tuple[int, ...], pooled: tuple[int, ...]) -> None:
    assert mean_pool(torch.ones(shape)).equal(torch.ones(pooled))


def test_one_number_per_sample_is_no_feature(raises: Raises) -> None:
    with raises(emprune.errors.ObservationError, value=(2,)):
        mean_pool(torch.ones(2))


def test_it_works_without_grad_and_in_half_precision() -> None:
    net, (view1, view2) = Net(), views()
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16),
        emprune.memory.capture_features(net, "stem") as features,
    ):
        net(view1), net(view2)
    assert features["stem"][0].dtype == torch.bfloat16
    assert emprune.memory.view_alignment(features).dtype == torch.float32


def test_nothing_is_left_behind() -> None:
    net, (view1, view2) = Net(), views()
    held: list[weakref.ref[Any]] = []
    for _ in range(3):
        with emprune.memory.capture_features(net, ["stem", "rnn"]) as features:
            z = net(view1), net(view2)
        held += [weakref.ref(view) for view in features["stem"]]
        assert num_hooks(net) == 0
    assert [ref() is None for ref in held] == [True] * 4 + [False] * 2
    del features, z
    gc.collect()
    assert [ref() for ref in held] == [None] * 6
    net(view1)  # outside a block, as in an evaluation, nobody looks


def test_a_block_that_fails_takes_its_hooks_away() -> None:
    net, (view1, view2) = Net(), views()
    block = emprune.memory.capture_features(net, "stem")
    block.__enter__()
    net(view1), net(view2)
    assert num_hooks(net) == 2
    assert not block.__exit__(KeyError, KeyError(), None)
    assert num_hooks(net) == 0


def test_features_do_not_hold_the_graph() -> None:
    net, (view1, view2) = Net(), views()
    with emprune.memory.capture_features(net, "stem") as features:
        z1, z2 = net(view1), net(view2)
    graph = weakref.ref(z1)
    emprune.losses.nt_xent(z1, z2).mean().backward()
    del z1, z2
    assert graph() is None
    assert features["stem"][0].grad_fn is None


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
@pytest.mark.parametrize("captured", ["wrapped", "bare"])
def test_a_model_in_distributed_data_parallel(one_rank: None, captured: str) -> None:
    net, (view1, view2) = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), views()
    wrapped = DistributedDataParallel(net)
    with emprune.memory.capture_features(wrapped if captured == "wrapped" else net, "0") as features:
        z1, z2 = wrapped(view1), wrapped(view2)
    emprune.losses.nt_xent(z1, z2).mean().backward()
    assert features["0"][0].allclose(net[0](view1).mean((2, 3)), atol=1e-6)


def test_a_layer_that_is_compiled_itself() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.randn(5, 3)
    compiled: Any = torch.compile(net[0], backend="eager")
    net[0] = compiled
    for _ in range(2):
        net(x)
        with emprune.memory.capture_features(net, "0") as features:
            net(x), net(x)
        assert features["0"][0].allclose(net[0](x))


def run(passes: int, layers: Any = "stem", net: nn.Module | None = None, *, rows: int = 4) -> None:
    net = Net() if net is None else net
    with emprune.memory.capture_features(net, layers):
        for _ in range(passes):
            net(views(rows)[0])


@pytest.mark.parametrize(
    ("passes", "layers", "rows", "value"),
    [
        (0, "stem", 4, ANY),
        (3, "stem", 4, ANY),
        (1, "stem", 5, 5),
        (2, "relu", 4, "relu"),
        (1, "relu", 4, "relu"),
        (2, ["stem", "unused"], 4, "unused"),
    ],
    ids=[
        "none",
        "three",
        "an odd number of rows",
        "a layer twice in each",
        "a layer twice",
        "a layer that did not run",
    ],
)
def test_passes_that_are_not_two_views_are_refused(
    passes: int, layers: Any, rows: int, value: Any, raises: Raises
) -> None:
    net = Net()
    with raises(emprune.errors.ObservationError, value=value):
        run(passes, layers, net, rows=rows)
    assert num_hooks(net) == 0


def test_a_layer_that_is_called_past_the_model_is_refused(raises: Raises) -> None:
    net = Net()
    with (
        raises(emprune.errors.ObservationError, value="stem"),
        emprune.memory.capture_features(net, "stem"),
    ):
        net.stem(views()[0])


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"hidden": x}


def test_a_layer_that_gives_no_tensor_is_refused(raises: Raises) -> None:
    with raises(emprune.errors.ObservationError, value="dict"):
        run(2, "0", nn.Sequential(Dictionary()))


@pytest.mark.parametrize(
    ("layers", "value"), [("block", "block"), (["stem", "module.stem"], "module.stem"), ("", "''"), ([], "none")]
)
def test_unknown_layers_are_refused(layers: Any, value: str, raises: Raises) -> None:
    net = Net()
    with raises(emprune.ConfigError, parameter="layers", value=value):
        run(2, layers, net)
    assert num_hooks(net) == 0


def test_models_whose_layers_do_not_run_in_order_or_in_sight_are_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, value="DataParallel"):
        run(2, "stem", nn.DataParallel(Net()))
    compiled: Any = torch.compile(Net(), backend="eager")
    with raises(emprune.ConfigError):
        run(2, "stem", compiled)


def cls_token(output: Tensor) -> Tensor:
    return output[:, 0]


@pytest.mark.parametrize(("pool", "shape"), [(mean_pool, (4, 3)), (cls_token, (4, 6, 3))])
def test_what_works_in_place_behind_a_layer_does_not_change_its_features(
    pool: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True))
    views = [torch.randn(shape) for _ in range(2)]
    with emprune.memory.capture_features(model, "0", pool=pool) as features:
        for view in views:
            model(view)
    for view, captured in zip(views, features["0"], strict=True):
        assert captured.equal(pool(model[0](view)))
        assert captured.untyped_storage().nbytes() == captured.nbytes  # a part does not hold the whole
