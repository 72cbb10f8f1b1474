"""The interface of a fuzzed parser, and one trial of it: the bounds that every input must keep."""

import importlib
import resource
import signal
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Protocol, cast

SECONDS = 5.0  # of the process's own time for one input of ``LONGEST`` bytes
MEMORY = 256 << 20  # bytes that one input may add to the process's peak
LONGEST = 1 << 15  # bytes of an input
CORPUS = Path(__file__).parent / "corpus"
HARNESSES = Path(__file__).parent / "harnesses"


class Harness(Protocol):
    """A module in ``harnesses/``.

    Attributes:
        ALLOWED: the errors that hostile input may end in; anything else is a crash.
        JSON: inputs are JSON, and mutated as such.
    """

    ALLOWED: tuple[type[Exception], ...]
    JSON: bool

    def seeds(self) -> Iterable[bytes]:
        """Returns valid inputs, made by the test."""

    def parse(self, data: bytes) -> None:
        """Parses an input as the product does, and checks the result."""


class Broken(BaseException):
    """An input took too long or too much memory; no ``except Exception`` of a parser stops it."""


def names() -> list[str]:
    """Returns the names of the parsers."""
    return sorted(path.stem for path in HARNESSES.glob("[a-z]*.py"))


def load(name: str) -> Harness:
    return cast(Harness, importlib.import_module(f"tests.fuzz.harnesses.{name}"))


def inputs(name: str, harness: Harness) -> list[bytes]:
    """Returns the inputs to start from: the parser's seeds, and inputs of earlier findings."""
    return [*harness.seeds(), *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]


def trial(harness: Harness, data: bytes) -> None:
    """Parses one input. Raises ``Broken``, or an error that the parser must not raise."""
    before = _peak()
    signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        harness.parse(data)
    except harness.ALLOWED as error:
        if not str(error).strip():
            raise AssertionError("an error without a message") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if _peak() - before > MEMORY:
        raise Broken(f"{_peak() - before:,} bytes of memory")


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise Broken(f"more than {SECONDS} seconds")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
