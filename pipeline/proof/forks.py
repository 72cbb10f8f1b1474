"""The process that a proof's workers are forked from: a clean one, as a spawned worker has, but what is slow to load it
loads only once, and while the command itself still reads its lists."""

import contextlib
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, get_context

CONTEXT = get_context("forkserver")


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started here have Ctrl-C blocked, so that it ends them silently."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def warm() -> None:
    """Have it running, or on its way."""
    CONTEXT.set_forkserver_preload(["pipeline.proof.preload"])
    with without_interrupts():
        forkserver.ensure_running()
