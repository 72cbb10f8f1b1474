"""Promise: Ctrl-C and SIGTERM stop a command wherever they find it, in one line."""

import os
import signal
import sys
import time
import weakref

import pytest

from pipeline import command


class Something:
    pass


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_where_python_drops_what_is_raised_is_not_lost(
    how: signal.Signals, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    hook, handlers = sys.unraisablehook, [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def work() -> int:
        for _ in range(times):
            something = Something()
            reference = weakref.ref(something, lambda _: os.kill(os.getpid(), how))
            del something
            assert reference() is None
        time.sleep(30)
        return 0

    start = time.monotonic()
    with command.stopped_by_sigterm():
        status = command.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")
    assert time.monotonic() - start < 10
    assert sys.unraisablehook is hook
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_what_else_python_drops_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(what.exc_type))
    with command.stopped_by_sigterm():
        something = Something()
        reference = weakref.ref(something, lambda _: 1 / 0)
        del something
        assert reference() is None
    assert told == [ZeroDivisionError]
