"""The pruner of a loader: the one that was given, or one made of a method and a budget."""

from typing import Any

from emprune.distributed import ProcessGroup
from emprune.errors import ConfigError
from emprune.methods.base import Method
from emprune.pruner import DataPruner, NonfinitePolicy, as_method

__all__ = ["as_pruner"]


def as_pruner(
    method: Method | str | DataPruner,
    *,
    num_samples: int,
    num_epochs: int | None,
    keep: float | None,
    warmup_epochs: int,
    tail_epochs: int | None,
    seed: int,
    nonfinite: NonfinitePolicy,
    process_group: "ProcessGroup | None",
) -> DataPruner:
    """Return the pruner that is given, or make one of a method and a budget.

    Raises:
        ConfigError: If a pruner is given and a budget too, or the budget cannot be met.
    """
    budget: dict[str, Any] = {
        "keep": keep,
        "warmup_epochs": warmup_epochs,
        "tail_epochs": tail_epochs,
        "seed": seed,
        "nonfinite": nonfinite,
        "process_group": process_group,
    }
    if isinstance(method, DataPruner):
        _check_pruner(method, num_samples, {"num_epochs": num_epochs, **budget})
        return method
    method = as_method(method)
    if num_epochs is None:
        raise ConfigError("`num_epochs` must be given, the length of the run: got None. Write num_epochs=200.")
    return DataPruner(method, num_samples=num_samples, num_epochs=num_epochs, **budget)


_DEFAULTS = {"warmup_epochs": 0, "seed": 0, "nonfinite": "error"}


def _check_pruner(pruner: DataPruner, num_samples: int, budget: dict[str, Any]) -> None:
    for name, value in budget.items():
        if value != _DEFAULTS.get(name):
            raise ConfigError(
                f"`{name}` must be given to the DataPruner: got a pruner and {name}={value!r}. Leave it out, or hand "
                "over the method instead of a pruner."
            )
    if num_samples != pruner.num_samples:
        raise ConfigError(
            f"The pruner's `num_samples` must be the length of the dataset, {num_samples}: got {pruner.num_samples}. "
            "Use num_samples=len(dataset)."
        )
