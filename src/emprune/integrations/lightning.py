"""Lightning: a loader for epochs of different lengths, and the callback that plans them and saves the run."""

from collections.abc import Mapping
from typing import Any, Unpack

from torch.utils.data import DataLoader

from emprune.data.ending import fold_pending
from emprune.data.loader import PrunedLoader
from emprune.data.streams import PrunedStream
from emprune.errors import ConfigError, EpochError
from emprune.integrations.lightning_checks import check_combined, check_ranks, check_settings, check_validation, logged
from emprune.integrations.shared import InFit, check_in_order, is_stream
from emprune.integrations.tracking import track_pruner
from emprune.methods.base import Method
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

from emprune.integrations.lightning_loaders import FitLoader, FitStream, InFitLoader

__all__ = ["PruningCallback", "prepare"]

_TRACKED = ("TensorBoardLogger", "WandbLogger")
"""Loggers that get histograms and a table too."""


def prepare(
    trainer: Trainer,
    dataloader: DataLoader[Any],
    method: Method | str | DataPruner,
    *,
    accumulation: int | None = None,
    **choice: Unpack[InFit],
) -> PrunedLoader | PrunedStream:
    """Return the loader to give to Lightning as the training one; the trainer's `max_epochs` is the length of the run.

    Call it in the `setup` of the module or datamodule, where Lightning has started the ranks, and return the loader
    from `train_dataloader`. On a single device it may also be called before `trainer.fit`.

    Args:
        trainer: The trainer, with a `PruningCallback` among its callbacks. Its `accumulate_grad_batches` is part of the
            quantum.
        dataloader: A DataLoader that PrunedLoader or, over a stream, PrunedStream accepts; `batch_size` is per device.
        method: How samples are chosen: `EMP()`, its name, or a `DataPruner` for `max_epochs` epochs.
        accumulation: In manual optimisation, the batches of an optimizer step, at least 1. Then step where
            `loader.ends_step`. None is the trainer's `accumulate_grad_batches`.
        **choice: As `PrunedLoader` takes it: `keep`, `warmup_epochs`, `tail_epochs`, `seed`, `nonfinite`,
            `lengths`, `initial`, `data_key`; of a stream `shuffle_buffer` too.

    Raises:
        ConfigError: If the trainer has no `PruningCallback`, would leave out planned samples or validations, steps
            itself after other batches than `accumulation` says, or the budget cannot be met.

    Example:
        >>> import emprune, torch
        >>> from torch.utils.data import TensorDataset
        >>> trainer = Trainer(
        ...     max_epochs=2,
        ...     callbacks=[PruningCallback()],
        ...     reload_dataloaders_every_n_epochs=1,
        ...     accelerator="cpu",
        ...     logger=False,
        ... )
        >>> dataloader = DataLoader(TensorDataset(torch.arange(8.0)), batch_size=2, shuffle=True)
        >>> loader = prepare(trainer, dataloader, emprune.Random(), keep=0.5)
        >>> loader.total_steps
        4
    """
    callback = _callback_of(trainer)
    check_settings(trainer, num_epochs=method.num_epochs if isinstance(method, DataPruner) else None)
    loader = (FitStream if is_stream(dataloader) else FitLoader)(
        trainer, dataloader, method, accumulation=accumulation, **choice
    )
    check_ranks(trainer, loader)
    check_in_order(loader)
    check_validation(trainer, loader)
    loader.begin()
    callback.loader = loader
    return loader


class PruningCallback(Callback):
    """Plans the epochs of a Lightning run, saves the run in its checkpoints and logs what was kept.

    An epoch is planned at the end of the one before. So Lightning finds the new length when it reloads the loader. The
    callback's state is the loader's one state, as `PrunedLoader` loads it.

    It logs `pruning/kept_fraction`, `pruning/churn` and `pruning/planning_seconds` at the end of each epoch. Other
    callbacks can monitor them. Churn begins with the second epoch. The seconds are those of the run so far. Loggers of
    TensorBoard and Weights & Biases get what `emprune.integrations.tracking.track` measures too.

    A method that follows the gap is handed two logged losses after each validation. The defaults are the names that
    Lightning gives `val_loss` of two validation loaders, where the second has the probe:
    ``loader.evaluation(index=loader.pruner.probe())``.

    Args:
        validation_loss: The name of the logged validation loss; None if you call `loader.observe_validation` yourself.
        train_loss: The name of the logged loss on the probe.

    Attributes:
        loader: What `prepare` returned last, in this process; None before.

    Example:
        >>> trainer = Trainer(callbacks=[PruningCallback()], accelerator="cpu", logger=False)
    """

    def __init__(
        self,
        *,
        validation_loss: str | None = "val_loss/dataloader_idx_0",
        train_loss: str = "val_loss/dataloader_idx_1",
    ) -> None:
        self.validation_loss, self.train_loss = validation_loss, train_loss
        self.loader: InFitLoader | None = None
        self._trainer: Trainer | None = None

    @property
    def _prepared(self) -> InFitLoader:
        if self.loader is None:
            raise ConfigError(
                "A trainer with a PruningCallback must have a pruned loader before its fit begins; got none. In the "
                "module's `setup`, write self.loader = prepare(self.trainer, DataLoader(...), method, keep=...)."
            )
        return self.loader

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look at the settings again, which a tuner changes."""
        self._trainer = trainer
        if stage == "fit" and self.loader is not None:
            check_settings(trainer, num_epochs=None)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise unless there is a loader."""
        self._prepared.begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the next epoch where a checkpoint was saved after the last batch: Lightning does not repeat the end."""
        loader = self._prepared
        check_settings(trainer, num_epochs=loader.pruner.num_epochs)
        check_combined(trainer, loader)
        if loader.is_delivered and trainer.current_epoch == loader.pruner.epoch + 1:
            self._plan_next()
            # Lightning compares the batches done with the new length, and would take a longer epoch for the old one.
            trainer.fit_loop.epoch_loop.restarting = False
        elif loader.pruner.epoch != trainer.current_epoch:
            raise EpochError(_why_another_epoch(trainer, loader.pruner.epoch))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise unless Lightning trains on this loader."""
        check_combined(trainer, self._prepared)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the losses over to a method that follows the gap."""
        fits = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fits and self.validation_loss is not None and self._prepared.pruner.method.needs_gap:
            loss, train_loss = (logged(trainer, name) for name in (self.validation_loss, self.train_loss))
            self._prepared.observe_validation(loss, train_loss=train_loss)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's plan, and plan the next one."""
        pruner = self._prepared.pruner
        metrics = {"kept_fraction": pruner.plan.kept_fraction, "planning_seconds": pruner.planning_seconds}
        if pruner.churn is not None:
            metrics["churn"] = pruner.churn
        pl_module.log_dict({f"pruning/{name}": value for name, value in metrics.items()}, sync_dist=True, batch_size=1)
        ends = _is_over(trainer)
        if any(type(logger).__name__ in _TRACKED for logger in trainer.loggers):
            track_pruner(pruner, trainer.loggers if trainer.is_global_zero else (), ends=ends)
        if not ends:
            self._plan_next()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fold the last epoch in, so that the pruner's columns hold the whole run on every device."""
        fold_pending(self._prepared.pruner, ends=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's one state; collective, as Lightning's saving is."""
        return {} if self.loader is None else self.loader.run_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the run; not where the checkpoint is only evaluated, as by ``test(ckpt_path="best")``."""
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            self._prepared.load_run_state(state_dict)

    def _plan_next(self) -> None:
        loader = self._prepared
        if loader.pruner.epoch + 1 < loader.pruner.num_epochs:
            loader.set_epoch(loader.pruner.epoch + 1)


def _callback_of(trainer: Any) -> PruningCallback:
    for callback in trainer.callbacks:
        if isinstance(callback, PruningCallback):
            return callback
    found = ", ".join(type(callback).__name__ for callback in trainer.callbacks) or "none"
    raise ConfigError(
        f"The trainer's `callbacks` must have a PruningCallback, which plans the epochs; got {found}. Write "
        "Trainer(callbacks=[PruningCallback()])."
    )


def _is_over(trainer: Any) -> bool:
    """Whether Lightning stops after this epoch, as far as is known before its monitors look at the end."""
    enough = trainer.current_epoch + 1 >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
    return bool(trainer.should_stop and enough and trainer.max_steps == -1)


def _why_another_epoch(trainer: Any, epoch: int) -> str:
    where = f"got epoch {trainer.current_epoch} there and epoch {epoch} here"
    if trainer.ckpt_path is not None and trainer.max_steps != -1 and epoch == trainer.current_epoch + 1:
        return (
            f"Lightning and the pruner must be in the same epoch: {where}. With `max_steps` Lightning takes the "
            "checkpoint of an epoch's end for one of its middle. Resume without `max_steps`, or from one of "
            "ModelCheckpoint(every_n_train_steps=...)."
        )
    if trainer.ckpt_path is not None:
        return (
            f"Lightning and the pruner must be in the same epoch: {where}. The checkpoint was saved without a "
            "PruningCallback. Start anew, or resume without the pruner."
        )
    return (
        f"Lightning and the pruner must be in the same epoch: {where}. The trainer goes on from an earlier fit, and a "
        "run's plan cannot be made longer. Write a new Trainer(max_epochs=...) for a new run; or resume with "
        "fit(..., ckpt_path=...) a run that was planned for all its epochs."
    )
