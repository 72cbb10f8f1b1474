"""The one exception that a user's mistake or a failed build ends in."""

import difflib
import re
from collections.abc import Iterable

FAILED = 1
WRONG_USAGE = 2
REJECTS = 3


class PipelineError(Exception):
    """A failure that is told to the user as one line: what was given, what is allowed, what to do.

    Args:
        message: the line.
        status: the exit status of the command, ``FAILED`` (1) or ``WRONG_USAGE`` (2).
    """

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(redacted(message))
        self.status = status

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.status)  # survives the trip from a worker


class UsageError(PipelineError):
    """A wrong option, value or key: exit status 2, and nothing has been touched."""

    def __init__(self, message: str, status: int = WRONG_USAGE) -> None:
        super().__init__(message, status)


class Undecodable(Exception):
    """One image's content cannot be turned into pixels; the text is the reason that the reject carries."""


def redacted(text: str) -> str:
    """A text without the user and password of any URL in it, which would come to stand in logs."""
    return re.sub(r"(?<=://)[^/\s]*@", "***@", text)


def one_line(text: object) -> str:
    """A message fit for a terminal: file names may hold newlines, escape sequences or bytes that are no text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in redacted(str(text)))


def nearest(word: str, allowed: Iterable[str]) -> str:
    """ ", did you mean 'x'?" for the allowed word most like ``word``, or an empty string."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
