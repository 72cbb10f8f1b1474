"""Faults: what does not hold, as lines that name a file and, where it can be told, a sample."""

from collections import Counter
from typing import NamedTuple

# Faults that are printed, and those of one file that are kept; beyond these only their number is.
KEPT = 20


class Fault(NamedTuple):
    """One line of the report: the file, relative to the output, and what is wrong with it."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{shown(self.file)}: {self.text}"


class Faults:
    """Collects faults; keeps the first ``KEPT`` of each file and counts all, so that a wholly wrong output stays small."""

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.count = 0
        self._of: Counter[str] = Counter()

    def add(self, file: str, text: str) -> None:
        self._keep(Fault(file, text))
        self.count += 1

    def extend(self, other: "Faults") -> None:
        for fault in other.kept:
            self._keep(fault)
        self.count += other.count

    @property
    def first(self) -> list[Fault]:
        """The first ``KEPT`` of all."""
        return self.kept[:KEPT]

    def _keep(self, fault: Fault) -> None:
        self._of[fault.file] += 1
        if self._of[fault.file] <= KEPT:
            self.kept.append(fault)


def shown(text: object, most: int = 200) -> str:
    """Hostile text as printable ASCII on one line, cut after ``most`` characters."""
    whole = str(text)
    clean = whole[:most].encode("unicode_escape").decode("ascii")
    return clean + "..." * (len(whole) > most)


def counted(number: int, what: str) -> str:
    """``1 sample``, ``1,234 samples``."""
    return f"{number:,} {what}{'s' * (number != 1)}"
