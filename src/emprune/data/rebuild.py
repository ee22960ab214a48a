"""Which DataLoaders can be pruned, and a loader made like one of them that follows the plan."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from emprune.data.indexed import AroundDataset, BatchAlone, IndexedCollate, IndexedWorkerInit
from emprune.data.planned import PlannedLoader
from emprune.engine.plan_options import WeightsLike, checked_weights
from emprune.errors import ConfigError
from emprune.pruner import DataPruner

__all__ = [
    "BatchesOfPlan",
    "Batching",
    "check_as_made",
    "check_prunable",
    "check_sampler_ranks",
    "evaluating",
    "rebuilt",
    "weights_of",
]

BatchesOfPlan = Sampler[Any]
"""Gives what the DataLoader inside asks its dataset for: a batch's positions, or the request of a batch."""

_REPLACED = {"dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
_SET_AFTERWARDS = {"collate_fn", "generator", "worker_init_fn"}
_PREPARED = {
    "accelerate": "emprune.integrations.accelerate.prepare shards it and moves its batches",
    "lightning": "the loader shards it, and fabric.to_device moves its batches",
    "lightning_fabric": "the loader shards it, and fabric.to_device moves its batches",
}
"""Whose loaders are sharded already, and what to do instead."""


@dataclass(frozen=True)
class Batching:
    """What a DataLoader says about its batches, be it through `batch_size` or through torch's own BatchSampler.

    Attributes:
        batch_size: Samples per batch.
        drop_last: Whether a short last batch is left out.
        sampler: The order of the samples.
    """

    batch_size: int
    drop_last: bool
    sampler: Any

    @classmethod
    def of(cls, loader: DataLoader[Any]) -> "Batching":
        """Return a DataLoader's, which `check_prunable` accepts."""
        sampler: Any = loader.batch_sampler
        return cls(sampler.batch_size, sampler.drop_last, sampler.sampler)


def check_as_made(loader: DataLoader[Any]) -> None:
    """Raise ConfigError unless a loader is a DataLoader as its user made it."""
    maker = type(loader).__module__.partition(".")[0]
    if maker in _PREPARED:
        raise ConfigError(
            f"`dataloader` must be the DataLoader as you made it; got {maker}'s {type(loader).__name__}. Hand over the "
            f"one it was made from; {_PREPARED[maker]}."
        )
    if isinstance(loader, PlannedLoader):
        raise ConfigError(
            f"`dataloader` must be the DataLoader as you made it; got a {type(loader).__name__}. Hand over the one it "
            "was made from."
        )
    if not isinstance(loader, DataLoader):
        raise ConfigError(
            f"`dataloader` must be a torch DataLoader; got {type(loader).__name__}. Without one, use "
            "DataPruner.begin_epoch(epoch) and deliver its plan yourself."
        )
    if isinstance(loader.dataset, AroundDataset):
        raise ConfigError(
            "`dataloader` must be the DataLoader as you made it; got the one inside a PrunedLoader. Hand over the one "
            "it was made from."
        )


def check_prunable(loader: DataLoader[Any]) -> None:
    """Raise ConfigError unless a loader visits every sample of a map-style dataset, in batches."""
    check_as_made(loader)
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        kind = "an IterableDataset" if isinstance(loader.dataset, IterableDataset) else "a dataset without `__len__`"
        raise ConfigError(
            f"The dataset must be map-style, with positions to choose from; got {kind}. Give it `__len__` and "
            "`__getitem__`, or use emprune.PrunedStream."
        )
    if loader.batch_sampler is None:
        raise ConfigError(
            "`batch_size` must be a number, since the plan decides what a batch holds; got batch_size=None, where the "
            "dataset makes batches itself. Give the DataLoader batch_size=... and a dataset with `__getitem__` for one "
            "sample, or `__getitems__` for a list of positions."
        )
    if not _is_plain(loader.batch_sampler, BatchSampler):
        raise ConfigError(
            f"The DataLoader's batches must be its batch size's; got a {type(loader.batch_sampler).__name__}, which "
            "makes batches itself. Give the DataLoader batch_size=... instead, or use DataPruner.begin_epoch(epoch)."
        )
    if not _is_replaceable(loader):
        raise ConfigError(
            f"The DataLoader's sampler must visit every sample once; got {type(Batching.of(loader).sampler).__name__}, "
            "which chooses samples itself, as the pruner does. Use shuffle=True, and express the choice as an "
            "emprune.Method, or give `weights`."
        )


def weights_of(sampler: object, weights: WeightsLike | None, pruner: object) -> WeightsLike | None:
    """Return the weights of a WeightedRandomSampler, or those given beside another sampler.

    Args:
        sampler: The DataLoader's.
        weights: What the loader was given.
        pruner: A DataPruner, which has weights of its own, or anything else.

    Raises:
        ConfigError: If a WeightedRandomSampler says otherwise than the weights, or the pruner.
    """
    if not _is_plain(sampler, WeightedRandomSampler):
        return weights
    own: WeightsLike = sampler.weights  # type: ignore[attr-defined]
    if isinstance(pruner, DataPruner):
        planned = pruner.plan_options.weights
        if planned is None or not planned.equal(checked_weights(own, pruner.num_samples)):
            raise ConfigError(
                "The DataPruner's `weights` must be those of the DataLoader's WeightedRandomSampler; got others. Write "
                "DataPruner(..., weights=sampler.weights).",
                parameter="weights",
                value=planned,
            )
        return None
    if weights is not None:
        raise ConfigError(
            "`weights` must be left out where the DataLoader has a WeightedRandomSampler, which gives its own; got "
            "both. Leave one of them out.",
            parameter="weights",
            value=weights,
        )
    return own


def check_sampler_ranks(sampler: object, world_size: int) -> None:
    """Raise ConfigError unless a DistributedSampler is for as many ranks as the pruner."""
    if isinstance(sampler, DistributedSampler) and sampler.num_replicas != world_size:
        raise ConfigError(
            f"The DataLoader's DistributedSampler must be for the pruner's {world_size} rank(s); got "
            f"{sampler.num_replicas}. Make the loader after torch.distributed is initialised, or give it the "
            "`process_group`."
        )


def evaluating(loader: DataLoader[Any], batch_size: int, dataset: Dataset[Any]) -> DataLoader[Any]:
    """Return a loader of the same class with the same arguments, over a dataset of such samples, in order."""
    arguments = _arguments(loader)
    for name in _SET_AFTERWARDS:
        arguments[name] = getattr(loader, name)
    arguments["collate_fn"] = BatchAlone(loader.collate_fn)
    return type(loader)(dataset, batch_size=batch_size, shuffle=False, drop_last=False, **arguments)


def rebuilt(
    loader: DataLoader[Any], indexed: AroundDataset, batches: BatchesOfPlan, generator: torch.Generator | None
) -> DataLoader[Any]:
    """Return a loader of the same class with the same arguments, over indexed samples and the plan.

    Args:
        loader: The loader.
        indexed: Its dataset, fetched a batch at a time.
        batches: What is asked of it.
        generator: Seeds the workers.

    Raises:
        ConfigError: If the class does not keep its arguments as attributes, or makes its own batches.
    """
    cls = type(loader)
    try:
        twin = cls(indexed, batch_sampler=batches, **_arguments(loader))
    except TypeError as error:
        raise ConfigError(f"{cls.__name__} cannot be rebuilt: {error}. Pass a plain DataLoader.") from error
    if twin.batch_sampler is not batches or twin.dataset is not indexed:
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
    """Whether the loader would visit every sample once, in whatever order, or draw all of them by weights."""
    sampler: Any = Batching.of(loader).sampler
    if _is_plain(sampler, WeightedRandomSampler):
        return len(sampler.weights) == len(loader.dataset)  # type: ignore[arg-type]
    covered = sampler.dataset if isinstance(sampler, DistributedSampler) else sampler
    return (
        _is_plain(sampler, RandomSampler, SequentialSampler, DistributedSampler)
        and not getattr(sampler, "replacement", False)
        and len(covered) == len(loader.dataset)  # type: ignore[arg-type]
    )


def _is_plain(sampler: object, *kinds: type) -> bool:
    """Whether a sampler is torch's own, or torchdata's stateful twin of it, and not a subclass that chooses."""
    cls = type(sampler)
    twin = cls.__name__.removeprefix("Stateful") if cls.__module__.startswith("torchdata.") else None
    return cls in kinds or twin in {kind.__name__ for kind in kinds}
