"""The ends of epochs and of a run: what the last epoch observed is folded, too."""

import warnings

from emprune.errors import EmpruneWarning, ObservationError
from emprune.pruner import DataPruner

__all__ = ["fold_last", "fold_pending"]


def fold_pending(pruner: DataPruner, *, ends: bool = False) -> None:
    """Fold what was observed; collective on several ranks.

    Nothing is planned by the run's last epoch any more, and the model is not saved yet. So what is wrong there is a
    warning, and no error.

    Args:
        pruner: The pruner.
        ends: Whether training ends here, in whatever epoch.

    Raises:
        ObservationError: If values of an earlier epoch are not finite and `nonfinite="error"`.

    Warns:
        EmpruneWarning: If it is in the last epoch that they are not.
    """
    try:
        pruner.sync()
    except ObservationError as error:
        if not ends and pruner.epoch + 1 < pruner.num_epochs:
            raise
        warnings.warn(f"The run's last epoch was not folded whole. {error}", EmpruneWarning, stacklevel=3)


def fold_last(pruner: DataPruner) -> None:
    """Fold what the last epoch observed, as `fold_pending`; collective on several ranks.

    Warns:
        EmpruneWarning: If values are not finite, or if a method that scores never saw a finite observation.
    """
    fold_pending(pruner, ends=True)
    if not pruner.method.scores or bool(pruner.stats.seen.any()):
        return
    what = "no observation in the whole run: did you call reduce(index, losses, logits) in the training loop?"
    if bool(pruner.stats["visits"].any()):
        what = (
            "no finite loss in the whole run: all were NaN or infinite, or all samples were left out. Look at the data."
        )
    warnings.warn(f"{type(pruner.method).__name__} saw {what}", EmpruneWarning, stacklevel=3)
