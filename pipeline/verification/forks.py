"""The process that a proof's workers are forked from: a clean one, as a spawned worker has, but what is slow to load it
loads only once, and while the command itself still reads its lists."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import connection, forkserver, get_context, parent_process
from types import FrameType

CONTEXT = get_context("forkserver")
_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started here have Ctrl-C blocked, so that it ends them silently; and what would end this
    process waits until they have been started, for a worker that is told half of what it needs complains of it."""
    came: list[int] = []

    def later(number: int, _: FrameType | None) -> None:
        came.append(number)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, later) for number in _ENDING} if main else {}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def warm() -> None:
    """Have it running, or on its way."""
    CONTEXT.set_forkserver_preload(["pipeline.verification.preload"])
    with without_interrupts():
        forkserver.ensure_running()


def end_with_parent() -> None:
    """Of a worker: end when the process that it works for has ended, however that was. The process that it was forked
    from then ends by itself: it lives as long as anybody who may ask it for more."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
