"""nt_xent that gathers from two ranks is what one process computes over the whole batch."""

import multiprocessing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import emprune
from emprune.distributed import Ranks
from tests.messages import Raises

needs_ranks = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
BATCH_SIZE = 3  # of a rank


def make_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def whole_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(2 * BATCH_SIZE, 4, generator=generator, dtype=torch.float64)
    return first, first + torch.randn(first.shape, generator=generator, dtype=torch.float64)


def step(model: nn.Module, view1: Tensor, view2: Tensor, *, gather: bool) -> tuple[Tensor, list[Tensor]]:
    """The losses, and the gradient of their mean."""
    losses = emprune.losses.nt_xent(model(view1), model(view2), temperature=0.2, gather=gather)
    losses.mean().backward()
    return losses.detach(), [p.grad for p in model.parameters() if p.grad is not None]


def _run_rank(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=timedelta(seconds=30)
    )
    view1, view2 = (view.split(BATCH_SIZE)[rank] for view in whole_batch())
    not_contiguous = torch.arange(6.0).view(3, 2).T + 10 * rank
    result = {
        "averaged": step(DistributedDataParallel(make_model()), view1, view2, gather=True),
        "alone": step(make_model(), view1, view2, gather=False),
        "without a graph": emprune.losses.nt_xent(view1, view2, gather=True, process_group=dist.group.WORLD),
        "gathered": Ranks().gather(not_contiguous),
    }
    torch.save(result, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two forked processes that form a group computed."""
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run_rank, args=(folder, rank), daemon=True) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive, "a rank hangs"
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


@needs_ranks
@pytest.mark.distributed
def test_the_losses_are_those_of_the_whole_batch(two_ranks: list[dict[str, Any]]) -> None:
    losses, _ = step(make_model(), *whole_batch(), gather=False)
    assert torch.cat([rank["averaged"][0] for rank in two_ranks]).allclose(losses)
    assert not torch.cat([rank["alone"][0] for rank in two_ranks]).allclose(losses)
    assert torch.cat([rank["without a graph"] for rank in two_ranks]).allclose(emprune.losses.nt_xent(*whole_batch()))


@needs_ranks
@pytest.mark.distributed
def test_the_averaged_gradients_are_those_of_the_whole_batch(two_ranks: list[dict[str, Any]]) -> None:
    _, expected = step(make_model(), *whole_batch(), gather=False)
    for rank in two_ranks:
        for gradient, of_one in zip(rank["averaged"][1], expected, strict=True):
            assert gradient.allclose(of_one, rtol=1e-9, atol=1e-12)


@needs_ranks
@pytest.mark.distributed
def test_parts_come_by_rank(two_ranks: list[dict[str, Any]]) -> None:
    for rank in two_ranks:
        assert rank["gathered"].tolist() == [[0, 2, 4], [1, 3, 5], [10, 12, 14], [11, 13, 15]]


def test_a_group_without_gathering_is_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="process_group"):
        emprune.losses.nt_xent(torch.ones(2, 2), torch.ones(2, 2), process_group=object())  # type: ignore[arg-type]
