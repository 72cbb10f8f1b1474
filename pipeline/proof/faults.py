"""Faults: what does not hold, as lines that name a file and, where it can be told, a sample."""

from typing import NamedTuple

# Faults that are kept for printing; beyond these only their number is.
KEPT = 20


class Fault(NamedTuple):
    """One line of the report: the file, relative to the output, and what is wrong with it."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{shown(self.file)}: {self.text}"


class Faults:
    """Collects faults; keeps the first ``KEPT`` and counts all, so that a wholly wrong output stays small."""

    def __init__(self) -> None:
        self.first: list[Fault] = []
        self.count = 0

    def add(self, file: str, text: str) -> None:
        if self.count < KEPT:
            self.first.append(Fault(file, text))
        self.count += 1

    def extend(self, other: "Faults") -> None:
        self.first = (self.first + other.first)[:KEPT]
        self.count += other.count

    def names(self, file: str) -> bool:
        """Whether a fault of this file has been kept."""
        return any(fault.file == file for fault in self.first)


def shown(text: object, most: int = 200) -> str:
    """Hostile text as printable ASCII on one line, cut after ``most`` characters."""
    whole = str(text)
    clean = whole[:most].encode("unicode_escape").decode("ascii")
    return clean + "..." * (len(whole) > most)


def counted(number: int, what: str) -> str:
    """``1 sample``, ``1,234 samples``."""
    return f"{number:,} {what}{'s' * (number != 1)}"
