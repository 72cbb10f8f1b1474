"""Faults: what is wrong with an output, as lines that name a file and, where possible, a sample."""

from collections import Counter
from typing import NamedTuple

# So many faults are printed, and so many of each file are listed; of all others only the number is known.
SHOWN = 20


class Fault(NamedTuple):
    """One line of the report: a file, relative to the output, and what is wrong with it."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{printable(self.file)}: {self.text}"


class Faults:
    """Counts all faults, and lists the first ``SHOWN`` of each file, so that the report of a wholly wrong output is small.

    The same text about the same file is one fault, however many shards find it.
    """

    def __init__(self) -> None:
        self.listed: list[Fault] = []
        self.count = 0
        self._of_file: Counter[str] = Counter()
        self._seen: set[Fault] = set()

    def add(self, file: str, text: str) -> None:
        self.count += self._add(Fault(file, text))

    def extend(self, other: "Faults") -> None:
        self.count += other.count - sum(not self._add(fault) for fault in other.listed)

    @property
    def first(self) -> list[Fault]:
        """The first ``SHOWN`` faults."""
        return self.listed[:SHOWN]

    def _add(self, fault: Fault) -> bool:
        """Returns whether the fault is a new one."""
        if fault in self._seen:
            return False
        self._of_file[fault.file] += 1
        if self._of_file[fault.file] <= SHOWN:
            self.listed.append(fault)
            self._seen.add(fault)
        return True


def printable(text: object, most: int = 200) -> str:
    """Returns hostile text as printable ASCII on one line, cut after ``most`` characters."""
    whole = str(text)
    clean = whole[:most].encode("unicode_escape").decode("ascii")
    return clean + "..." * (len(whole) > most)


def counted(number: int, noun: str) -> str:
    """Returns ``1 sample``, ``1,234 samples``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
