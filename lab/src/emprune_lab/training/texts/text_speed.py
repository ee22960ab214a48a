"""What a run on texts takes: the Trainer's first steps, timed."""

import time
from typing import Any

from transformers import TrainerCallback

from emprune_lab.training.speed import TIMED_STEPS, WARM_UP_STEPS, Speed, TimedStep
from emprune_lab.training.texts.encoding import Encoded
from emprune_lab.training.texts.text_session import EVALUATION_BATCH, TextSession

__all__ = ["measure_text_speed"]

SCORED_BATCHES = 2


class Clock(TrainerCallback):
    """Reads the clock around each step, and ends the training after a few."""

    def __init__(self, session: TextSession) -> None:
        self.session = session
        self.steps: list[TimedStep] = []
        self._begun = self._ended = 0.0
        self._visits = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock."""
        self._ended = self._now()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock: the batch is there."""
        self._begun = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock: it was trained on."""
        now, visits = self._now(), self.session.trainer.visits
        self.steps.append(TimedStep(self._begun - self._ended, now - self._begun, visits - self._visits))
        self._ended, self._visits = now, visits
        control.should_training_stop = len(self.steps) == WARM_UP_STEPS + TIMED_STEPS

    def _now(self) -> float:
        self.session.compute.synchronize()
        return time.perf_counter()


def measure_text_speed(session: TextSession) -> Speed:
    """Time a few steps of a fresh session, which is of no use afterwards."""
    clock = Clock(session)
    session.trainer.add_callback(clock)
    session.trainer.train()
    return Speed.of(clock.steps, scoring=_scoring(session))


def _scoring(session: TextSession) -> float:
    """Return the seconds for one text of the test part, of any length."""
    test = session.splits.test
    chosen = range(0, len(test), max(1, len(test) // (SCORED_BATCHES * EVALUATION_BATCH)))
    part = Encoded([test.tokens[place] for place in chosen], [test.labels[place] for place in chosen])
    session.evaluate(part)
    before = time.perf_counter()
    session.evaluate(part)
    return (time.perf_counter() - before) / len(part)
