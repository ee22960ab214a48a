"""Lightning: a loader whose epochs may shrink, and the callback that plans them and keeps the pruner."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from emprune.data.loader import PrunedLoader
from emprune.errors import ConfigError, EpochError
from emprune.pruner import DataPruner

try:
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.trainer.states import TrainerFn
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.lightning needs the package 'lightning': pip install 'emprune[lightning]'",
        name="lightning",
    ) from error

__all__ = ["PruningCallback", "prepare"]

_REFUSED_CALLBACKS = {
    "GradientAccumulationScheduler": "A GradientAccumulationScheduler would change the steps of an epoch that is "
    "planned already. Use a constant Trainer(accumulate_grad_batches=...).",
    "BatchSizeFinder": "A BatchSizeFinder cannot change the batches of epochs that are planned, and would take every "
    "size for a good one without having tried it. Look for the batch size without the pruner.",
}
"""By name, because `pytorch_lightning`, which works as well, has classes of its own."""


def prepare(trainer: Trainer, dataloader: DataLoader[Any], pruner: DataPruner) -> PrunedLoader:
    """Return the loader to give to Lightning as the training one, and add the `PruningCallback` to the trainer.

    Call it in the `setup` of the module or datamodule, where Lightning has started the ranks, and return the loader
    from `train_dataloader`; on a single device it may also be called before `trainer.fit`.

    Args:
        trainer: The trainer. Its `accumulate_grad_batches` is part of the quantum.
        dataloader: A DataLoader that PrunedLoader accepts; `batch_size` is per device.
        pruner: The pruner, for the trainer's `max_epochs`.

    Raises:
        ConfigError: If the trainer would not train on every sample of every plan, or not validate in every epoch.

    Example:
        >>> import emprune, torch
        >>> from torch.utils.data import TensorDataset
        >>> trainer = Trainer(
        ...     max_epochs=2, reload_dataloaders_every_n_epochs=1, accelerator="cpu", logger=False
        ... )
        >>> dataset = TensorDataset(torch.arange(8.0))
        >>> pruner = emprune.DataPruner(emprune.Random(), num_samples=8, num_epochs=2, keep=0.5)
        >>> loader = prepare(trainer, DataLoader(dataset, batch_size=2, shuffle=True), pruner)
        >>> loader.total_steps
        4
    """
    settings: Any = trainer  # Lightning sets these attributes where type checkers do not see it
    _check_ranks(trainer, dataloader, pruner)
    _check_settings(settings, pruner)
    loader = FitLoader(dataloader, pruner, accumulation=settings.accumulate_grad_batches)
    _check_validation(settings, loader)
    others = [callback for callback in settings.callbacks if not isinstance(callback, PruningCallback)]
    settings.callbacks = [PruningCallback(loader, trainer), *others]
    return loader


class FitLoader(PrunedLoader):
    """A PrunedLoader for one fit: another trainer would train on its last plan over and over, and plan nothing."""

    is_fitting = False
    """Whether the trainer that it was prepared for is in its fit."""

    @property
    def fewest_batches(self) -> int:
        """Batches of the run's smallest epoch on this rank."""
        return min(map(self._num_batches, self.pruner.schedule.num_kept_per_epoch(**self._sizing)))

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        if not self.is_fitting:
            raise ConfigError(
                "This loader is for the `fit` of the trainer that it was prepared with, which has not begun or is "
                "over. Call `prepare` for this trainer too, with a new pruner."
            )
        return super().__iter__()


class PruningCallback(Callback):
    """Plans the epochs of a Lightning run, keeps the pruner in its checkpoints and logs what was kept.

    An epoch is planned at the end of the one before, so that a checkpoint of an epoch's end holds the next plan and
    Lightning finds the new length when it reloads the loader. The place within an epoch is kept by Lightning.

    Logged at the end of each epoch, as metrics that callbacks can monitor: `pruning/kept_fraction`, `pruning/churn`
    (from the second epoch on) and `pruning/planning_seconds` (of the run so far).

    Args:
        loader: The loader that `prepare` made.
        trainer: The trainer that it was made for.
    """

    def __init__(self, loader: FitLoader, trainer: Trainer) -> None:
        self.loader, self.trainer = loader, trainer

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin before a tuner's callback does, and look at the settings again, which a tuner changes."""
        if stage == "fit":
            _check_settings(trainer, self.loader.pruner)
            self.on_fit_start(trainer, pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the first epoch, or go on with the restored one."""
        self.loader.is_fitting = True
        self._begin()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the loader to other trainers, also where a tuner ends the fit."""
        self.loader.is_fitting = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the loader likewise."""
        self.loader.is_fitting = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the next epoch where a checkpoint was saved after the last batch of one, whose end is not repeated."""
        pruner = self.loader.pruner
        is_over = self.loader.state_dict()["num_delivered"] == len(pruner.plan)
        if is_over and trainer.current_epoch == pruner.epoch + 1:
            self._plan_next()
            # Lightning compares the batches done with the new length, and would take a longer epoch for the old one.
            trainer.fit_loop.epoch_loop.restarting = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise unless Lightning trains on this loader, in the pruner's epoch."""
        if trainer.train_dataloader is not self.loader:
            raise ConfigError(
                "Lightning must train on the loader that `prepare` returned: got "
                f"{type(trainer.train_dataloader).__name__}. Return it from `train_dataloader`, the same in each epoch."
            )
        if self.loader.pruner.epoch != trainer.current_epoch:
            raise EpochError(
                f"Lightning is in epoch {trainer.current_epoch}, the pruner in epoch {self.loader.pruner.epoch}. Was "
                "the checkpoint saved without this pruner, or the pruner used in another fit? Resume with both, or "
                "make a new pruner."
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's plan, and plan the next one."""
        pruner = self.loader.pruner
        metrics = {"kept_fraction": pruner.plan.kept_fraction, "planning_seconds": pruner.planning_seconds}
        if pruner.churn is not None:
            metrics["churn"] = pruner.churn
        pl_module.log_dict({f"pruning/{name}": value for name, value in metrics.items()}, sync_dist=True, batch_size=1)
        self._plan_next()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fold the last epoch in, so that the pruner's columns hold the whole run on every device."""
        self.loader.pruner.sync()

    def state_dict(self) -> dict[str, Any]:
        """Return the pruner's state; collective, as Lightning's saving is."""
        self.loader.pruner.sync()
        return self.loader.pruner.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the pruner's state; not where the checkpoint is only evaluated, as by `test(ckpt_path="best")`."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        self.loader.pruner.load_state_dict(state_dict)
        self._begin()  # some strategies restore after on_fit_start

    def _begin(self) -> None:
        self.loader.set_epoch(max(0, self.loader.pruner.epoch))

    def _plan_next(self) -> None:
        pruner = self.loader.pruner
        if pruner.epoch + 1 < pruner.num_epochs:
            self.loader.set_epoch(pruner.epoch + 1)


def _check_ranks(trainer: Trainer, dataloader: DataLoader[Any], pruner: DataPruner) -> None:
    if pruner.world_size != trainer.world_size:
        raise ConfigError(
            f"Every device must have its own share of the data: got {trainer.world_size} device(s) and a pruner for "
            f"{pruner.world_size} rank(s). Make the pruner and call `prepare` in the `setup` of the LightningModule or "
            "LightningDataModule, where the ranks have been started."
        )
    if pruner.world_size > 1 and dataloader.num_workers and not dataloader.in_order:
        raise ConfigError(
            "`in_order=False` cannot be resumed on several devices: Lightning saves the place of one of them. Leave it "
            "out."
        )


def _check_settings(trainer: Any, pruner: DataPruner) -> None:
    if trainer.reload_dataloaders_every_n_epochs != 1:
        raise ConfigError(
            "Lightning must look at the loader anew in each epoch, or it takes the first epoch's length for all and "
            "stops to validate: got reload_dataloaders_every_n_epochs="
            f"{trainer.reload_dataloaders_every_n_epochs}. Write Trainer(reload_dataloaders_every_n_epochs=1)."
        )
    for callback in trainer.callbacks:
        for cls in type(callback).__mro__:
            if cls.__name__ in _REFUSED_CALLBACKS:
                raise ConfigError(_REFUSED_CALLBACKS[cls.__name__])
    if trainer.fast_dev_run:
        return
    if trainer.max_epochs != pruner.num_epochs:
        raise ConfigError(
            f"The pruner's `num_epochs` must be the trainer's `max_epochs`: got {pruner.num_epochs} and "
            f"{trainer.max_epochs}. Write DataPruner(..., num_epochs=trainer.max_epochs), with a number of epochs."
        )
    if trainer.limit_train_batches != 1.0 or isinstance(trainer.limit_train_batches, int):
        raise ConfigError(
            f"`limit_train_batches` would leave out samples that are planned: got {trainer.limit_train_batches}. "
            "Lower the pruner's `keep` instead, or try out the code with Trainer(fast_dev_run=True)."
        )


def _check_validation(trainer: Any, loader: FitLoader) -> None:
    interval = trainer.val_check_interval
    within_epochs = trainer.check_val_every_n_epoch is not None and trainer.limit_val_batches > 0
    if not (within_epochs and isinstance(interval, int)):
        return
    if interval > loader.fewest_batches:
        raise ConfigError(
            f"A whole `val_check_interval` must not exceed the batches of the smallest epoch, {loader.fewest_batches}: "
            f"got {interval}. Lower it, or add Trainer(check_val_every_n_epoch=None) to count over epochs."
        )
