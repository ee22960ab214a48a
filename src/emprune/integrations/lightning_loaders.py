"""Loaders for the fits of one Lightning trainer, over data with positions or over a stream."""

from collections.abc import Iterator, Mapping
from typing import Any, Self, Unpack

from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from torch import Tensor
from torch.utils.data import DataLoader

from emprune.data.around import LoaderAround
from emprune.data.loader import PrunedLoader
from emprune.data.streams import PrunedStream
from emprune.errors import ConfigError, StateError
from emprune.integrations.lightning_checks import accumulation_of
from emprune.integrations.shared import InFit, check_one_state
from emprune.methods.base import Method
from emprune.pruner import DataPruner

__all__ = ["FitLoader", "FitStream", "InFitLoader"]

_STATE_OF_THE_CALLBACK = {"saved_by": "PruningCallback"}


class InFitLoader(LoaderAround):
    """A loader for the fits of one trainer, whatever it delivers from.

    Another trainer would train on its last plan over and over, and plan nothing. The `PruningCallback` saves the run:
    Lightning asks loaders for their state too, but not at each moment, and gives it back only in mid-epoch.

    Args:
        trainer: The trainer.
        dataloader: The DataLoader.
        method: The method or pruner.
        accumulation: Batches of an optimizer step, if it is not the trainer that steps; see `accumulation_of`.
        **choice: As `PrunedLoader` takes it.
    """

    def __init__(
        self,
        trainer: Trainer,
        dataloader: DataLoader[Any],
        method: Method | str | DataPruner,
        *,
        accumulation: int | None = None,
        **choice: Unpack[InFit],
    ) -> None:
        settings: Any = trainer  # Lightning sets these attributes where type checkers do not see it
        length: dict[str, Any] = {} if isinstance(method, DataPruner) else {"num_epochs": settings.max_epochs}
        if settings.fast_dev_run and length:  # which sets max_epochs to 1
            choice = {**choice, "warmup_epochs": 0, "tail_epochs": 0}
        made: Any = super().__init__  # of the loader that this one is, too
        made(dataloader, method, accumulation=accumulation_of(trainer, accumulation), **length, **choice)
        self._trainer = trainer

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: who copies a module, to average its weights, must not copy its data and its trainer."""
        return self

    @property
    def batches_per_epoch(self) -> list[int]:
        """Batches of each epoch of the run on this rank."""
        return list(map(self._num_batches, self.pruner.schedule.num_kept_per_epoch(**self._planning)))

    @property
    def is_delivered(self) -> bool:
        """Whether all of the current epoch was handed out."""
        return self._begun.is_complete

    def begin(self) -> None:
        """Plan the first epoch, unless the run has begun."""
        if self._delivery is None:
            self.set_epoch(max(0, self.pruner.epoch))

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        state = self._trainer.state
        if state.fn != TrainerFn.FITTING or state.status != TrainerStatus.RUNNING:
            raise ConfigError(
                "A prepared loader must be used in a fit of the trainer that it was prepared for, which has not begun "
                "or is over. Call `prepare` for this trainer, with a new pruner."
            )
        return super().__iter__()

    def run_state(self) -> dict[str, Any]:
        """Return the one state of the run; collective, as Lightning's saving is."""
        self.sync()
        state = super().state_dict()
        check_one_state(state, self.pruner.world_size)
        return state

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Go on from the one state of a run."""
        super().load_state_dict(state)
        self.begin()

    def state_dict(self) -> dict[str, Any]:
        """Say where the run's state is, so that Lightning saves it once."""
        return dict(_STATE_OF_THE_CALLBACK)

    def load_state_dict(self, state: Any) -> None:
        """Accept what `state_dict` returned: the callback has loaded the run's state.

        Raises:
            StateError: If it is another state.
        """
        if state != _STATE_OF_THE_CALLBACK:
            raise StateError(
                "A prepared loader's state must be loaded by the PruningCallback; got another loader's. Pass "
                "trainer.fit(..., ckpt_path=...) a checkpoint of a pruned run."
            )


class FitLoader(InFitLoader, PrunedLoader):
    """A PrunedLoader for the fits of one trainer."""


class FitStream(InFitLoader, PrunedStream):
    """A PrunedStream for the fits of one trainer."""
