"""Which DataLoaders can be pruned, and a loader made like one of them that follows the plan."""

import inspect
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from emprune.data.indexed import IndexedCollate, IndexedDataset, IndexedWorkerInit
from emprune.data.sampler import PlanBatchSampler
from emprune.errors import ConfigError

__all__ = ["check_prunable", "rebuilt"]

_REPLACED = {"dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
_SET_AFTERWARDS = {"collate_fn", "generator", "worker_init_fn"}


def check_prunable(loader: DataLoader[Any], *, world_size: int) -> None:
    """Raise ConfigError unless a loader visits every sample of a map-style dataset, in batches.

    Args:
        loader: The user's loader.
        world_size: Over how many ranks the pruner shares the data.
    """
    if not isinstance(loader, DataLoader):
        raise ConfigError(
            f"`loader` must be a torch DataLoader: got {type(loader).__name__}. Without one, use "
            "pruner.begin_epoch(epoch) and deliver its plan yourself."
        )
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        kind = "An IterableDataset" if isinstance(loader.dataset, IterableDataset) else "A dataset without `__len__`"
        raise ConfigError(
            f"{kind} cannot be pruned: its samples have no positions to choose from. Use a map-style dataset."
        )
    if loader.batch_size is None:
        found = "`batch_size=None`" if loader.batch_sampler is None else "a custom `batch_sampler`"
        raise ConfigError(
            f"The DataLoader has {found}: the plan decides what a batch holds, and needs a batch size. "
            "Give the DataLoader batch_size=... instead."
        )
    if not _is_replaceable(loader):
        raise ConfigError(
            f"The DataLoader's sampler, {type(loader.sampler).__name__}, chooses samples itself, and so does the "
            "pruner: only random (without replacement, over all), sequential and distributed samplers are replaced by "
            "the plan. Use shuffle=True, and express the choice as an emprune.Method."
        )
    if isinstance(loader.sampler, DistributedSampler) and loader.sampler.num_replicas != world_size:
        raise ConfigError(
            f"The DataLoader's DistributedSampler is for {loader.sampler.num_replicas} ranks, the pruner for "
            f"{world_size}. Make the pruner after torch.distributed is initialised, or give it the `process_group`."
        )


def rebuilt(loader: DataLoader[Any], sampler: PlanBatchSampler, generator: torch.Generator | None) -> DataLoader[Any]:
    """Return a loader of the same class with the same arguments, over indexed samples and the plan.

    Raises:
        ConfigError: If the class does not keep its arguments as attributes, or makes its own batches.
    """
    cls = type(loader)
    try:
        twin = cls(IndexedDataset(loader.dataset), batch_sampler=sampler, **_arguments(loader))
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} cannot be rebuilt: {error}. Pass a plain DataLoader.") from error
    if twin.batch_sampler is not sampler or not isinstance(twin.dataset, IndexedDataset):
        raise ConfigError(f"{cls.__name__} cannot be rebuilt: it makes its own batches. Pass a plain DataLoader.")
    twin.collate_fn = IndexedCollate(loader.collate_fn)
    twin.generator = generator
    twin.worker_init_fn = IndexedWorkerInit(loader.worker_init_fn)
    return twin


def _arguments(loader: DataLoader[Any]) -> dict[str, Any]:
    """What the loader was made with, as far as it is not replaced and not the default."""
    arguments = {}
    for name, parameter in _parameters(type(loader)).items():
        if name in _REPLACED:
            continue
        if not hasattr(loader, name):
            raise ConfigError(
                f"{type(loader).__name__} takes `{name}` but does not keep it as an attribute, so it cannot be "
                "rebuilt. Pass a plain DataLoader."
            )
        value = getattr(loader, name)
        required = parameter.default is parameter.empty
        if required or (name not in _SET_AFTERWARDS and value is not parameter.default):
            arguments[name] = value
    return arguments


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The named parameters of a constructor, and of its bases' where it passes ``**kwargs`` on."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        found = {p.name: p for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} | found
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return found


def _is_replaceable(loader: DataLoader[Any]) -> bool:
    """Whether the loader would visit every sample once, in whatever order."""
    sampler: Any = loader.sampler
    covered = sampler.dataset if isinstance(sampler, DistributedSampler) else sampler
    return (
        _is_plain(sampler, RandomSampler, SequentialSampler, DistributedSampler)
        and not getattr(sampler, "replacement", False)
        and len(covered) == len(loader.dataset)  # type: ignore[arg-type]
        and _is_plain(loader.batch_sampler, BatchSampler)
    )


def _is_plain(sampler: object, *kinds: type) -> bool:
    """Whether a sampler is torch's own, or torchdata's stateful twin of it, and not a subclass that chooses."""
    cls = type(sampler)
    twin = cls.__name__.removeprefix("Stateful") if cls.__module__.startswith("torchdata.") else None
    return cls in kinds or twin in {kind.__name__ for kind in kinds}
