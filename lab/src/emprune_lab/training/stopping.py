"""Ctrl-C and SIGTERM as a question a run can ask."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import FrameType

from emprune.distributed import Ranks
from emprune_lab.errors import StoppedError

__all__ = ["Agreement", "StopRequest", "stop_on_signals"]

ASKED_EVERY = 10
"""Of so many questions one is put to all ranks."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether, and by which signal, the process was asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process ended by the signal: 130 or 143."""
        return 128 + (self.signal or signal.SIGTERM)  # which another rank may have had


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one ends the process as it would have at first."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        restore()


class Agreement:
    """A question that gets the same answer on all ranks, if all ask it equally often: yes once one said so.

    Args:
        ranks: Those that share the run; one alone is asked every time.

    Attributes:
        own: Returns this rank's own answer.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.own: Callable[[], bool] = lambda: False
        self._ranks, self._number, self._said = ranks, count(), False

    def __call__(self) -> bool:
        """Return whether a rank was asked to stop. Collective."""
        if self._ranks.size == 1:
            return self.own()
        if not self._said and next(self._number) % ASKED_EVERY == 0:
            self._said = any(self._ranks.exchange(self.own(), doing="asking whether to stop"))
        return self._said

    def check(self) -> None:
        """Raise StoppedError if a stop was asked for, as far as this rank knows: it works while the others wait."""
        if self._said or self.own():
            raise StoppedError("Stopped while scoring; nothing is lost.")
