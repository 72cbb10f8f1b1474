"""Tells of work that lasts, at growing intervals. Imports nothing that computes: a proof tells of it, too."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pipeline.errors import PipelineError, one_line


class Say(Protocol):
    def __call__(self, event: str, message: str, **fields: Any) -> None: ...


@contextlib.contextmanager
def lasting(stall: float, what: str, say: Say) -> Iterator[None]:
    """Tell of work that nothing but its end is known of: that it lasts, after ``stall`` seconds, after twice as many, and
    so on; 0 for never. ``what`` is done, as in ``going through the images of data``; ``say`` as ``Watch`` takes it."""
    if not stall:
        yield
        return
    begun = time.monotonic()

    def watch(stop: threading.Event) -> None:
        after = stall
        while not stop.wait(max(0.0, begun + after - time.monotonic())):
            with contextlib.suppress(PipelineError):
                say("lasting", one_line(f"still {what}, for {duration(after)} so far"), seconds=round(after, 1))
            after *= 2

    with beside(watch):
        yield


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextlib.contextmanager
def beside(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Have a thread watch for as long as the block lasts; it is given what is set when it shall end."""
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(1.0)
