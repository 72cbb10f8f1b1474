"""What the commands share: options whose mistakes are one line, and an end that is always told in one."""

import argparse
import atexit
import contextlib
import gc
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TextIO

from pipeline.errors import FAILED, PipelineError, UsageError, nearest, one_line

_LONGEST = 2_000  # characters of an error's line


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line, with the nearest valid spelling."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def parse(self, arguments: list[str] | None) -> argparse.Namespace:
        known, unknown = self.parse_known_args(_joined(sys.argv[1:] if arguments is None else arguments))
        for argument in unknown:
            options = [option for action in self._actions for option in action.option_strings]
            name = argument.partition("=")[0]
            what = "option" if argument.startswith("-") else "argument"
            raise UsageError(f"unknown {what} {argument!r}{nearest(name, options)}; see --help")
        return known


def _joined(arguments: list[str]) -> list[str]:
    """``--ranks -3,5`` as ``--ranks=-3,5``: a negative list is a wrong value, not an option."""
    joined: list[str] = []
    for argument in arguments:
        if (
            joined
            and joined[-1].startswith("--")
            and "=" not in joined[-1]
            and argument[:1] == "-"
            and argument[1:2].isdigit()
        ):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def whole(option: str, least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """Of argparse: a whole number from ``least``, to ``most`` where there is a bound."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if number < least or (most is not None and number > most):
            bound = "" if most is None else f" to {most:,}"
            raise UsageError(f"{option}: {text!r} is not a whole number from {least:,}{bound}")
        return number

    return parse


def path(option: str) -> Callable[[str], Path]:
    """Of argparse: a path. An empty one, as an unset variable leaves it, would be the working directory."""

    def parse(text: str) -> Path:
        if not text:
            raise UsageError(f"{option}: it is empty")
        return Path(text)

    return parse


def origin(parser: argparse.ArgumentParser) -> None:
    """The options that say where the source of an output lies, and how it is read."""
    parser.add_argument(
        "--source",
        metavar="DIR",
        type=path("--source"),
        help="where the data lies that it was made from (not for dataset sample)",
    )
    parser.add_argument(
        "--allow-unverified", action="store_true", help="take a source whose checksums are not the official ones"
    )
    parser.add_argument("--label-key", metavar="KEY", help="of a webdataset source, as it was built with")
    parser.add_argument(
        "--classes", metavar="FILE", type=path("--classes"), help="of a webdataset source, as it was built with"
    )


def stall(parser: argparse.ArgumentParser) -> None:
    """The option ``--stall``, of a command that has processes at work."""
    seconds = whole("--stall", 0, 86_400)
    told = "seconds without progress to tell of (default 120; 0: never)"
    parser.add_argument("--stall", metavar="SECONDS", type=seconds, default=120, help=told)


def run(command: Callable[[], int], stopped: str) -> int:
    """Run a command and give its exit status; whatever ends it early is one line on stderr.

    Args:
        stopped: what to say after Ctrl-C.
    """
    sys.stdout, sys.stderr = _open(sys.stdout), _open(sys.stderr)
    try:
        status = command()
        sys.stdout.flush()
        return status
    except PipelineError as error:
        return _failed(f"error: {_short(one_line(error))}", error.status)
    except KeyboardInterrupt:
        return _failed(stopped)
    except BrokenPipeError:  # whoever read the output has gone; what is committed stays
        sys.stdout = _nowhere()  # else the interpreter complains once more when it flushes
        return FAILED
    except OSError as error:
        sys.stdout = _nowhere()
        return _failed(f"error: {one_line(error.filename or 'writing')}: {one_line(error.strerror or error)}")
    except Exception:
        if not _stop_came:
            raise
        return _failed(stopped)  # it fell into an import of C code, which makes another error of it


def leave(status: int) -> NoReturn:
    """End the process with this status, which Ctrl-C or SIGTERM no longer change: one that comes while the interpreter ends;
    after a failure also an earlier one, which CPython may remember though it was caught, and on which C++ code may abort."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()  # what has been loaded ends with the process, and no collector has to look through it first
    if status != FAILED:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM stops a command as Ctrl-C does. Neither is lost where Python drops what is raised, in callbacks of weak
    references and the like: it comes once more, a moment later, as SIGALRM."""

    def stop(*_: object) -> None:
        global _stop_came
        _stop_came = True
        raise KeyboardInterrupt

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            signal.signal(signal.SIGALRM, stop)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            hook(what)

    global _stop_came
    _stop_came = False
    alarm, hook = signal.getsignal(signal.SIGALRM), sys.unraisablehook
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in a shell's background
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if signal.getsignal(signal.SIGALRM) is stop:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # what was to come once more comes too late
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm or signal.SIG_DFL)
        for number, handler in before.items():
            signal.signal(number, handler)


def _open(stream: TextIO | None) -> TextIO:
    """The stream, if it is open, made to take every name: one that the terminal cannot show is no failure."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream or _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w")


def _short(line: str) -> str:
    """A line that still fits a screen, however much of somebody's file stands in it: its beginning and its end."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def _failed(line: str, status: int = FAILED) -> int:
    tell(line)
    return status


def tell(text: str, end: str = "\n") -> None:
    """Tell people on stderr, over a terminal's line of progress; where it is a machine's, as an event of its own."""
    if _for_machines:
        text, end = json.dumps({"event": "message", "text": text}), "\n"
    elif sys.stderr.isatty():
        text = f"\x1b[K{text}"
    write(text, end)


def write(text: str, end: str = "\n") -> None:
    """Write to stderr as far as that goes: who cannot be told is no reason to fail."""
    try:
        sys.stderr.write(text + end)
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = _nowhere()


_for_machines = False
_stop_came = False  # of the command that runs


@contextlib.contextmanager
def stderr_for_machines(wanted: bool) -> Iterator[None]:
    """Every line that is told meanwhile is a JSON object."""
    global _for_machines
    before, _for_machines = _for_machines, wanted
    try:
        yield
    finally:
        _for_machines = before
