"""What can happen to a build in one process: its disk, its clock, its end. Several of them can happen at once.

An accident is drawn in the process of the story and installed in the process of the build.
"""

import contextlib
import datetime
import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.execution import run
from pipeline.execution.reporting import events
from pipeline.storage import lock
from tests.faults.operations import FSYNC, Operation, watch

KILL, FULL, EIO = "kill", "full disk", "I/O error"  # at one operation on the disk
STOP, TIMED_KILL = "signal", "kill at a random time"
SLOW, CLOCK, EINVAL = "slow disk", "clock jumps", "no sync of folders"  # all the time
_AT_ONE = (KILL, FULL, EIO)
_FIRST = 30  # operations before the first shard, roughly: half of the faults come there

_YEARS = 20 * 365 * 86400.0  # seconds


class Accident(NamedTuple):
    """What happens to one run of a build.

    Attributes:
        names: of what happens.
        at: number of the operation on the disk of ``KILL``, ``FULL`` and ``EIO``, counted from 1.
        after: seconds until a signal.
        number: the signal, for ``STOP``.
        seed: of the rest.
    """

    names: frozenset[str] = frozenset()
    at: int = 0
    after: float = 0.0
    number: int = signal.SIGTERM
    seed: int = 0

    def __str__(self) -> str:
        sudden = f" at operation {self.at}" if self.names & {*_AT_ONE} else ""
        sudden += f", signal {self.number} after {self.after:.3f} s" if self.names & {STOP, TIMED_KILL} else ""
        return (" and ".join(sorted(self.names)) or "nothing") + sudden

    def install(self, root: Path, counted: Callable[[int], object]) -> None:
        """Prepares this process: its operations below a folder, and its clock. ``counted`` gets the number of each."""
        chance = random.Random(self.seed)
        if CLOCK in self.names:
            _jump(chance)
        watch(str(root), _Disk(self, chance, counted).around)


CALM = Accident()


def draw_accident(draw: random.Random, operations: int, seconds: float) -> Accident:
    """Returns a random accident of a build with so many operations that takes so long."""
    names = {name for name in (SLOW, CLOCK, EINVAL) if draw.random() < 0.2}
    names.add(draw.choice([KILL, KILL, FULL, EIO, EIO, STOP, TIMED_KILL]))
    at = draw.randint(1, _FIRST if draw.random() < 0.3 else max(operations, _FIRST))
    number = draw.choice([signal.SIGTERM, signal.SIGINT])
    return Accident(frozenset(names), at, draw.uniform(0, seconds), number, draw.randrange(2**32))


class _Disk:
    """Counts the operations below a folder, and makes them slow or fail."""

    def __init__(self, accident: Accident, chance: random.Random, counted: Callable[[int], object]) -> None:
        self._accident, self._chance, self._counted = accident, chance, counted
        self._count, self._lock, self._pause = 0, threading.RLock(), time.sleep

    @contextlib.contextmanager
    def around(self, operation: Operation, half: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self._count += 1
            self._counted(self._count)
            names, here = self._accident.names, self._count == self._accident.at
            if SLOW in names and self._chance.random() < 0.1:
                self._pause(0.005)
            if KILL in names and here:
                half()
                os.kill(os.getpid(), signal.SIGKILL)
            if EIO in names and here:
                half()
                _fail(errno.EIO)
            if FULL in names and self._count >= self._accident.at and operation.grows:
                half()
                _fail(errno.ENOSPC)
            if EINVAL in names and operation.kind == FSYNC and os.path.isdir(operation.path):
                _fail(errno.EINVAL)
            yield


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def _jump(chance: random.Random) -> None:
    """Answers every question for the time with another year."""
    real = time.time

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Jumping":
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real() + chance.uniform(-_YEARS, _YEARS)
    time.time_ns = lambda: int(time.time() * 1e9)
    for module in (events, run, lock):
        module.datetime = Jumping  # type: ignore[attr-defined]
