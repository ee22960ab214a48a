"""What a run will take: a few steps, timed, and the arithmetic from there."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

__all__ = ["NUM_TIMED_STEPS", "Forecast", "Speed", "TimedStep", "forecast"]

WARM_UP_STEPS, NUM_TIMED_STEPS = 3, 18
LOADING_BOUND = 0.5
FIXED_BOUND = 0.2


class TimedStep(NamedTuple):
    """A step's seconds of loading and of computing, and its samples, which may be fewer than a batch has."""

    loading: float
    computing: float
    num_samples: int


@dataclass(frozen=True)
class Speed:
    """What a run's parts take on this machine, in seconds.

    Args:
        start: Until the first steps are done, compilation included.
        loading: To have a batch: fetched, augmented, normalised.
        computing: To train on it: forward, backward, observing, the optimizer.
        scoring: To score one sample.
        batch_size: Samples in such a batch, the mean.
    """

    start: float
    loading: float
    computing: float
    scoring: float
    batch_size: float

    @classmethod
    def of(cls, steps: Sequence[TimedStep], *, scoring: float) -> Self:
        """Return the speed that timed steps show once the first are past.

        A step counts with the median of those of its size: an epoch may end in a short batch, or be one.

        Args:
            steps: In their order.
            scoring: To score one sample.
        """
        num_first = min(WARM_UP_STEPS, len(steps) - 1)
        start = sum(step.loading + step.computing for step in steps[:num_first])
        loading, computing, sizes = zip(*steps[num_first:], strict=True)
        return cls(start, _typical(loading, sizes), _typical(computing, sizes), scoring, statistics.fmean(sizes))

    @property
    def loading_share(self) -> float:
        """The part of a step that is spent on having its batch, in [0, 1]."""
        return self.loading / (self.loading + self.computing)

    def seconds(self, *, visits: int, num_scored: int) -> float:
        """Return what training on so many samples, and scoring so many, takes."""
        return self.start + visits / self.batch_size * (self.loading + self.computing) + num_scored * self.scoring


@dataclass(frozen=True)
class Forecast:
    """What a run and the same run on all the data will take, in seconds.

    Args:
        speed: Of the run's parts.
        visits: Those it is planned to make.
        full_visits: Those of as many epochs on all the data.
        seconds: What the run takes.
        full_seconds: What it takes on all the data.
        short_steps: Whether its epochs are less than a batch, so that its steps are shorter than those on all the data.
    """

    speed: Speed
    visits: int
    full_visits: int
    seconds: float
    full_seconds: float
    short_steps: bool = False

    @property
    def saved_share(self) -> float:
        """The part of the full run's time that is saved."""
        return 1 - self.seconds / self.full_seconds

    def warnings(self) -> list[str]:
        """Say where pruning saves less than it could."""
        said = []
        if self.speed.loading_share > LOADING_BOUND:
            said.append(
                f"Loading, not computing, is the bottleneck: {self.speed.loading_share:.0%} of a step. Pruning saves "
                "little that faster loading would not save too: fix that first."
            )
        pruned_share = self.visits / self.full_visits
        if self.seconds / self.full_seconds > pruned_share + FIXED_BOUND:
            why = "the start and the scoring, which pruning does not shorten, are a large part of so short a run."
            if self.short_steps:
                why = "an epoch keeps less than a batch, so that pruning saves no steps. Lower the batch size."
            said.append(
                f"{self.seconds / self.full_seconds:.0%} of the time for {pruned_share:.0%} of the visits: {why}"
            )
        return said


def forecast(
    speed: Speed, *, visits: int, full_visits: int, num_scored: int, full_speed: Speed | None = None
) -> Forecast:
    """Return what a run will take, and the same run on all the data.

    Args:
        speed: Of its parts.
        visits: Those it is planned to make.
        full_visits: Those of as many epochs on all the data.
        num_scored: Samples that either scores.
        full_speed: Of the parts of the run on all the data, where its batches are larger.
    """
    seconds = speed.seconds(visits=visits, num_scored=num_scored)
    full_seconds = (full_speed or speed).seconds(visits=full_visits, num_scored=num_scored)
    return Forecast(speed, visits, full_visits, seconds, full_seconds, short_steps=full_speed is not None)


def _typical(seconds: Sequence[float], sizes: Sequence[int]) -> float:
    """The mean over steps, each taken as the median of those of its size: one that was held up says nothing."""
    alike: dict[int, list[float]] = {}
    for size, own in zip(sizes, seconds, strict=True):
        alike.setdefault(size, []).append(own)
    return sum(len(own) * statistics.median(own) for own in alike.values()) / len(sizes)
