"""Promise: Ctrl-C and SIGTERM stop a command at any moment, in one line."""

import contextlib
import os
import signal
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest

from pipeline import console, signals
from pipeline.errors import UsageError


class Referent:
    """What a weak reference can refer to."""


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Handles Ctrl-C as in a terminal. Background commands of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def dropping(do: Callable[[], object]) -> None:
    """Calls a function in the callback of a weak reference, where Python drops exceptions."""
    referent = Referent()
    reference = weakref.ref(referent, lambda _: do())
    del referent
    assert reference() is None


def drop(how: signal.Signals) -> None:
    """Sends this process a signal in a place where the exception of its handler is dropped."""
    dropping(lambda: os.kill(os.getpid(), how))


def hooks() -> list[object]:
    return [sys.unraisablehook, sys.excepthook, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_python_drops_is_not_lost(
    how: signal.Signals, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        for _ in range(times):
            drop(how)
        time.sleep(30)
        return 0

    before, start = hooks(), time.monotonic()
    with signals.raising():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")
    assert time.monotonic() - start < 10
    assert hooks() == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_other_code_catches_is_raised_again(
    how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imports of C code do so; a verification of a second went on to its end, in 1 of 90."""

    def work() -> int:
        for _ in range(3):
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), how)
                time.sleep(30)
        time.sleep(30)
        return 0

    start = time.monotonic()
    with signals.raising():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_a_stop_makes_code_clean_up_is_not_interrupted(
    how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    @contextlib.contextmanager
    def resource() -> Iterator[None]:
        try:
            yield
        finally:
            time.sleep(0.2)
            try:
                raise FileNotFoundError
            except FileNotFoundError:
                time.sleep(0.2)
            cleaned.append("generator")

    def work() -> int:
        try:
            with resource():
                os.kill(os.getpid(), how)
        finally:
            time.sleep(0.2)
            cleaned.append("block")
        return 0

    with signals.raising():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")
    assert cleaned == ["generator", "block"]


def test_a_block_that_delays_signals_is_not_interrupted_by_an_earlier_one() -> None:
    finished = False

    def work() -> int:
        nonlocal finished
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        time.sleep(0.2)
        finished = True
        signal.signal(signal.SIGTERM, before)
        time.sleep(30)
        return 0

    with signals.raising():
        assert console.run(work, "stopped") == 1
    assert finished


def test_a_traceback_that_c_code_prints_of_a_stop_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """``PyErr_Print``, as NumPy calls it when the import of its C code fails, calls ``sys.excepthook``."""

    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            sys.excepthook(*sys.exc_info())
            raise
        return 0

    with signals.raising():
        assert console.run(work, "stopped") == 1
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_dropped_at_the_end_does_not_affect_the_next_command(how: signal.Signals) -> None:
    before = hooks()
    for _ in range(20):
        with signals.raising():
            drop(how)
    assert hooks() == before
    time.sleep(0.1)  # the last of them would have come by now


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_an_import_turns_into_an_error_is_a_stop(
    how: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        try:
            os.kill(os.getpid(), how)
        except KeyboardInterrupt:
            raise ImportError("numpy cannot be imported") from None
        return 0

    with signals.raising():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_the_command_begins_is_a_stop(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 251512838 of the soak, where the signal came at another moment when it was replayed."""
    monkeypatch.setattr(console, "_open", lambda _: os.kill(os.getpid(), how))
    with signals.raising():
        status = console.run(lambda: 0, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_message_of_an_error_changes_nothing(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 773796638 of the soak."""
    tell = console.tell

    def interrupted(text: str) -> None:
        os.kill(os.getpid(), how)
        tell(text)
        os.kill(os.getpid(), how)

    def work() -> int:
        raise UsageError("ranks: none given")

    monkeypatch.setattr(console, "tell", interrupted)
    with signals.raising():
        status = console.run(work, "stopped")
        os.kill(os.getpid(), how)
    assert (status, capsys.readouterr().err) == (2, "error: ranks: none given\n")


def test_any_other_error_of_an_import_is_raised() -> None:
    def work() -> int:
        raise ImportError("numpy cannot be imported")

    with pytest.raises(ImportError), signals.raising():
        console.run(work, "stopped")


def test_other_dropped_exceptions_are_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: dropped.append(unraisable.exc_type))
    with signals.raising():
        dropping(lambda: 1 / 0)
    assert dropped == [ZeroDivisionError]


@pytest.mark.parametrize("stop", [True, False])
def test_objects_that_a_stop_leaves_half_made_say_nothing(
    stop: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a stop their errors and warnings are shown."""
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)

    def broken() -> None:
        raise AttributeError("half made")

    def work() -> int:
        try:
            if stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return 0
        finally:
            dropping(broken)
            warnings.warn("never awaited", RuntimeWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as warned, signals.raising():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == ((1, "stopped\n") if stop else (0, ""))
    assert (len(dropped), len(warned)) == ((0, 0) if stop else (1, 1))
