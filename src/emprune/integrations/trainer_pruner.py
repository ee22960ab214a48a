"""The pruner that a Trainer makes for itself, once its training data are known."""

from typing import Any

from transformers import TrainingArguments

from emprune.data.own_pruner import Choice, as_pruner, refuse_beside_pruner
from emprune.errors import ConfigError
from emprune.integrations.trainer_setup import check_positions
from emprune.methods.base import Method
from emprune.methods.registry import as_method
from emprune.pruner import DataPruner

__all__ = ["PrunerChoice"]


class PrunerChoice:
    """What a Trainer was given to prune with: a pruner; or a method and options, to make one.

    Args:
        pruner: The pruner, or None.
        method: The method, or None.
        options: All that the Trainer was given by name; what a pruner takes is taken out.

    Raises:
        ConfigError: If neither or both are given, or a pruner and options.

    Attributes:
        options: What the pruner takes beside the method, by name.
    """

    def __init__(self, pruner: DataPruner | None, method: Method | str | None, options: dict[str, Any]) -> None:
        self.options = {name: options.pop(name) for name in Choice.__annotations__ if name in options}
        if (pruner is None) == (method is None):
            raise ConfigError(
                f"Exactly one of `method` and `pruner` must be given; got {method=}, {pruner=}. Write "
                "method=emprune.EMP(), keep=0.3. The Trainer then makes the pruner for its training data."
            )
        if pruner is not None and self.options:
            refuse_beside_pruner(*next(iter(self.options.items())))
        self.pruner = pruner
        self.method = pruner.method if pruner is not None else as_method(method or "")

    def pruner_for(self, dataset: Any, args: TrainingArguments) -> DataPruner:
        """Return the pruner that was given; or make one, for these data and for the epochs or steps of the arguments.

        Raises:
            ConfigError: If `num_train_epochs` is no whole number, or the budget cannot be met.
        """
        if self.pruner is not None:
            return self.pruner
        check_positions(dataset)
        by_steps, epochs = args.max_steps > 0, args.num_train_epochs
        if not by_steps and epochs != int(epochs):
            raise ConfigError(
                f"`num_train_epochs` must be whole, because epochs are planned; got {epochs}. Round it, or give "
                "`max_steps`."
            )
        return as_pruner(
            self.method,
            num_samples=len(dataset),
            samples_per_batch=args.per_device_train_batch_size,
            accumulation=args.gradient_accumulation_steps,
            drop_last=args.dataloader_drop_last,
            num_epochs=None if by_steps else int(epochs),
            num_steps=args.max_steps if by_steps else None,
            **self.options,
        )
