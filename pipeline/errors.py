"""The exceptions that commands turn into one-line messages, and what makes a message fit for one line."""

import difflib
import re
from collections.abc import Iterable

FAILED = 1
WRONG_USAGE = 2
REJECTS = 3


class PipelineError(Exception):
    """A failure that the user sees as one line: what was given, what is allowed, what to do.

    Args:
        message: the line.
        status: the exit status of the command, ``FAILED`` (1) or ``WRONG_USAGE`` (2).
    """

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(redacted(message))
        self.status = status

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.status)  # for pickling: workers send errors to the driver


class UsageError(PipelineError):
    """A wrong option, value or key: exit status 2; nothing was changed."""

    def __init__(self, message: str, status: int = WRONG_USAGE) -> None:
        super().__init__(message, status)


class Undecodable(Exception):
    """An image cannot be decoded. The message is the reason in the list of rejects."""


def redacted(text: str) -> str:
    """Returns a text without the users and passwords of its URLs, which must not appear in logs."""
    return re.sub(r"(?<=://)[^/\s]*@", "***@", text)


def one_line(text: object) -> str:
    """Returns a text as one printable line. File names may hold newlines, escape sequences and invalid UTF-8."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in redacted(str(text)))


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Returns ``, did you mean 'x'?`` with the allowed word nearest to ``word``, or an empty string."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
