"""Ctrl-C and SIGTERM: both raise KeyboardInterrupt in the main thread, and neither is lost.

An exception that a signal's handler raises comes at any point of the program. Python drops it in callbacks of weak
references and in finalizers, and a library drops it where it catches every exception, as imports of C code do. So an alarm
looks again after the signal, and raises KeyboardInterrupt once more if nothing is handling it.
"""

import atexit
import contextlib
import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn

from pipeline.errors import FAILED

_FIRST_LOOK, _LONGEST_WAIT = 0.01, 1.0  # seconds from a signal to the first look, and at most between two looks


class _State:
    """Of the current command.

    Attributes:
        stopped: whether a signal has come.
        ended: whether the command has ended, so that a signal changes nothing any more.
    """

    stopped = ended = False


_state = _State()


def stopped() -> bool:
    """Returns whether a signal has stopped the current command."""
    return _state.stopped


def end() -> None:
    """Notes that the current command has ended: no signal raises an exception from here on."""
    _state.ended = True


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """While the block runs, SIGTERM raises KeyboardInterrupt as Ctrl-C does, again and again until something handles it.

    After a stop, dropped exceptions and warnings are not shown: they come from objects that were half made, such as
    asyncio's event loop.
    """
    global _state
    state = _state = _State()
    wait = _FIRST_LOOK

    def stop(*_: object) -> None:
        if not state.ended:
            state.stopped = True
            warnings.simplefilter("ignore")
            signal.signal(signal.SIGALRM, look_again)
            signal.setitimer(signal.ITIMER_REAL, _FIRST_LOOK)
            raise KeyboardInterrupt

    def look_again(*_: object) -> None:
        nonlocal wait
        if state.ended:
            return
        wait = min(2 * wait, _LONGEST_WAIT)
        signal.setitimer(signal.ITIMER_REAL, wait)
        delayed = signal.getsignal(signal.SIGTERM) is not stop  # a block that must not be interrupted is running
        if not delayed and not _handled(sys.exc_info()[1]):
            raise KeyboardInterrupt

    hooks = sys.unraisablehook, sys.excepthook
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # background commands of a shell ignore it
        numbers.append(signal.SIGINT)
    alarm = signal.getsignal(signal.SIGALRM)
    before = {number: signal.signal(number, stop) for number in numbers}
    sys.unraisablehook = lambda unraisable: None if state.stopped else hooks[0](unraisable)
    sys.excepthook = lambda *error: None if state.stopped else hooks[1](*error)  # C code may call it in an import
    try:
        with warnings.catch_warnings():
            yield
    finally:
        state.ended = True
        if state.stopped:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm or signal.SIG_DFL)
        sys.unraisablehook, sys.excepthook = hooks
        for number, handler in before.items():
            signal.signal(number, handler)


def _handled(error: BaseException | None) -> bool:
    """Returns whether a KeyboardInterrupt is being handled, given the exception that is: it, or one raised meanwhile."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def leave(status: int) -> NoReturn:
    """Ends the process with this status, which Ctrl-C and SIGTERM no longer change.

    A signal may come while the interpreter ends. After a failure the interpreter is skipped: CPython may still act on an
    earlier KeyboardInterrupt that was caught, and C++ code may abort on it.
    ``test_impatient_ctrl_c`` of tests/faults/test_interrupts.py fails without this.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # the end of the process frees all objects; a last garbage collection would only take time
    if status != FAILED:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
