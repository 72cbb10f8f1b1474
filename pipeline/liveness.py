"""Reports work that takes long, at growing intervals: what the stall watches of builds and of verification share.

This module imports nothing that computes, so that verification can use it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from pipeline.errors import PipelineError, one_line

_SHOWN = 3  # items of a line


class Say(Protocol):
    """Reports an event: ``message`` for people, ``event`` and ``fields`` for ``--log-json``."""

    def __call__(self, event: str, message: str, **fields: Any) -> None: ...


class Reminder:
    """Decides when to report something that lasts: after ``first`` seconds, then each time its duration has doubled.

    Attributes:
        reported: the duration at the last report in seconds; 0 if there was none.
    """

    def __init__(self, first: float) -> None:
        self._first = first
        self.reset()

    def reset(self) -> None:
        """Begins again: whatever lasted has ended."""
        self._next, self.reported = self._first, 0.0

    def due(self, seconds: float) -> bool:
        """Returns whether to report a duration now. If so, the next report is due after twice the duration."""
        if seconds < self._next:
            return False
        self._next, self.reported = 2 * seconds, seconds
        return True


@contextlib.contextmanager
def lasting(stall: float, what: str, say: Say) -> Iterator[None]:
    """Reports that the block still runs: after ``stall`` seconds, after twice as many, and so on.

    Args:
        stall: seconds; 0 for no reports.
        what: the work, as in ``going through the images of data``.
        say: reports the event ``lasting``; called from a thread.
    """
    if not stall:
        yield
        return
    start = time.monotonic()

    def watch(stop: threading.Event) -> None:
        after = stall
        while not stop.wait(max(0.0, start + after - time.monotonic())):
            with contextlib.suppress(PipelineError):
                say("lasting", one_line(f"still {what}, for {duration(after)} so far"), seconds=round(after, 1))
            after *= 2

    with beside(watch):
        yield


@contextlib.contextmanager
def repeating(look: Callable[[], None], stall: float, longest: float) -> Iterator[None]:
    """Calls ``look`` from a thread while the block runs, often enough to notice a stall in time.

    Args:
        stall: seconds after which a stall is reported; 0 for never, and ``look`` is not called.
        longest: the most seconds between two calls.
    """
    if not stall:
        yield
        return

    def watch(stop: threading.Event) -> None:
        while not stop.wait(min(stall / 8, longest)):
            with contextlib.suppress(PipelineError):  # a log that cannot be written ends the command elsewhere
                look()

    with beside(watch):
        yield


@contextlib.contextmanager
def beside(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs ``watch`` in a thread while the block runs. It must return when the event is set."""
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(1.0)


def listed(texts: Sequence[str]) -> str:
    """Returns the first three texts and the number of others, as in ``a; b; c; and 4 more``."""
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """Returns a duration as ``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
