"""What a run will take: a few steps, timed, and the arithmetic from there."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Self

from emprune.lab.objectives.base import EVALUATION_BATCH
from emprune.lab.session import Session

__all__ = ["TIMED_STEPS", "WARM_UP_STEPS", "Forecast", "Speed", "forecast", "measure_speed"]

WARM_UP_STEPS, TIMED_STEPS = 3, 15
LOADING_BOUND = 0.5
FIXED_BOUND = 0.2


@dataclass(frozen=True)
class Speed:
    """What a run's parts take on this machine, in seconds.

    Args:
        start: Until the first steps are done, compilation included.
        loading: To have a batch: fetched, augmented, normalised.
        computing: To train on it: forward, backward, observing, the optimizer.
        scoring: To score one sample.
        batch_size: Samples in a batch.
    """

    start: float
    loading: float
    computing: float
    scoring: float
    batch_size: int

    @classmethod
    def of(cls, marks: Sequence[tuple[float, float]], *, scoring: float, batch_size: int) -> Self:
        """Return the speed that timed steps show, by their median once the first are past.

        Args:
            marks: Of each step the seconds of loading and of computing.
            scoring: To score one sample.
            batch_size: Samples in a batch.
        """
        warm_up = min(WARM_UP_STEPS, len(marks) - 1)
        loading, computing = (statistics.median(part) for part in zip(*marks[warm_up:], strict=True))
        return cls(sum(map(sum, marks[:warm_up])), loading, computing, scoring, batch_size)

    @property
    def loading_share(self) -> float:
        """The part of a step that is spent on having its batch, in [0, 1]."""
        return self.loading / (self.loading + self.computing)

    def seconds(self, *, visits: int, num_scored: int) -> float:
        """Return what training on so many samples, and scoring so many, takes."""
        return self.start + visits / self.batch_size * (self.loading + self.computing) + num_scored * self.scoring


@dataclass(frozen=True)
class Forecast:
    """What a run and the same run on all the data will take, in seconds."""

    speed: Speed
    visits: int
    full_visits: int
    seconds: float
    full_seconds: float

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
                "little that faster loading would not save too: mend that first."
            )
        pruned_share = self.visits / self.full_visits
        if self.seconds / self.full_seconds > pruned_share + FIXED_BOUND:
            said.append(
                f"{self.seconds / self.full_seconds:.0%} of the time for {pruned_share:.0%} of the visits: the start "
                "and the scoring, which pruning does not shorten, are a large part of so short a run."
            )
        return said


def measure_speed(session: Session) -> Speed:
    """Time a few steps of a fresh session, which is of no use afterwards."""
    marks: list[tuple[float, float]] = []
    session.loader.set_epoch(0)
    batches = chain.from_iterable(repeat(session.loader))  # the epoch again and again: it may be a single batch
    while len(marks) < WARM_UP_STEPS + TIMED_STEPS:
        before = _now(session)
        batch = next(batches)
        between = _now(session)
        session.train_on(*batch)
        marks.append((between - before, _now(session) - between))
    return Speed.of(marks, scoring=_scoring(session), batch_size=session.config.batch_size)


def forecast(speed: Speed, *, visits: int, full_visits: int, num_scored: int) -> Forecast:
    """Return what a run will take, and the same run on all the data.

    Args:
        speed: Of its parts.
        visits: Those it is planned to make.
        full_visits: Those of as many epochs on all the data.
        num_scored: Samples that either scores.
    """
    seconds, full_seconds = (speed.seconds(visits=n, num_scored=num_scored) for n in (visits, full_visits))
    return Forecast(speed, visits, full_visits, seconds, full_seconds)


def _scoring(session: Session) -> float:
    part = session.splits.test.x[:EVALUATION_BATCH]
    session.objective.predict_all(session.result_model, part)
    before = _now(session)
    session.objective.predict_all(session.result_model, part)
    return (_now(session) - before) / len(part)


def _now(session: Session) -> float:
    session.compute.synchronize()
    return time.perf_counter()
