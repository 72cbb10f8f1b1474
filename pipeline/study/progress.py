"""Shows on a terminal how far an experiment has come."""

import sys
from collections.abc import Callable

from pipeline import console

Progress = Callable[[int, int], None]  # called with the units done and the number of all units


def counter(unit: str) -> Progress:
    """Returns a callback that rewrites one line on a terminal, and prints nothing elsewhere.

    Args:
        unit: follows the two numbers, such as "batches attacked".
    """
    terminal = sys.stderr.isatty()

    def show(done: int, count: int) -> None:
        if terminal:
            end = "\r\x1b[K" if done == count else ""
            console.tell(f"\r\x1b[K{done:,} of {count:,} {unit}{end}", end="")

    return show


def silent(done: int, count: int) -> None:
    """Shows nothing."""
