"""The merge of what several ranks observed, next to what one would do without it."""

import multiprocessing
import tempfile
from collections.abc import Callable
from queue import Queue
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.cost.memory import peak, resident
from benchmarks.cost.run import KEEP, Run
from benchmarks.cost.timing import seconds, spread

__all__ = ["measure"]


def measure(*, method: str, num_samples: int, world_size: int, repeats: int) -> dict[str, Any]:
    """Time `sync` of whole epochs on gloo ranks of this machine, and on one rank alone.

    Args:
        method: A method and its options.
        num_samples: N.
        world_size: Processes, each with as many threads as this one.
        repeats: Epochs that are timed.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        results: Any = context.Queue()
        settings = (method, num_samples, repeats, torch.get_num_threads())
        ranks = [
            context.Process(target=_rank, args=(rank, world_size, f"file://{folder}/rendezvous", results, *settings))
            for rank in range(world_size)
        ]
        for process in ranks:
            process.start()
        measured = [results.get() for _ in ranks]
        for process in ranks:
            process.join()
    first = next(result for result in measured if "merge" in result)
    peak_bytes = max(result["peak_bytes"] for result in measured)
    return {**first, "peak_bytes": peak_bytes, "peak_bytes_per_sample": peak_bytes / num_samples, "keep": KEEP}


def _rank(rank: int, size: int, rendezvous: str, results: "Queue[Any]", *settings: Any) -> None:
    """Be one of the ranks; the first tells the times."""
    method, num_samples, repeats, threads = settings
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
    start = resident()
    run = Run(method, num_samples)
    merge = _times(run, repeats)
    result: dict[str, Any] = {"num_kept": len(run.pruner.plan), "peak_bytes": peak() - start}
    own = run.pruner.plan.shard(rank, size).index
    del run
    dense = [_together(lambda: _dense(own, num_samples)) for _ in range(repeats)]
    pairs = [_together(lambda: _pairs(own, num_samples, size)) for _ in range(repeats)]
    dist.destroy_process_group()
    if rank == 0:
        alone = _times(Run(method, num_samples), repeats)
        names = ("merge", "dense", "pairs", "alone")
        result |= {name: spread(times) for name, times in zip(names, (merge, dense, pairs, alone), strict=True)}
    results.put(result)


def _times(run: Run, repeats: int) -> list[float]:
    """Seconds that `sync` takes after each of the first epochs."""
    times = []
    for _ in range(repeats):
        run.plan()
        run.observe()
        times.append(_together(run.pruner.sync))
    return times


def _together(work: Callable[[], object]) -> float:
    """Time a call that all ranks begin at the same time."""
    if dist.is_initialized():
        dist.barrier()
    return seconds(work)


def _dense(own: Tensor, num_samples: int) -> Tensor:
    """A mean over ranks of one quantity: the sum and the count of all N samples, reduced."""
    total = torch.zeros(num_samples).index_copy_(0, own, torch.rand(len(own)))
    count = torch.zeros(num_samples).index_fill_(0, own, 1)
    dist.all_reduce(total)
    dist.all_reduce(count)
    return total / count


def _pairs(own: Tensor, num_samples: int, size: int) -> Tensor:
    """The positions and one quantity of all ranks, gathered and written into a column."""
    losses = torch.rand(len(own))
    indices, values = [torch.empty_like(own) for _ in range(size)], [torch.empty_like(losses) for _ in range(size)]
    dist.all_gather(indices, own)
    dist.all_gather(values, losses)
    return torch.zeros(num_samples).index_copy_(0, torch.cat(indices), torch.cat(values))
