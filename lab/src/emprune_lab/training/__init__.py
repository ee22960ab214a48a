"""Training one run: images and blocks of tokens by our own loop, texts by the Hugging Face Trainer."""

from emprune.distributed import Ranks
from emprune_lab.run import Run
from emprune_lab.training.training import Reporter, Training, num_scored

__all__ = ["Reporter", "Training", "make_training", "num_scored"]


def make_training(run: Run, ranks: Ranks | None = None) -> Training:
    """Return the training of a run. Only this function chooses between our own loop and the Trainer.

    Args:
        run: The run.
        ranks: The processes that share it; None for this one alone.
    """
    if run.task.kind == "texts":
        from emprune_lab.training.texts.fine_tuning import TextTraining  # takes seconds, and the extra `texts`

        return TextTraining(run)
    from emprune_lab.training.arrays import ArrayTraining

    return ArrayTraining(run, ranks)
