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
    """Collects faults; keeps the first ``KEPT`` of each file and counts all, so that a wholly wrong output stays small.

    What is found once more of a file in the same words, as of one that many shards share, is no further fault.
    """

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.count = 0
        self._of: Counter[str] = Counter()
        self._known: set[Fault] = set()

    def add(self, file: str, text: str) -> None:
        self.count += self._keep(Fault(file, text))

    def extend(self, other: "Faults") -> None:
        self.count += other.count - sum(not self._keep(fault) for fault in other.kept)

    @property
    def first(self) -> list[Fault]:
        """The first ``KEPT`` of all."""
        return self.kept[:KEPT]

    def _keep(self, fault: Fault) -> bool:
        """Whether it is a new one."""
        if fault in self._known:
            return False
        self._of[fault.file] += 1
        if self._of[fault.file] <= KEPT:
            self.kept.append(fault)
            self._known.add(fault)
        return True


def shown(text: object, most: int = 200) -> str:
    """Hostile text as printable ASCII on one line, cut after ``most`` characters."""
    whole = str(text)
    clean = whole[:most].encode("unicode_escape").decode("ascii")
    return clean + "..." * (len(whole) > most)


def counted(number: int, what: str) -> str:
    """``1 sample``, ``1,234 samples``."""
    return f"{number:,} {what}{'s' * (number != 1)}"
