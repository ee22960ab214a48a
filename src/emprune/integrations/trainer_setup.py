"""What the Trainer integration asks of the training arguments, and of the DataLoader that the Trainer makes."""

import copy
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler
from transformers import TrainingArguments
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import RemoveColumnsCollator

from emprune.data.indexed import InOrder, Packed, unpacked
from emprune.data.streams import ShardedStream
from emprune.errors import ConfigError, EmpruneWarning
from emprune.pruner import DataPruner

__all__ = [
    "INDEX_KEY",
    "LEFT_OUT_KEY",
    "IndexInBatch",
    "check_arguments",
    "check_evaluated",
    "check_packing",
    "check_positions",
    "measured",
    "predicts_next",
    "problem_type",
    "unprepared",
    "warn_of_epochs",
]

INDEX_KEY, LEFT_OUT_KEY = "emprune_index", "emprune_left_out"
"""The keys of a training batch for its (B,) index, from the collator to `compute_loss`, and for what it lacks."""

_CAUSAL_NAMES = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
_UNSHIFTED = frozenset(
    f"{name}ForCausalLM"
    for name in ("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Musicgen",
                 "MusicgenMelody", "Mvp", "PLBart", "Pegasus", "ProphetNet", "TrOCR", "Whisper")
) | {"FlaubertWithLMHeadModel", "XLMWithLMHeadModel", "XLNetLMHeadModel"}  # fmt: skip
"""Causal ones whose own loss takes the labels as they are; the Trainer's smoothed loss shifts them all the same."""
_PARALLEL = ("FullyShardedDataParallel", "DistributedDataParallel", "DataParallel")
_WRAPPED = {"OptimizedModule": "_orig_mod"} | dict.fromkeys(_PARALLEL, "module")
"""Where torch's wrappers keep the model; accelerate's function for it has failed on partly compiled ones."""
_FIXED: Sequence[tuple[str, Any, str, str]] = (
    (
        "max_steps",
        -1,
        "the pruner fixes the steps of the run",
        "Make the pruner with this `num_steps`, or with fewer `num_epochs` or less `keep`.",
    ),
    (
        "train_sampling_strategy",
        "random",
        "the plan says which samples come, and in which order",
        'Leave it out, or write "group_by_length" to pad less.',
    ),
    ("data_seed", None, "the order is the plan's", "Give the pruner a `seed`."),
    ("ignore_data_skip", False, "a resumed epoch goes on where it stopped", "Leave it out."),
    ("dataloader_in_order", True, "a resumed epoch goes on where it stopped", "Leave it out."),
    (
        "auto_find_batch_size",
        False,
        "the epochs are planned for one batch size",
        "Try batch sizes with the plain Trainer, then give `per_device_train_batch_size`.",
    ),
    ("accelerator_config.split_batches", False, "the plan divides the data among the ranks", "Leave it out."),
    ("accelerator_config.dispatch_batches", None, "the plan divides the data among the ranks", "Leave it out."),
)
"""Training arguments that must keep their default, why, and what to do instead."""
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
        """Return the batch with its (B,) int64 index under `INDEX_KEY`, and what was left out under `LEFT_OUT_KEY`."""
        delivered = unpacked(self.collate_fn(samples))
        left_out = delivered.left_out
        if not isinstance(batch := delivered.batch, MutableMapping):
            raise ConfigError(
                f"`data_collator` must return a dict of the batch's inputs; got a {type(batch).__name__}. Return one, "
                "as transformers.default_data_collator does."
            )
        batch.update({INDEX_KEY: delivered.index} | ({LEFT_OUT_KEY: left_out} if len(left_out) else {}))
        return batch


def unprepared(
    loader: DataLoader[Any], stream: ShardedStream | None = None, *, batch_size: int, drop_last: bool
) -> tuple[DataLoader[Any], list[int] | None]:
    """Return a DataLoader as the Trainer made it, before accelerate divided its batches among the ranks.

    Args:
        loader: The Trainer's DataLoader.
        stream: The training data, where they are a stream, which accelerate would divide sample by sample.
        batch_size: Samples in a batch of the stream.
        drop_last: Whether a short last batch of the stream is left out.

    Returns:
        The DataLoader, and the lengths that the Trainer would group by: its `length_column_name`, or measured by it.

    Raises:
        ConfigError: If the Trainer's class makes batches, or chooses samples, itself.
    """
    options = {name: getattr(loader, name) for name in _LOADER_OPTIONS} | {"collate_fn": _watched(loader.collate_fn)}
    if stream is not None:
        return DataLoader(stream, batch_size=batch_size, drop_last=drop_last, **options), None
    batches: Any = getattr(loader.batch_sampler, "batch_sampler", loader.batch_sampler)
    if type(batches) is not BatchSampler:
        raise ConfigError(
            "The Trainer's batches must be of `per_device_train_batch_size` samples that the plan names; got a "
            f"{type(batches).__name__}, which makes batches itself. For a SentenceTransformerTrainer use "
            "emprune.integrations.sentence_transformers. Otherwise override `get_train_dataloader` in the class after "
            "the mixin to return DataLoader(self.train_dataset, self.args.train_batch_size, shuffle=True, "
            "collate_fn=self.data_collator)."
        )
    sampler = batches.sampler
    lengths = sampler.lengths if type(sampler) is LengthGroupedSampler else None
    if lengths is not None:
        sampler = RandomSampler(loader.dataset)  # type: ignore[arg-type]
    if type(sampler).__module__ == "accelerate.data_loader":  # its twin of the random sampler
        sampler = RandomSampler(loader.dataset)  # type: ignore[arg-type]
    if type(sampler) not in (RandomSampler, SequentialSampler):
        raise ConfigError(
            f"The Trainer's sampler must be its own; got a {type(sampler).__name__}, which chooses samples itself, as "
            "the pruner does. Leave `_get_train_sampler` as it is, and express the choice as an emprune.Method."
        )
    plain = DataLoader(
        loader.dataset, batch_size=batches.batch_size, sampler=sampler, drop_last=batches.drop_last, **options
    )
    return plain, lengths


def _watched(collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a collator that is refused if it changes its list. The Trainer's own wrapper makes another list first."""
    if isinstance(collate_fn, RemoveColumnsCollator):
        collate_fn = copy.copy(collate_fn)
        collate_fn.data_collator = InOrder(collate_fn.data_collator)
    return collate_fn


def predicts_next(model: Any, *, smoothed: bool = False) -> bool:
    """Return whether the loss shifts the labels, so that logits t predict label t + 1: a causal model's, mostly.

    Args:
        model: The model, or what is around it.
        smoothed: Whether the loss is the Trainer's, with label smoothing, and not the model's own.
    """
    model = _unwrapped(model)
    names = {cls.__name__ for cls in type(model).__mro__}
    if not smoothed and not _UNSHIFTED.isdisjoint(names):
        return False
    causal = not _CAUSAL_NAMES.isdisjoint(names)
    causal = causal or LOSS_MAPPING.get(getattr(model, "loss_type", None) or "") is ForCausalLMLoss
    return causal and not getattr(getattr(model, "config", None), "is_encoder_decoder", False)


def problem_type(model: Any) -> str | None:
    """Return what a classifier's loss is, as its config says; a model of transformers sets it in its first batch."""
    found = getattr(getattr(_unwrapped(model), "config", None), "problem_type", None)
    return found if isinstance(found, str) else None


def _unwrapped(model: Any) -> Any:
    """Return the model inside PEFT, torch.compile, and FSDP's first version, the Trainer's model while it trains."""
    while type(model).__name__ in _WRAPPED:
        model = getattr(model, _WRAPPED[type(model).__name__])
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def check_arguments(args: TrainingArguments, accelerator: Accelerator, pruner: DataPruner, dataset: Any) -> None:
    """Raise ConfigError if an argument of the training contradicts the plan.

    Args:
        args: The training arguments.
        accelerator: The Trainer's.
        pruner: The pruner.
        dataset: The training data.
    """
    check_positions(dataset)
    epochs = args.num_train_epochs
    if args.max_steps <= 0 and epochs not in (type(args).num_train_epochs, pruner.num_epochs):
        raise ConfigError(
            f"`num_train_epochs` must be the pruner's, {pruner.num_epochs}; got num_train_epochs={epochs:g}. Say "
            f"num_train_epochs={pruner.num_epochs}, or make the pruner with this num_epochs."
        )
    _check_ranks(args, accelerator, pruner)
    also = {"max_steps": pruner.schedule.num_steps, "train_sampling_strategy": "group_by_length"}
    for name, allowed, why, advice in _FIXED:
        holder, _, option = name.rpartition(".")
        value = getattr(getattr(args, holder) if holder else args, option, allowed)  # an older release has not all
        if value not in (allowed, also.get(name, allowed)):
            raise ConfigError(f"`{name}` must stay {allowed!r}, because {why}; got {value!r}. {advice}")


def check_positions(dataset: Any, *, streams: bool = True) -> None:
    """Raise ConfigError if the training data have no positions to choose from.

    Args:
        dataset: The training data.
        streams: Whether a stream with an index will do.
    """
    known = streams and isinstance(dataset, ShardedStream)
    if known or (hasattr(dataset, "__len__") and not isinstance(dataset, IterableDataset)):
        return
    what = "have positions to choose from" if streams else "be map-style, with positions to choose from"
    instead = ", or make it a stream with an index: emprune.data.KeyedStream, WebDatasetStream or HuggingFaceStream"
    raise ConfigError(
        f"`train_dataset` must {what}; got {type(dataset).__name__}. Give it `__len__` and `__getitem__`"
        f"{instead if streams else ''}."
    )


def _check_ranks(args: TrainingArguments, accelerator: Accelerator, pruner: DataPruner) -> None:
    if args.world_size != pruner.world_size:
        raise ConfigError(
            f"The pruner must be made for the training's {args.world_size} rank(s); got {pruner.world_size}. Make it "
            "after the TrainingArguments, which start torch.distributed."
        )
    if args.n_gpu > 1:
        raise ConfigError(
            f"One process must drive one GPU; got {args.n_gpu}. Start a process for each: torchrun --nproc-per-node "
            f"{args.n_gpu} ..."
        )
    if getattr(accelerator, "parallelism_config", None) is not None:
        raise ConfigError(
            "`parallelism_config` must be None, because ranks that share a model need the same batch, and the plan is "
            "divided among all of them; got one. Leave it out of the arguments and of `accelerate launch`, and load "
            "the model without a `tp_plan`."
        )


def check_packing(args: Any, *, padding_free: bool) -> None:
    """Refuse what TRL calls packing, where a row holds several samples before the plan can choose among them.

    Args:
        args: The training arguments.
        padding_free: Whether a batch of one row, with all its samples, can be taken apart.

    Raises:
        ConfigError: If a sample has no loss of its own.
    """
    packing = getattr(args, "packing", False) and getattr(args, "packing_strategy", "") != "wrapped"
    joined = not padding_free and getattr(args, "padding_free", False)
    for name, value in (("packing", packing), ("padding_free", joined)):
        if value:
            instead = " Or join the samples of each batch instead: padding_free=True, max_length=None."
            raise ConfigError(
                f"`{name}` must be False, so that each sample has a loss of its own; got {name}=True: packing joins "
                "samples into one row. Leave it out, or use a method without losses, such as RandomPermutation."
                + (instead if padding_free else "")
            )


def check_evaluated(args: TrainingArguments) -> None:
    """Raise ConfigError if a method that follows the gap would never be told one."""
    if args.eval_strategy == "no":
        raise ConfigError(
            "`eval_strategy` must be epoch or steps, because the method follows the validation loss; got no. Write "
            'eval_strategy="epoch", and give the Trainer an `eval_dataset`.'
        )


def measured(metrics: Mapping[str, float], name: str) -> float:
    """Return the loss of this name among what an evaluation measured."""
    if name not in metrics:
        raise ConfigError(
            f"`validation_loss` must name a metric of the evaluation; got {name!r}, and the metrics "
            f"{', '.join(sorted(metrics))}. Set `validation_loss` in a subclass; for several sets it is such as "
            '"eval_NAME_loss".'
        )
    return metrics[name]


def warn_of_epochs(args: TrainingArguments, pruner: DataPruner) -> None:
    """Warn where the Trainer's default number of epochs, which may be meant, is not the pruner's."""
    if args.max_steps <= 0 and args.num_train_epochs != pruner.num_epochs:
        warnings.warn(
            f"`num_train_epochs` is {args.num_train_epochs:g}, the Trainer's default, and the pruner has num_epochs="
            f"{pruner.num_epochs}: {pruner.num_epochs} epochs are trained. Say num_train_epochs={pruner.num_epochs}.",
            EmpruneWarning,
            stacklevel=2,
        )
