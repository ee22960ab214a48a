"""What a Lightning Trainer must not do to a planned run, and what to write instead."""

from typing import Any, Protocol

from torch import Tensor

from emprune.errors import ConfigError
from emprune.pruner import DataPruner

__all__ = ["accumulation_of", "check_combined", "check_ranks", "check_settings", "check_validation", "logged"]

_REFUSED_CALLBACKS = {
    "GradientAccumulationScheduler": "`callbacks` must not have a GradientAccumulationScheduler, which changes the "
    "steps of an epoch that is planned already. Use a constant Trainer(accumulate_grad_batches=...).",
    "BatchSizeFinder": "`callbacks` must not have a BatchSizeFinder, which cannot change the batches of epochs that "
    "are planned, and takes every size for a good one. Look for the batch size without the pruner.",
}
_ADDS_AN_EPOCH = "StochasticWeightAveraging"
"""By name, because `pytorch_lightning`, which works as well, has classes of its own."""


class PreparedLoader(Protocol):
    """What is checked of the loader that `prepare` returns."""

    @property
    def pruner(self) -> DataPruner:
        """What plans the run."""

    @property
    def batches_per_epoch(self) -> list[int]:
        """Batches of each epoch of the run on this rank."""


def check_settings(trainer: Any, *, num_epochs: int | None) -> None:
    """Raise ConfigError if the trainer would not train on every sample of every plan.

    Args:
        trainer: The trainer.
        num_epochs: What the run was planned for; None where it is to be planned for the trainer's `max_epochs`.
    """
    if trainer.reload_dataloaders_every_n_epochs != 1:
        raise ConfigError(
            "`reload_dataloaders_every_n_epochs` must be 1, or Lightning takes the first epoch's length for all and "
            f"stops to validate; got {trainer.reload_dataloaders_every_n_epochs}. Write "
            "Trainer(reload_dataloaders_every_n_epochs=1)."
        )
    for name, why in _REFUSED_CALLBACKS.items():
        if _has_callback(trainer, name):
            raise ConfigError(why)
    if not trainer.fast_dev_run:
        _check_length(trainer, num_epochs)
        _check_limits(trainer)


def accumulation_of(trainer: Any, wanted: int | None) -> int:
    """Return the batches of an optimizer step: the trainer's, or those that a module in manual optimisation wants.

    Raises:
        ConfigError: If it is the trainer that steps, and after another number of batches.
    """
    automatic: int = trainer.accumulate_grad_batches
    if wanted is None or wanted == automatic:
        return automatic
    if trainer.lightning_module is None or trainer.lightning_module.automatic_optimization:
        raise ConfigError(
            f"`accumulation` must be the trainer's `accumulate_grad_batches`, {automatic}; got {wanted}. Set it there. "
            "In manual optimisation call `prepare` in `setup`, where the module is known."
        )
    return wanted


def check_ranks(trainer: Any, loader: PreparedLoader) -> None:
    """Raise ConfigError if the loader does not divide the data as the trainer's strategy does."""
    num_replicas = (trainer.distributed_sampler_kwargs or {}).get("num_replicas", trainer.world_size)
    if num_replicas != trainer.world_size:
        raise ConfigError(
            "The strategy must give every device data of its own; got devices that share a model, "
            f"{trainer.world_size} for {num_replicas} shard(s) of the data. See docs/guides/ranks.md for groups of "
            "your own."
        )
    if loader.pruner.world_size != trainer.world_size:
        raise ConfigError(
            f"The pruner must share the data among all {trainer.world_size} device(s); got a pruner for "
            f"{loader.pruner.world_size}. Call `prepare` in the `setup` of the LightningModule or LightningDataModule, "
            "where the ranks have been started."
        )


def check_validation(trainer: Any, loader: PreparedLoader) -> None:
    """Raise ConfigError if some epochs would be too short to be validated."""
    interval = getattr(trainer, "val_check_interval", None)  # not there where the interval is a time
    fewest = min(loader.batches_per_epoch)
    within_epochs = trainer.check_val_every_n_epoch is not None and trainer.limit_val_batches > 0
    if within_epochs and isinstance(interval, int) and interval > fewest and not trainer.fast_dev_run:
        raise ConfigError(
            f"A whole `val_check_interval` must be at most the batches of the smallest epoch, {fewest}; got "
            f"{interval}. Lower it, or add Trainer(check_val_every_n_epoch=None) to count over epochs."
        )


def logged(trainer: Any, name: str) -> Tensor:
    """Return a logged loss that a method which follows the gap is to be handed.

    Raises:
        ConfigError: If there is none of this name.
    """
    metrics: dict[str, Tensor] = trainer.callback_metrics
    if name not in metrics:
        raise ConfigError(
            f"`validation_loss` and `train_loss` of the PruningCallback must be logged by validation_step; got no "
            f"{name!r} among {', '.join(sorted(metrics)) or 'none'}. Return [validation loader, "
            "loader.evaluation(index=loader.pruner.probe())] from val_dataloader, and log val_loss for both. Or name "
            "others."
        )
    return metrics[name]


def check_combined(trainer: Any, loader: PreparedLoader) -> None:
    """Raise ConfigError unless Lightning trains on this loader, each epoch's batches once."""
    combined = trainer.fit_loop._combined_loader  # the mode of several loaders is not to be had otherwise
    if not any(found is loader for found in combined.flattened):
        found = ", ".join(type(found).__name__ for found in combined.flattened)
        raise ConfigError(
            f"`train_dataloader` must return the loader that `prepare` returned, the same in each epoch; got {found}."
        )
    others = [_length(other) for other in combined.flattened if other is not loader]
    if not others or trainer.fast_dev_run or combined._mode == "max_size":
        return
    cut = combined._mode == "min_size"
    wrong = [n for n in loader.batches_per_epoch if (min if cut else max)(n, *others) != n]
    if wrong:
        raise ConfigError(
            f"The pruned loader must be the {'shortest' if cut else 'longest'} in every epoch with "
            f"mode={combined._mode!r}, or batches are {'left out' if cut else 'repeated'}; got {wrong[0]} batches and "
            f"another loader of {(min if cut else max)(others)}. Use CombinedLoader with "
            f"mode={'max_size_cycle' if cut else 'min_size'!r}, or another batch size."
        )


def _length(loader: Any) -> float:
    try:
        return len(loader)
    except TypeError:  # a stream
        return float("inf")


def _has_callback(trainer: Any, name: str) -> bool:
    return any(cls.__name__ == name for callback in trainer.callbacks for cls in type(callback).__mro__)


def _check_length(trainer: Any, num_epochs: int | None) -> None:
    if trainer.max_epochs is None or trainer.max_epochs < 1:
        raise ConfigError(
            f"`max_epochs` must be a number of epochs, the length of the run; got {trainer.max_epochs}. Write "
            "Trainer(max_epochs=...); `max_steps` may end the run earlier."
        )
    if num_epochs is None or trainer.max_epochs == num_epochs:
        return
    if _has_callback(trainer, _ADDS_AN_EPOCH):
        raise ConfigError(
            f"`callbacks` must not have {_ADDS_AN_EPOCH} for a model with batch norm, for which it adds an epoch; "
            f"got {trainer.max_epochs} epochs, and {num_epochs} are planned. Average with torch.optim.swa_utils, and "
            "call update_bn(loader.evaluation(), model)."
        )
    raise ConfigError(
        f"`max_epochs` must be the {num_epochs} epochs that the run was planned for; got {trainer.max_epochs}. A run "
        "cannot be made longer. Start a new one: a new Trainer(max_epochs=...) and a new pruner."
    )


def _check_limits(trainer: Any) -> None:
    if trainer.overfit_batches > 0:
        raise ConfigError(
            "`overfit_batches` must be 0, since it leaves out samples that are planned; got "
            f"{trainer.overfit_batches}. To overfit a few samples, prepare DataLoader(Subset(dataset, range(64)), ...) "
            "with emprune.Full()."
        )
    if trainer.limit_train_batches != 1.0 or isinstance(trainer.limit_train_batches, int):
        raise ConfigError(
            "`limit_train_batches` must be 1.0, since it leaves out samples that are planned; got "
            f"{trainer.limit_train_batches}. Lower `keep` instead, or try out the code with Trainer(fast_dev_run=True)."
        )
