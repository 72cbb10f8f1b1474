"""The process that workers are forked from. It loads the modules once, while the command still reads its lists."""

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import connection, forkserver, get_context, parent_process, util
from types import FrameType

from pipeline.storage.short_folder import short_folder

CONTEXT = get_context("forkserver")
_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Delays signals that end this process while it starts others, which get Ctrl-C blocked.

    So Ctrl-C ends workers without a message, and no worker complains that it received half of its arguments.
    """
    received: list[int] = []

    def later(number: int, _: FrameType | None) -> None:
        received.append(number)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, later) for number in _ENDING} if main else {}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


def start() -> None:
    """Starts the process, if it is not running yet."""
    CONTEXT.set_forkserver_preload(
        ["pipeline.verification.shards.verify_shard", "pipeline.verification.workers.preload"]
    )
    with _short_temporary_folder(), without_interrupts():
        forkserver.ensure_running()


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """Makes multiprocessing choose its temporary folder, which it keeps, where the path of its socket is short enough."""
    before = tempfile.tempdir
    tempfile.tempdir = str(short_folder(len("pymp-12345678/listener-12345678")))
    try:
        util.get_temp_dir()
        yield
    finally:
        tempfile.tempdir = before


def end_with_parent() -> None:
    """Makes a worker end when the process that it works for has ended in any way.

    The fork server then ends by itself: it lives as long as a process may ask it for more workers.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
