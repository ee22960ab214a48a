"""What a run's schedule comes to, in samples, visits and steps."""

from dataclasses import dataclass

__all__ = ["Sizes"]


@dataclass(frozen=True)
class Sizes:
    """What a run's schedule comes to.

    Args:
        train: Training samples.
        validation: Samples of the validation part; 0 without one.
        test: Samples of the test set.
        per_epoch: Visits of each epoch, on all ranks together, to the last batch.
        batch: Samples of a step, on all ranks together.
    """

    train: int
    validation: int
    test: int
    per_epoch: tuple[int, ...]
    batch: int

    @property
    def visits(self) -> int:
        """Visits of the whole run."""
        return sum(self.per_epoch)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return sum(-(-visits // self.batch) for visits in self.per_epoch)

    @property
    def first_step(self) -> int:
        """Samples of the first step: a batch, or what the first epoch keeps where that is less."""
        return min(self.batch, self.per_epoch[0])
