"""Ctrl-C and SIGTERM as a question a run can ask."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import FrameType

from emprune.distributed import Ranks

__all__ = ["StopRequest", "agreed", "stop_on_signals"]

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


def agreed(stop: Callable[[], bool], ranks: Ranks) -> Callable[[], bool]:
    """Return a question that gets the same answer on all ranks, if all ask it equally often: yes once one said so.

    Args:
        stop: This rank's own answer.
        ranks: Those that share the run; one alone is asked every time.
    """
    if ranks.size == 1:
        return stop
    number, said = count(), False

    def ask() -> bool:
        nonlocal said
        if not said and next(number) % ASKED_EVERY == 0:
            said = any(ranks.exchange(stop(), doing="asking whether to stop"))
        return said

    return ask
