"""Shows how far an experiment has come, with its rate and the remaining time."""

import sys
import time
from collections.abc import Callable

from pipeline import console
from pipeline.liveness import duration

Progress = Callable[[int, int], None]  # called with the units done and the number of all units

_INTERVAL = {True: 0.2, False: 10.0}  # seconds between updates, on a terminal and elsewhere


def counter(unit: str, start: int = 0) -> Progress:
    """Returns a callback that rewrites one line on a terminal, and writes a line every ten seconds elsewhere.

    Args:
        unit: follows the two numbers, such as "batches attacked".
        start: units that an earlier run has done. They do not count for the rate.
    """
    terminal, began = sys.stderr.isatty(), time.monotonic()
    shown = began

    def show(done: int, count: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if terminal and done == count:
            console.tell("\r\x1b[K", end="")
        elif now - shown >= _INTERVAL[terminal]:
            shown = now
            text = f"{done:,} of {count:,} {unit}{pace(done - start, count - done, now - began)}"
            console.tell(f"\r\x1b[K{text}" if terminal else text, end="" if terminal else "\n")

    return show


def pace(done: int, remaining: int, seconds: float) -> str:
    """Returns the rate and the remaining time, such as ``, 31/s, 4 min 10 s left``; nothing before the first unit."""
    if not done or not seconds:
        return ""
    rate = done / seconds
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f", {shown}/s, {duration(remaining / rate)} left"


def silent(done: int, count: int) -> None:
    """Shows nothing."""
