"""What the commands share: options whose errors are one line, messages on stderr and exit statuses."""

import argparse
import contextlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pipeline import extras, signals
from pipeline.errors import FAILED, PipelineError, UsageError, nearest, one_line

_LONGEST = 2_000  # characters of an error message
_as_subcommand = False  # whether the user has started ``rank-shards build`` and not ``python -m pipeline.build``


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with the nearest valid spelling.

    Args:
        prog: the command as ``python -m`` runs it. ``--help`` shows it as a subcommand if it was started as one.
        options: those of argparse.
    """

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog=command(prog.removeprefix("python -m pipeline.")), **options)

    def error(self, message: str) -> NoReturn:
        flag = re.fullmatch(r"argument (.+): ignored explicit argument (.+)", message)
        raise UsageError(f"{flag[1]} takes no value, not {flag[2]}" if flag else message)

    def parse(self, arguments: list[str] | None) -> argparse.Namespace:
        """Returns the parsed arguments, by default those of the command line. Raises UsageError."""
        namespace, unknown = self.parse_known_args(_joined(sys.argv[1:] if arguments is None else arguments))
        for argument in unknown:
            options = [option for action in self._actions for option in action.option_strings]
            name = argument.partition("=")[0]
            kind = "option" if argument.startswith("-") else "argument"
            raise UsageError(f"unknown {kind} {argument!r}{nearest(name, options)}; see --help")
        return namespace


@contextlib.contextmanager
def as_subcommand() -> Iterator[None]:
    """While the block runs, ``--help`` shows commands as subcommands of ``rank-shards``."""
    global _as_subcommand
    before, _as_subcommand = _as_subcommand, True
    try:
        yield
    finally:
        _as_subcommand = before


def command(name: str) -> str:
    """Returns the words that start a command, such as ``study.train``, in the way that this one was started."""
    return f"rank-shards {name.replace('.', ' ')}" if _as_subcommand else f"python -m pipeline.{name}"


def _joined(arguments: list[str]) -> list[str]:
    """Turns ``--ranks -3,5`` into ``--ranks=-3,5``, so that a negative list is a wrong value and not an unknown option."""
    joined: list[str] = []
    for argument in arguments:
        negative = argument[:1] == "-" and argument[1:2].isdigit()
        if negative and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def whole(option: str, least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """Returns an argparse type: a whole number from ``least`` to ``most``, or without an upper bound."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if number < least or (most is not None and number > most):
            bound = "" if most is None else f" to {most:,}"
            raise UsageError(f"{option}: {text!r} is not a whole number from {least:,}{bound}")
        return number

    return parse


def path(option: str) -> Callable[[str], Path]:
    """Returns an argparse type: a path that is not empty. An unset shell variable would mean the working directory."""

    def parse(text: str) -> Path:
        if not text:
            raise UsageError(f"{option}: it is empty")
        return Path(text)

    return parse


def origin(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where the source of an output is and how to read it."""
    parser.add_argument(
        "--source",
        metavar="DIR",
        type=path("--source"),
        help="folder of the data that OUT was built from (not for dataset sample)",
    )
    parser.add_argument(
        "--allow-unverified", action="store_true", help="accept a source whose checksums are not the official ones"
    )
    parser.add_argument("--image-key", metavar="KEY", help="of a parquet source: the same as in the build")
    parser.add_argument(
        "--label-key", metavar="KEY", help="of a webdataset or parquet source: the same as in the build"
    )
    parser.add_argument(
        "--classes", metavar="FILE", type=path("--classes"), help="class list of the source: the same as in the build"
    )


def stall(parser: argparse.ArgumentParser) -> None:
    """Adds the option ``--stall``."""
    seconds = whole("--stall", 0, 86_400)
    text = "report work without progress after so many seconds (default 120; 0: never)"
    parser.add_argument("--stall", metavar="SECONDS", type=seconds, default=120, help=text)


def run(command: Callable[[], int], stopped: str) -> int:
    """Runs a command and returns its exit status. An error that ends it is one line on stderr.

    Args:
        stopped: the message after Ctrl-C or SIGTERM, unless the KeyboardInterrupt has one.
    """
    try:
        sys.stdout, sys.stderr = _open(sys.stdout), _open(sys.stderr)
        _check_encoding()
        status = command()
        sys.stdout.flush()
        signals.end()
        return status
    except BaseException as error:
        signals.end()  # first, so that a signal cannot come between this error and its message
        return _reported(error, stopped)


def _reported(error: BaseException, stopped: str) -> int:
    """Prints one line about the end of a command, and returns its exit status. Raises errors of the program itself."""
    if isinstance(error, PipelineError):
        return _failed(f"error: {_short(one_line(error))}", error.status)
    if isinstance(error, KeyboardInterrupt):
        return _failed(str(error) or stopped)
    if isinstance(error, ModuleNotFoundError) and (absent := extras.missing(error)):
        return _failed(f"error: {absent}", absent.status)
    if isinstance(error, BrokenPipeError):  # the reader of stdout has ended; what is committed stays
        sys.stdout = _nowhere()  # else the interpreter prints an error when it flushes stdout
        return FAILED
    if isinstance(error, OSError):
        sys.stdout = _nowhere()
        return _failed(f"error: {one_line(error.filename or _operation(error))}: {one_line(error.strerror or error)}")
    if isinstance(error, Exception) and signals.stopped():
        return _failed(stopped)  # the signal came during an import of C code, which turns it into another error
    raise error


def _check_encoding() -> None:
    """Raises UsageError if Python decodes file names by a locale: class names would depend on the machine."""
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise UsageError(f"file names are decoded as {encoding}, not as UTF-8: set PYTHONUTF8=1, or LC_ALL=C.UTF-8")


def _operation(error: OSError) -> str:
    """Returns what failed, of an error without a file name: the last function of this package in its traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [(frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame in frames]
    module, function = next((name for name in reversed(names) if name[0].startswith("pipeline.")), (__name__, "run"))
    return "writing to standard output" if module == __name__ else f"{function} ({module})"


def _open(stream: TextIO | None) -> TextIO:
    """Returns an open stream that escapes characters which the terminal cannot show, or a stream to nowhere."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream or _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w")


def _short(line: str) -> str:
    """Returns the beginning and the end of a line that is too long for a screen, as when it quotes a file."""
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def _failed(line: str, status: int = FAILED) -> int:
    tell(line)
    return status


def tell(text: str, end: str = "\n") -> None:
    """Shows a message on stderr, over a progress line; as an event ``message`` if stderr carries events."""
    if _for_machines:
        text, end = json.dumps({"event": "message", "text": text}), "\n"
    elif sys.stderr.isatty():
        text = f"\x1b[K{text}"
    write(text, end)


def write(text: str, end: str = "\n") -> None:
    """Writes to stderr, and ignores errors: a closed stderr must not stop a command."""
    try:
        sys.stderr.write(text + end)
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = _nowhere()


_for_machines = False


@contextlib.contextmanager
def stderr_for_machines(json_lines: bool) -> Iterator[None]:
    """While the block runs, ``tell`` writes JSON objects if ``json_lines`` is set."""
    global _for_machines
    before, _for_machines = _for_machines, json_lines
    try:
        yield
    finally:
        _for_machines = before
