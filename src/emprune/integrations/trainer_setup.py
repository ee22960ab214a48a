"""What the Trainer integration asks of the training arguments, and of the DataLoader that the Trainer makes."""

import copy
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler
from transformers import TrainingArguments
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.trainer_utils import RemoveColumnsCollator

from emprune.data.indexed import InOrder, Packed, unpacked
from emprune.errors import ConfigError
from emprune.pruner import DataPruner

__all__ = ["INDEX_KEY", "IndexInBatch", "conflicts", "predicts_next", "unprepared"]

INDEX_KEY = "emprune_index"
"""The key of a training batch under which its (B,) index travels, from the collator to `compute_loss`."""

_CAUSAL_NAMES = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
_UNSHIFTED = frozenset(
    f"{name}ForCausalLM"
    for name in ("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Musicgen",
                 "MusicgenMelody", "Mvp", "PLBart", "Pegasus", "ProphetNet", "TrOCR", "Whisper")
) | {"FlaubertWithLMHeadModel", "XLMWithLMHeadModel", "XLNetLMHeadModel"}  # fmt: skip
"""Causal ones whose own loss takes the labels as they are; the Trainer's smoothed loss shifts them all the same."""
_WRAPPED = {"OptimizedModule": "_orig_mod"} | dict.fromkeys(
    ("FullyShardedDataParallel", "DistributedDataParallel", "DataParallel"), "module"
)
"""Where torch's wrappers keep the model; accelerate's function for it has failed on partly compiled ones."""
_FIXED: Sequence[tuple[str, Any, str]] = (
    ("max_steps", -1, "the pruner's `keep` and `num_epochs` fix the steps of the run"),
    ("train_sampling_strategy", "random", "the plan says which samples, and in which order"),
    ("data_seed", None, "the order is the plan's; give the pruner a `seed`"),
    ("ignore_data_skip", False, "a resumed epoch goes on where it stopped"),
    ("dataloader_in_order", True, "a resumed epoch goes on where it stopped"),
    ("auto_find_batch_size", False, "the epochs are planned for one batch size"),
    ("accelerator_config.split_batches", False, "the plan divides the data among the ranks"),
    ("accelerator_config.dispatch_batches", None, "the plan divides the data among the ranks"),
)
"""Training arguments that must keep their default, and why."""
_LOADER_OPTIONS = (
    *("collate_fn", "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context"),
    *("prefetch_factor", "persistent_workers", "in_order"),
)


@dataclass(frozen=True)
class IndexInBatch:
    """A collate function that puts the index beside its batch, made to put it into the batch.

    Args:
        collate_fn: ``samples -> (index, batch)``, such as an `IndexedCollate`; the batch a dict.
    """

    collate_fn: Callable[[Any], Packed]

    def __call__(self, samples: Any) -> MutableMapping[str, Any]:
        """Return the batch with its (B,) int64 index under `INDEX_KEY`."""
        delivered = unpacked(self.collate_fn(samples))
        index, batch = delivered.index, delivered.batch
        if not isinstance(batch, MutableMapping):
            raise ConfigError(
                f"`data_collator` must return a dict of the batch's inputs: got a {type(batch).__name__}."
            )
        batch[INDEX_KEY] = index
        return batch


def unprepared(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a DataLoader as the Trainer made it, before accelerate divided its batches among the ranks."""
    options = {name: getattr(loader, name) for name in _LOADER_OPTIONS} | {"collate_fn": _watched(loader.collate_fn)}
    batches: Any = getattr(loader.batch_sampler, "batch_sampler", loader.batch_sampler)
    if type(batches) is not BatchSampler:
        return DataLoader(loader.dataset, batch_sampler=batches, **options)
    sampler = batches.sampler
    if type(sampler).__module__ == "accelerate.data_loader":  # its twin of the random sampler
        sampler = RandomSampler(loader.dataset)  # type: ignore[arg-type]
    return DataLoader(
        loader.dataset, batch_size=batches.batch_size, sampler=sampler, drop_last=batches.drop_last, **options
    )


def _watched(collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a collator that is refused where it changes its list, of which the Trainer's own wrapper makes another."""
    if isinstance(collate_fn, RemoveColumnsCollator):
        collate_fn = copy.copy(collate_fn)
        collate_fn.data_collator = InOrder(collate_fn.data_collator)
    return collate_fn


def predicts_next(model: Any, *, smoothed: bool = False) -> bool:
    """Return whether the loss shifts the labels, so that logits t predict label t + 1: a causal model's, mostly.

    Args:
        model: The model, or what is around it: PEFT, torch.compile, and FSDP's first version, whose wrapper is the
            Trainer's model while it trains.
        smoothed: Whether the loss is the Trainer's, with label smoothing, and not the model's own.
    """
    while type(model).__name__ in _WRAPPED:
        model = getattr(model, _WRAPPED[type(model).__name__])
    model = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT's
    names = {cls.__name__ for cls in type(model).__mro__}
    if not smoothed and not _UNSHIFTED.isdisjoint(names):
        return False
    causal = not _CAUSAL_NAMES.isdisjoint(names)
    causal = causal or LOSS_MAPPING.get(getattr(model, "loss_type", None) or "") is ForCausalLMLoss
    return causal and not getattr(getattr(model, "config", None), "is_encoder_decoder", False)


def conflicts(args: TrainingArguments, accelerator: Accelerator, pruner: DataPruner, dataset: Any) -> Iterator[str]:
    """Say what contradicts the plan, and what to do about it.

    Args:
        args: The training arguments.
        accelerator: The Trainer's.
        pruner: The pruner.
        dataset: The training data.
    """
    if isinstance(dataset, IterableDataset):
        yield "An IterableDataset cannot be pruned: its samples have no positions to choose from. Use a map-style one."
    epochs = args.num_train_epochs
    if epochs not in (TrainingArguments.num_train_epochs, pruner.num_epochs):
        yield (
            f"`num_train_epochs` must be the pruner's, {pruner.num_epochs}: got num_train_epochs={epochs:g}. Leave it "
            "out, or make the pruner with this num_epochs."
        )
    if args.world_size != pruner.world_size:
        yield (
            f"The training has {args.world_size} ranks, the pruner was made for {pruner.world_size}. Make the pruner "
            "after the TrainingArguments, which start torch.distributed."
        )
    if args.n_gpu > 1:
        yield f"One process drives {args.n_gpu} GPUs: start one for each, torchrun --nproc-per-node {args.n_gpu} ..."
    if getattr(accelerator, "parallelism_config", None) is not None:
        yield (
            "`parallelism_config` cannot be honoured: ranks that share a model must get the same batch, and the plan "
            "is divided among all of them. Leave it out of the arguments and of `accelerate launch`, and load the "
            "model without a `tp_plan`."
        )
    for name, allowed, why in _FIXED:
        holder, _, option = name.rpartition(".")
        value = getattr(getattr(args, holder) if holder else args, option, allowed)  # an older release has not all
        if value != allowed:
            yield f"`{name}` must stay {allowed!r}, because {why}: got {value!r}."
