"""The ends of epochs and of a run: what the last epoch observed is folded, too."""

import warnings

from emprune.errors import EmpruneWarning, ObservationError
from emprune.pruner import DataPruner

__all__ = ["fold_last", "was_observed"]


def fold_last(pruner: DataPruner) -> None:
    """Fold what the last epoch observed; collective on several ranks.

    Nothing is planned by it any more, and the model is not saved yet. So what is wrong is a warning, and no error.

    Warns:
        EmpruneWarning: If values are not finite, or if a method that scores never saw an observation.
    """
    try:
        pruner.sync()
    except ObservationError as error:
        warnings.warn(f"The run's last epoch was not folded. {error}", EmpruneWarning, stacklevel=3)
        return
    if pruner.method.scores and not bool(pruner.stats.seen.any()):
        name = type(pruner.method).__name__
        warnings.warn(
            f"{name} saw no observation in the whole run: did you call reduce(index, losses, logits) in the training "
            "loop?",
            EmpruneWarning,
            stacklevel=3,
        )


def was_observed(pruner: DataPruner) -> bool:
    """Return whether all of the pruner's current epoch was observed, as of the last fold."""
    return pruner.epoch >= 0 and bool((pruner.stats["last_visit"][pruner.plan.index] == pruner.epoch).all())
