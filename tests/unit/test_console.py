"""Promises: Ctrl-C and SIGTERM stop a command at any moment, in one line; an empty path is refused."""

import importlib
import os
import signal
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest

from pipeline import console
from pipeline.errors import UsageError
from pipeline.verify import main as verify


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
    return [sys.unraisablehook, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))]


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
    with console.stopped_by_sigterm():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")
    assert time.monotonic() - start < 10
    assert hooks() == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_dropped_at_the_end_does_not_affect_the_next_command(how: signal.Signals) -> None:
    before = hooks()
    for _ in range(20):
        with console.stopped_by_sigterm():
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

    with console.stopped_by_sigterm():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == (1, "stopped\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_the_command_begins_is_a_stop(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 251512838 of the soak, where the signal came at another moment when it was replayed."""
    monkeypatch.setattr(console, "_open", lambda _: os.kill(os.getpid(), how))
    with console.stopped_by_sigterm():
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
    with console.stopped_by_sigterm():
        status = console.run(work, "stopped")
        os.kill(os.getpid(), how)
    assert (status, capsys.readouterr().err) == (2, "error: ranks: none given\n")


def test_any_other_error_of_an_import_is_raised() -> None:
    def work() -> int:
        raise ImportError("numpy cannot be imported")

    with pytest.raises(ImportError), console.stopped_by_sigterm():
        console.run(work, "stopped")


def test_other_dropped_exceptions_are_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: dropped.append(unraisable.exc_type))
    with console.stopped_by_sigterm():
        dropping(lambda: 1 / 0)
    assert dropped == [ZeroDivisionError]


def test_a_value_for_an_option_that_takes_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(["out", "--quick=yes"]) == 2
    assert capsys.readouterr().err == "error: --quick takes no value, not 'yes'\n"


@pytest.mark.parametrize(
    ("name", "arguments", "empty"),
    [
        ("build", ["--config", ""], "--config"),
        ("verify", [""], "OUT"),
        ("verify", ["out", "--source", ""], "--source"),
        ("verify", ["out", "--json", ""], "--json"),
        ("repair", ["out", "--source", ""], "--source"),
        ("report", [""], "OUT"),
        ("export", ["", "--variant", "rank3", "--to", "there"], "OUT"),
        ("show", [""], "PICTURE"),
        ("study.spectrum", ["--images", "", "--out", "there"], "--images"),
        ("study.train", ["", "--variants", "full", "--out", "there"], "DATA"),
    ],
)
def test_an_empty_path_is_refused(
    name: str, arguments: list[str], empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise an unset shell variable would mean the working directory."""
    module = importlib.import_module(f"pipeline.{name}.__main__" if name == "report" else f"pipeline.{name}")
    assert module.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {empty}: it is empty\n"


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

    with warnings.catch_warnings(record=True) as warned, console.stopped_by_sigterm():
        status = console.run(work, "stopped")
    assert (status, capsys.readouterr().err) == ((1, "stopped\n") if stop else (0, ""))
    assert (len(dropped), len(warned)) == ((0, 0) if stop else (1, 1))
